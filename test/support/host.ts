// A banger installation of its own in a temporary directory: own state, own daemon, own mark. Real CLI, real daemon.
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type RpcClient } from '../../core/rpc/client.ts';
import type { VmView } from '../../core/api.ts';
import { isLive, markedProcesses } from './processes.ts';
import { repoRoot } from './source-tree.ts';
import { assetsDir } from './guest-assets.ts';
import { waitFor } from './wait.ts';

export interface RunResult { readonly code: number; readonly signal: NodeJS.Signals | null; readonly stdout: Buffer; readonly out: string; readonly err: string }
export interface RunOptions {
  readonly input?: string | Buffer;
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
}
export interface HostOptions {
  /** TOML; replaces the default. */
  readonly config?: string;
  /** Without shared kernel and image: for tests that boot nothing. */
  readonly bare?: boolean;
  /** Entry of the daemon to start by hand in place of bin/bangerd (composition roots of tests). */
  readonly daemonEntry?: string;
  /** Directory to keep the state in, in place of the temporary one (small file systems). */
  readonly stateParent?: string;
}

export interface Host {
  readonly dir: string;
  readonly stateDir: string;
  readonly socket: string;
  readonly env: NodeJS.ProcessEnv;
  banger(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** Like `banger`, failing the test unless it exits 0. */
  ok(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  spawnCli(args: readonly string[]): ChildProcess;
  /** Starts the daemon (the entry of the options, else bin/bangerd) and waits until it answers. */
  startDaemon(env?: Readonly<Record<string, string>>): Promise<number>;
  daemonPid(): Promise<number | undefined>;
  killDaemon(): Promise<void>;
  rpc(): Promise<RpcClient>;
  vm(ref: string): Promise<VmView>;
  installId(): Promise<string>;
  marked(): Promise<ReturnType<typeof markedProcesses>>;
  log(): string;
  dispose(): Promise<void>;
}

function collect(child: ChildProcess, options: RunOptions): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 120_000);
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin?.on('error', () => undefined); // the command may end before it has read everything
    child.stdin?.end(options.input ?? '');
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const all = Buffer.concat(stdout);
      resolve({ code: code ?? -1, signal, stdout: all, out: all.toString('utf8'), err: Buffer.concat(stderr).toString('utf8') });
    });
  });
}

const defaultConfig = '[vm_defaults]\nvcpu = 1\nmemory_mib = 512\ninit = "agent"\n';

/** Makes an installation; dispose it in `afterEach` or `afterAll`. */
export async function makeHost(options: HostOptions = {}): Promise<Host> {
  const dir = mkdtempSync(join(tmpdir(), 'banger-test-'));
  chmodSync(dir, 0o711);
  const stateHome = join(options.stateParent ?? dir, 'state');
  const stateDir = join(stateHome, 'banger');
  mkdirSync(stateDir, { recursive: true, mode: 0o711 });
  mkdirSync(join(dir, 'config', 'banger'), { recursive: true });
  writeFileSync(join(dir, 'config', 'banger', 'config.toml'), options.config ?? defaultConfig);
  if (options.bare !== true) {
    for (const store of ['images', 'kernels']) symlinkSync(join(assetsDir(), store), join(stateDir, store));
  }
  const env: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'], HOME: dir, LANG: 'C.UTF-8', NO_COLOR: '1',
    XDG_STATE_HOME: stateHome, XDG_CACHE_HOME: join(dir, 'cache'), XDG_CONFIG_HOME: join(dir, 'config'),
  };
  const socket = join(stateDir, 'bangerd.sock');
  const children = new Set<ChildProcess>();

  const spawnCli = (args: readonly string[], extra: Readonly<Record<string, string>> = {}): ChildProcess => {
    const child = spawn(join(repoRoot, 'bin', 'banger'), args, { env: { ...env, ...extra }, stdio: ['pipe', 'pipe', 'pipe'] });
    children.add(child);
    child.on('close', () => children.delete(child));
    return child;
  };
  const banger = (args: readonly string[], run: RunOptions = {}): Promise<RunResult> => collect(spawnCli(args, run.env), run);
  const rpc = async (): Promise<RpcClient> => connect(socket, { timeoutMs: 10_000 });
  const withClient = async <T>(use: (client: RpcClient) => Promise<T>): Promise<T> => {
    const client = await rpc();
    try {
      return await use(client);
    } finally {
      client.close();
    }
  };
  const log = (): string => {
    const file = join(stateDir, 'bangerd.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  };
  const daemonPid = async (): Promise<number | undefined> => {
    try {
      return await withClient(async (client) => (await client.call('daemon.status', {})).pid);
    } catch {
      return undefined; // no daemon answers
    }
  };

  const host: Host = {
    dir, stateDir, socket, env, banger, spawnCli, rpc, log, daemonPid,
    async ok(args, run) {
      const result = await banger(args, run);
      if (result.code !== 0) throw new Error(`banger ${args.join(' ')} exited ${result.code}\n${result.out}\n${result.err}\n${log().slice(-4000)}`);
      return result;
    },
    async startDaemon(extra = {}) {
      const node = join(repoRoot, 'node_modules', '.bin', 'node');
      const [program, args] = options.daemonEntry === undefined
        ? [join(repoRoot, 'bin', 'bangerd'), []] as const
        : [node, [join(repoRoot, options.daemonEntry)]] as const;
      const child = spawn(program, args, { env: { ...env, ...extra }, stdio: 'ignore', detached: true });
      child.unref();
      return waitFor('the daemon to answer', async () => {
        if (child.exitCode !== null && child.exitCode !== 0) throw new Error(`daemon exited ${child.exitCode}`);
        return daemonPid();
      }, 60_000);
    },
    async killDaemon() {
      const pid = await daemonPid();
      if (pid === undefined) throw new Error('no daemon to kill');
      process.kill(pid, 'SIGKILL');
      await waitFor('the daemon to be gone', () => !isLive(pid));
    },
    vm: (ref) => withClient(async (client) => (await client.call('vm.show', { ref })).vm),
    installId: () => withClient(async (client) => (await client.call('daemon.status', {})).installId),
    async marked() {
      return markedProcesses(`${await host.installId()}/`);
    },
    async dispose() {
      for (const child of children) child.kill('SIGKILL');
      if ((await daemonPid()) === undefined) await banger(['vm', 'list']);
      const id = await host.installId().catch(() => undefined);
      await withClient(async (client) => {
        for (const vm of (await client.call('vm.list', {})).vms) await client.call('vm.delete', { ref: vm.id });
      }).catch(() => undefined); // a daemon that cannot start is the test's own affair
      await banger(['daemon', 'stop']);
      if (id !== undefined) {
        const left = markedProcesses(`${id}/`);
        for (const entry of left) process.kill(entry.pid, 'SIGKILL');
        if (left.length > 0) throw new Error(`left behind: ${left.map((entry) => `${entry.pid} ${entry.mark} ${entry.command}`).join('; ')}`);
      }
      rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
    },
  };
  return host;
}
