// A VMM that boots nothing: a detached process that bears the VM's mark, and a guest agent that runs commands on the host.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { PassThrough } from 'node:stream';
import type { Duplex } from 'node:stream';
import { operationFailed, notRunning, unsupported, vmPaused } from '../../core/errors.ts';
import type {
  Exec, GuestAgent, GuestExecRequest, GuestExit, GuestProcess, Processes, ProcessIdentity, Vm, VmmDriver, Vms,
} from '../../core/plugin-api.ts';

/** `obedient`: ends on TERM, as a guest that powers off does. `stubborn`: only on KILL. */
export type FakeVmmKind = 'obedient' | 'stubborn';

/** Both are plain programs, so that a test daemon's death never takes them along. */
export async function startFakeVmm(exec: Exec, options: { readonly mark: string; readonly logFile: string; readonly kind: FakeVmmKind }): Promise<ProcessIdentity> {
  const { mark, logFile, kind } = options;
  // `exec` after the trap: an ignored signal stays ignored in the program that takes over.
  const script = kind === 'obedient' ? 'echo ready; exec sleep 3600' : 'trap "" TERM; echo ready; exec sleep 3600';
  const { process } = await exec.spawnDetached('/bin/sh', ['-c', script], { mark, logFile, readyLine: { timeoutMs: 10_000 } });
  return process;
}

/** Ends the process by its handle, or by its mark when the handle was never written. Nothing to do for one that is gone. */
export async function endFake(processes: Processes, mark: string, known: ProcessIdentity | undefined): Promise<void> {
  const found = known === undefined ? processes.findByMark(mark).map(({ process }) => process) : [known];
  await Promise.all(found.map((process) => processes.end(process, { graceMs: 0 })));
}

interface FakeDriverParts {
  readonly resume?: ((vm: Vm) => Promise<void>) | undefined;
  readonly agentSocket?: ((vm: Vm) => string) | undefined;
  /** Stops and continues the VM's process: without it the driver cannot pause. */
  readonly signal?: ((vm: Vm, signal: 'SIGSTOP' | 'SIGCONT') => void) | undefined;
}

export function createFakeDriver({ agentSocket, resume, signal }: FakeDriverParts = {}): VmmDriver {
  return {
    ...(signal === undefined ? {} : { pause: async (vm) => signal(vm, 'SIGSTOP'), resume: resume ?? (async (vm) => signal(vm, 'SIGCONT')) }),
    available: () => Promise.resolve({ ok: true, preference: 1, accelerator: 'none' }),
    connectAgent: (vm) => (agentSocket === undefined ? Promise.reject(operationFailed(`The fake VM ${vm.name} has no agent stream`)) : connectTo(agentSocket(vm))),
    driveFormats: ['raw'],
    consoleLogs: (vm) => [`${vm.dir}/console.log`],
  };
}

async function connectTo(path: string): Promise<Duplex> {
  const socket = connect(path);
  await once(socket, 'connect');
  return socket;
}

interface FakeAgentParts {
  /** The words that do on the host what the agent's own program would do in the guest. */
  readonly builtin?: ((vm: Vm, words: readonly string[]) => readonly string[]) | undefined;
  readonly vms: Pick<Vms, 'isPaused'>;
  readonly syncClock?: GuestAgent['syncClock'] | undefined;
}

/** Runs what it is asked for on the host, in a process group of its own. */
export function createFakeAgent({ builtin, vms, syncClock }: FakeAgentParts): GuestAgent {
  const requireReady = (vm: Vm): void => {
    if (vms.isPaused(vm.id)) throw vmPaused(vm.name);
    if (!existsSync(`${vm.dir}/agent.ready`)) throw notRunning(vm.name, 'without agent');
  };
  return {
    async info(vm) {
      requireReady(vm);
      return { version: '0', protocol: 1, bootId: 'fake', init: 'agent' };
    },
    async exec(vm, request) {
      requireReady(vm);
      if (request.builtin !== true) return runOnHost(request);
      if (builtin === undefined) throw unsupported('Programs of the agent in a fake guest');
      return runOnHost({ ...request, command: builtin(vm, request.command) });
    },
    dial: (_, target) => Promise.reject(operationFailed(`Nothing listens on ${'path' in target ? target.path : `${target.host}:${target.port}`}`)),
    listen: () => Promise.reject(unsupported('Listening in a fake guest')),
    bulkSocket: () => undefined,
    shutdown: () => Promise.resolve(),
    ...(syncClock === undefined ? {} : { syncClock }),
  };
}

function runOnHost(request: GuestExecRequest): GuestProcess {
  const [program = '/bin/sh', ...args] = request.command;
  const child = spawn(program, args, {
    detached: true, stdio: 'pipe', env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', ...request.env },
    ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
  });
  const stderr = new PassThrough();
  const exit = Promise.withResolvers<GuestExit>();
  child.once('error', (error: NodeJS.ErrnoException) => {
    stderr.end(`${program}: ${error.message}\n`);
    exit.resolve({ code: error.code === 'ENOENT' ? 127 : 126 });
  });
  child.once('spawn', () => child.stderr.pipe(stderr));
  child.once('exit', (code, signal) => exit.resolve(signal === null ? { code: code ?? 0 } : { signal: signal.slice(3), number: 0 }));
  if (!request.stdin) child.stdin.end();
  const kill = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // The group has ended.
    }
  };
  return {
    stdin: child.stdin, stdout: child.stdout, stderr, exit: exit.promise,
    resize: () => undefined,
    signal: (name) => kill(`SIG${name}` as NodeJS.Signals),
    hangup: () => kill('SIGHUP'),
  };
}
