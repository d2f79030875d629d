// The step `usernet.netns` with real namespaces and a real slirp4netns. The host of these tests is a network namespace of their own
// (`unshare`), joined to a peer by a veth pair, so no packet leaves this machine.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createExec } from '../../core/exec.ts';
import { createProcesses } from '../../core/process.ts';
import type { HostInfo, Logger, StartContext, UndoContext, Vm } from '../../core/plugin-api.ts';
import { findShim } from '../../test/support/shim.ts';
import { netnsStep } from './netns.ts';
import type { NetnsPlan } from './netns.ts';

const shim = findShim();
const tools = ['/usr/bin/slirp4netns', '/usr/bin/unshare', '/usr/bin/nsenter', '/usr/sbin/ip', '/dev/net/tun'];
const missing = tools.filter((path) => !existsSync(path));
const reason = 'reason' in shim ? shim.reason
  : process.getuid?.() !== 0 ? 'needs root for namespaces and a veth pair'
  : missing.length > 0 ? `missing ${missing.join(', ')}`
  : spawnSync('unshare', ['-n', 'true']).status !== 0 ? 'network namespaces are closed here' : '';
const nativeDir = 'nativeDir' in shim ? shim.nativeDir : '';
const limit = { timeout: 20_000 };
const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };

/** Serves one line with the address it was reached at, on every address:port given. */
const server = `
const net = require('node:net');
let open = process.argv.length - 1;
for (const at of process.argv.slice(1)) {
  const [host, port] = at.split(':');
  net.createServer((s) => { s.on('error', () => {}); s.end('reached ' + at); }).listen(+port, host, () => { if (--open === 0) console.log('ready'); });
}`;
/** Prints what a connection to each address:port gives. */
const client = `
const net = require('node:net');
const one = (at) => new Promise((resolve) => {
  const [host, port] = at.split(':');
  const s = net.connect({ host, port: +port });
  s.setTimeout(3000, () => { s.destroy(); resolve('silence'); });
  s.on('data', (d) => { s.destroy(); resolve(String(d)); });
  s.on('error', (e) => resolve(e.code));
  s.on('end', () => resolve('ended'));
});
Promise.all(process.argv.slice(1).map(one)).then((all) => console.log(JSON.stringify(all)));`;

