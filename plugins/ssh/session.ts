// A session channel (RFC 4254 6): gathers what the client says beforehand, then runs one shell, command or subsystem in the guest.
import type { GuestExecRequest, GuestExit, GuestProcess } from '../../core/plugin-api.ts';
import type { SshChannel } from './channel.ts';
import type { SshConnection } from './connection.ts';
import { sshString, uint32 } from './ssh2-transport.ts';

const maxVariables = 256;
const maxEnvironmentBytes = 64 * 1024;
const maxSize = 65_535;
/** Of the exit status when there is no command to report of, as sshd has it. */
const lostStatus = 255;
/** SSH_MSG_CHANNEL_REQUEST */
const channelRequest = 98;
/** RFC 4254 6.10; also what a client may send. */
const signalNames = new Set(['ABRT', 'ALRM', 'FPE', 'HUP', 'ILL', 'INT', 'KILL', 'PIPE', 'QUIT', 'SEGV', 'TERM', 'USR1', 'USR2']);
/** What sshd tells of clients that did not come over TCP. */
const origin = { SSH_CLIENT: 'UNKNOWN 65535 65535', SSH_CONNECTION: 'UNKNOWN 65535 UNKNOWN 65535' };

type Size = { readonly cols: number; readonly rows: number };
type Work = Pick<GuestExecRequest, 'command' | 'line' | 'builtin' | 'login'>;

export class GuestSession {
  readonly #connection: SshConnection;
  readonly #channel: SshChannel;
  readonly #env = new Map<string, string>();
  #envBytes = 0;
  #tty: (Size & { readonly term: string }) | undefined;
  #hasAgent = false;
  #work: Work | undefined;
  #hasBegun = false;
  #process: GuestProcess | undefined;
  /** Sent before there was a process. */
  readonly #early: ((process: GuestProcess) => void)[] = [];

  constructor(connection: SshConnection, channel: SshChannel) {
    this.#connection = connection;
    this.#channel = channel;
  }

  /** Whether the request can be granted. Of shell, exec and subsystem the first is; `begin` then runs it. */
  onRequest(type: string, data: unknown): boolean {
    switch (type) {
      case 'env': return this.#setVariable(data as { readonly name: string; readonly value: string });
      case 'pty-req': return this.#setTerminal(data as Size & { readonly term: string });
      case 'window-change': return this.#resize(data as Size);
      case 'signal': return this.#signal(String(data));
      case 'auth-agent-req@openssh.com':
        this.#hasAgent = true;
        return this.#work === undefined;
      // No command: the login shell, as a login shell.
      case 'shell': return this.#choose({ command: [], login: true });
      case 'exec': return this.#choose({ command: [], line: String(data) });
      case 'subsystem': return data === 'sftp' && this.#choose({ command: ['sftp'], builtin: true });
      default: return false;
    }
  }

  /** Runs what was asked for, once; the answer to the request has been sent. */
  begin(): void {
    const work = this.#work;
    if (work === undefined || this.#hasBegun) return;
    this.#hasBegun = true;
    void this.#run(work);
  }

  #choose(work: Work): boolean {
    if (this.#work !== undefined) return false;
    this.#work = work;
    return true;
  }

  #setVariable({ name, value }: { readonly name: string; readonly value: string }): boolean {
    const bytes = this.#envBytes + Buffer.byteLength(name) + Buffer.byteLength(value) + 2;
    const isUsable = /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !value.includes('\0') && this.#work === undefined;
    if (!isUsable || this.#env.size >= maxVariables || bytes > maxEnvironmentBytes) return false;
    this.#env.set(name, value);
    this.#envBytes = bytes;
    return true;
  }

  #setTerminal({ term, cols, rows }: Size & { readonly term: string }): boolean {
    if (this.#work !== undefined || this.#tty !== undefined || !/^[\w.+-]{0,64}$/.test(term)) return false;
    this.#tty = { term, cols: Math.min(cols, maxSize), rows: Math.min(rows, maxSize) };
    return true;
  }

  #resize({ cols, rows }: Size): boolean {
    if (this.#tty === undefined) return false;
    this.#withProcess((process) => process.resize(Math.min(cols, maxSize), Math.min(rows, maxSize)));
    return true;
  }

  #signal(name: string): boolean {
    if (!signalNames.has(name)) return false;
    this.#withProcess((process) => process.signal(name));
    return true;
  }

  #withProcess(act: (process: GuestProcess) => void): void {
    if (this.#process !== undefined) act(this.#process);
    else if (this.#early.length < 16) this.#early.push(act);
  }

  async #run(work: Work): Promise<void> {
    const channel = this.#channel;
    try {
      const process = await this.#start(work);
      if (channel.gone.aborted) return process.hangup();
      this.#report(await this.#serve(process));
    } catch (error) {
      if (channel.gone.aborted) return;
      this.#connection.options.log.debug({ vm: this.#connection.options.vm.name, err: error }, 'an ssh session could not be served');
      await channel.send('stderr', Buffer.from(`banger: ${error instanceof Error ? error.message : String(error)}\r\n`));
      this.#report({ code: lostStatus });
    }
    channel.eof();
    channel.close();
  }

  async #start(work: Work): Promise<GuestProcess> {
    const { agent, vm, ready } = this.#connection.options;
    await ready(this.#channel.gone);
    const agentSocket = this.#hasAgent ? await this.#connection.forwards.agentSocket() : undefined;
    return agent.exec(vm, {
      ...work, user: this.#connection.user, stdin: true,
      env: { ...origin, ...Object.fromEntries(this.#env), ...(agentSocket === undefined ? {} : { SSH_AUTH_SOCK: agentSocket }) },
      ...(this.#tty === undefined ? {} : { tty: this.#tty }),
    }, this.#channel.gone);
  }

  async #serve(process: GuestProcess): Promise<GuestExit> {
    const channel = this.#channel;
    this.#process = process;
    for (const act of this.#early.splice(0)) act(process);
    let hasExited = false;
    channel.gone.addEventListener('abort', () => { if (!hasExited) process.hangup(); }, { once: true });
    channel.attach(process.stdin);
    const outputs = Promise.all([channel.pump(process.stdout, 'stdout'), channel.pump(process.stderr, 'stderr')]);
    const exit = await process.exit;
    hasExited = true;
    await outputs;
    return exit;
  }

  #report(exit: GuestExit): void {
    const remote = this.#channel.remote;
    if ('code' in exit) this.#connection.tell((messages) => messages.exitStatus(remote, exit.code));
    else this.#connection.send(exitSignal(remote, exit.signal));
  }
}

/** Message `exit-signal`. A signal that RFC 4254 does not name goes by the name sshd gives to such. */
function exitSignal(remote: number, name: string): Buffer {
  const hasDumpedCore = Buffer.from([0]);
  return Buffer.concat([
    Buffer.from([channelRequest]), uint32(remote), sshString('exit-signal'), Buffer.from([0]),
    sshString(signalNames.has(name) ? name : 'SIG@openssh.com'), hasDumpedCore, sshString(''), sshString(''),
  ]);
}