describe('usernet.netns', () => {
  beforeEach(({ skip }) => skip(reason !== '', reason));
  let dir: string;
  const children: ChildProcess[] = [];
  const processes = createProcesses();
  let vm: Vm;
  let step: ReturnType<typeof netnsStep>;
  let plan: NetnsPlan;
  const undo = (): UndoContext => ({ vm, signal: AbortSignal.timeout(30_000), log, reason: 'stop' });

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'banger-netns-'));
    vm = { id: 'a1b2c3d4e5f6', name: 'devbox', slot: 1, mark: `test${process.pid}/${dir.slice(-6)}`, dir, spec: { sections: {} } } as unknown as Vm;
    step = makeStep(createExec());
    const planned = await step.plan({ vm, log });
    if (!planned) throw new Error('no plan');
    plan = planned.data;
  });
  afterEach(async () => {
    await step.undo?.(undo(), plan, undefined);
    for (const child of children.splice(0)) child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  });

  function makeStep(exec: ReturnType<typeof createExec>, slirp = 'slirp4netns') {
    const host = { installId: 'test', nativeDir, uid: 0 } as HostInfo;
    return netnsStep({ exec, processes, host, network: { uid: 0, tunPath: '/dev/net/tun', sysctlDir: '/proc/sys' }, config: { slirp4netns: slirp } });
  }
  const start = (): StartContext => ({ vm, signal: AbortSignal.timeout(30_000), log, waitingFor() {}, touched: async () => {} } as unknown as StartContext);
  const status = (): string => existsSync(plan.statusFile) ? readFileSync(plan.statusFile, 'utf8').trim() : '';

  /** A process that holds a namespace, or serves in one, until the test ends. */
  async function keep(args: readonly [string, ...string[]], ready: boolean): Promise<number> {
    const child = spawn(args[0], args.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    if (ready) await new Promise((resolve) => child.stdout?.once('data', resolve));
    return child.pid ?? 0;
  }
  const inNetns = (pid: number, ...args: string[]): string => execFileSync('nsenter', ['-t', String(pid), '-n', ...args], { encoding: 'utf8' });

  /** A host and a peer, each a namespace: the host's servers listen on its loopback, the peer's on the wire. */
  async function makeTestHost(): Promise<number> {
    const holder = ['unshare', '-n', 'sh', '-c', 'echo up; exec sleep 300'] as const;
    const host = await keep([...holder], true);
    const peer = await keep([...holder], true);
    inNetns(host, 'ip', 'link', 'set', 'lo', 'up');
    inNetns(host, 'ip', 'link', 'add', 'wire0', 'type', 'veth', 'peer', 'name', 'wire1', 'netns', String(peer));
    for (const [pid, device, address] of [[host, 'wire0', '10.77.0.2/24'], [peer, 'wire1', '10.77.0.1/24']] as const) {
      inNetns(pid, 'ip', 'addr', 'add', address, 'dev', device);
      inNetns(pid, 'ip', 'link', 'set', device, 'up');
    }
    await keep(['nsenter', '-t', String(peer), '-n', process.execPath, '-e', server, '10.77.0.1:8000'], true);
    await keep(['nsenter', '-t', String(host), '-n', process.execPath, '-e', server, '127.0.0.1:9000', '127.80.0.1:9001', '0.0.0.0:9002'], true);
    return host;
  }
  const connectAll = (pid: number, targets: readonly string[]): unknown =>
    JSON.parse(inNetns(pid, process.execPath, '-e', client, ...targets));

  test('the namespace reaches the world and nothing of the host\'s loopback', async () => {
    const host = await makeTestHost();
    // The step starts its programs in the host of the test.
    const exec = createExec();
    step = makeStep({ ...exec, spawnDetached: (program, args, options) => exec.spawnDetached('/usr/bin/nsenter', ['-t', String(host), '-n', program, ...args], options) });
    const handle = await step.run(start(), plan);
    await expect.poll(status, limit).toBe('slirp-ready');
    const loopback = ['127.0.0.1:9000', '127.80.0.1:9001', '127.0.0.1:9002'];
    expect(connectAll(host, [...loopback, '10.77.0.1:8000'])).toEqual(
      ['reached 127.0.0.1:9000', 'reached 127.80.0.1:9001', 'reached 0.0.0.0:9002', 'reached 10.77.0.1:8000']);
    const pid = handle.process.pid;
    expect(connectAll(pid, ['10.77.0.1:8000'])).toEqual(['reached 10.77.0.1:8000']);
    const results = connectAll(pid, [...loopback, '10.0.2.2:9000', '10.0.2.2:9002', '10.0.3.2:9000', '10.0.2.100:9000']) as string[];
    for (const result of results) expect(result).toMatch(/^(silence|E[A-Z]+)$/);
    expect(readFileSync(`/proc/${pid}/net/dev`, 'utf8')).toMatch(/tap0:/);
    expect(inNetns(pid, 'ip', '-o', 'link', 'show', 'lo')).not.toMatch(/[<,]UP[,>]/);
  }, 120_000);

  test('undo ends both processes and removes every file, with and without a handle, twice', async () => {
    const handle = await step.run(start(), plan);
    await expect.poll(status, limit).toBe('slirp-ready');
    expect(processes.findByMark(plan.mark).length).toBe(2);
    await step.undo?.(undo(), plan, undefined);
    expect(processes.findByMark(plan.mark)).toEqual([]);
    expect(readdirSync(dir)).toEqual([]);
    await step.undo?.(undo(), plan, handle);
  });

  test('slirp4netns dies with the holder, and the holder with slirp4netns', async () => {
    const ours = (): number => processes.findByMark(plan.mark).length;
    const handle = await step.run(start(), plan);
    await expect.poll(status, limit).toBe('slirp-ready');
    process.kill(handle.process.pid, 'SIGKILL');
    await expect.poll(ours, limit).toBe(0);
    const again = await step.run(start(), plan);
    await expect.poll(status, limit).toBe('slirp-ready');
    const slirp = processes.findByMark(plan.mark).find(({ process }) => process.pid !== again.process.pid);
    process.kill(slirp?.process.pid ?? 0, 'SIGKILL');
    await expect.poll(ours, limit).toBe(0);
    expect(status()).toBe('slirp-died');
  });

  test('a slirp4netns that is not there fails the step', async () => {
    await expect(makeStep(createExec(), '/nonexistent/slirp4netns').run(start(), plan)).rejects.toMatchObject({ code: 'missing_requirement' });
  });

  test('plans nothing for --network none', async () => {
    const none = { ...vm, spec: { ...vm.spec, sections: { usernet: { network: 'none' } } } };
    expect(await step.plan({ vm: none, log })).toBeUndefined();
  });
});
