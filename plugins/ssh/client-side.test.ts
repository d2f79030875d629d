// What clients need, made in a state directory; the methods that tell of it, and doctor's look at the person's own configuration.
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createExec } from '../../core/exec.ts';
import { notFound, notRunning } from '../../core/plugin-api.ts';
import type { CallContext, HostInfo, Logger, Vm, Vms } from '../../core/plugin-api.ts';
import { clientCheck } from './client-checks.ts';
import { createClientSide } from './client-side.ts';
import type { ClientSide, ClientSideDeps } from './client-side.ts';
import { ensureHostKey } from './keys.ts';
import { sshMethods } from './methods.ts';
import { sshConfig } from './schema.ts';

let dir: string;
let vms: Vm[];
let running: Set<string>;
const clients: ClientSide[] = [];
const warnings: object[] = [];
const log = { warn: (fields: object) => warnings.push(fields) } as unknown as Logger;
const lookup = (ref: string): Vm => vms.find(({ name }) => name === ref) ?? (() => { throw notFound('VM', ref); })();
const fakeVms = {
  list: () => [...vms], isRunning: (id: string) => running.has(id), isPaused: (id: string) => id === 'id-still', onChange: () => () => undefined, resolve: lookup,
  async running(ref: string) {
    const vm = lookup(ref);
    if (!running.has(vm.id)) throw notRunning(vm.name, 'it has been stopped');
    return vm;
  },
} as unknown as Vms;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'banger-client-side-'));
  vms = [];
  running = new Set();
  warnings.length = 0;
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  await rm(dir, { recursive: true });
});

const stateDir = (): string => join(dir, 'ssh');
async function make(more: Partial<ClientSideDeps> = {}): Promise<ClientSide> {
  const host = { nativeDir: '/opt/banger/dist/native', stateDir: '/state', socketPath: (id: string, name: string) => `/state/vms/${id}/${name}.sock` } as HostInfo;
  const client = await createClientSide({ dir: stateDir(), config: {}, exec: createExec(), host, vms: fakeVms, log, env: {}, ...more });
  clients.push(client);
  return client;
}
async function addVm(name: string): Promise<Vm> {
  const vm = { id: `id-${name}`, name, dir: join(dir, name) } as Vm;
  await mkdir(vm.dir);
  vms.push(vm);
  return vm;
}
const ssh = (config: string, host: string): string => execFileSync('ssh', ['-G', '-F', config, host], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

test('key, known hosts and configuration are there, and nothing beside them', async () => {
  running.add((await addVm('old')).id);
  const client = await make();
  const parts = await client.parts();
  expect((await readdir(stateDir())).toSorted()).toEqual(['config', 'id_ed25519', 'id_ed25519.pub', 'known_hosts']);
  expect(parts).toMatchObject({ proxy: '/opt/banger/dist/native/ssh-proxy', launcher: '/opt/banger/bin/banger', socket: '/state/ssh.sock', env: {} });
  expect(ssh(client.configFile, 'old.vm')).toContain(`userknownhostsfile ${join(stateDir(), 'known_hosts')}\n`);
  expect(await readFile(join(stateDir(), 'known_hosts'), 'utf8')).toContain('\nold.vm,old ssh-ed25519 ');
  expect((await stat(client.configFile)).mode & 0o777).toBe(0o600);
});

test('what a person changed in the configuration is put right by the next start, and the same is not written again', async () => {
  const first = await make();
  await first.parts();
  const text = await readFile(first.configFile, 'utf8');
  const { ino } = await stat(first.configFile);
  await (await make()).parts();
  expect((await stat(first.configFile)).ino).toBe(ino);
  await writeFile(first.configFile, `${text}Host *\n  User evil\n`);
  await (await make()).parts();
  expect(await readFile(first.configFile, 'utf8')).toBe(text);
});

test("a key of the person's own, and the daemon's variables, are in the configuration", async () => {
  const client = await make({ config: { key_path: join(dir, 'own') }, env: { XDG_STATE_HOME: '/a b', BANGER_CONFIG: '', HOME: '/h' } });
  await client.parts();
  expect(client.clientKey.privateKeyPath).toBe(join(dir, 'own'));
  expect(ssh(client.configFile, 'x.vm')).toContain(`identityfile ${join(dir, 'own')}\n`);
  expect(await readFile(client.configFile, 'utf8')).toContain(" --env 'XDG_STATE_HOME=/a b' /state/ssh.sock '%h'\n");
});

test('a configuration that cannot be written is told to whoever asks, and stops nothing else', async () => {
  await mkdir(join(stateDir(), 'config', 'in-the-way'), { recursive: true });
  const client = await make();
  await expect(client.parts()).rejects.toMatchObject({ code: 'operation_failed' });
  expect(warnings).toHaveLength(1);
});

describe('the methods', () => {
  const call = { signal: new AbortController().signal } as CallContext;
  const ask = async (params: object) => {
    const method = sshMethods({ client: clients[0] ?? await make(), vms: fakeVms })['vm.ssh'];
    return method.result.parse(await method.handler(method.params.parse(params), call));
  };

  test('vm.ssh tells VMs that are paused, do not run, and are not there', async () => {
    await addVm('idle');
    await expect(ask({ ref: 'idle' })).rejects.toMatchObject({ code: 'not_running' });
    running.add((await addVm('still')).id);
    await expect(ask({ ref: 'still' })).rejects.toMatchObject({ code: 'wrong_state', hint: 'banger vm resume still' });
    expect(await ask({ ref: 'still', stopped: true })).toMatchObject({ running: true });
    await expect(ask({ ref: 'nosuch' })).rejects.toMatchObject({ code: 'not_found' });
    await expect(ask({ ref: 'nosuch', stopped: true })).rejects.toMatchObject({ code: 'not_found' });
    expect(await ask({ ref: 'idle', stopped: true })).toMatchObject({ host: 'idle.vm', running: false });
  });

  test('vm.ssh says all that a client needs, and its stanza the same', async () => {
    running.add((await addVm('devbox')).id);
    const way = await ask({ ref: 'devbox' });
    expect(way).toMatchObject({ host: 'devbox.vm', user: 'root', running: true, configFile: join(stateDir(), 'config'), identityFile: join(stateDir(), 'id_ed25519') });
    await writeFile(join(dir, 'stanza'), way.stanza);
    const strip = (text: string): string[] => text.split('\n').filter((line) => !/^(host|hostname|originalhost) /.test(line));
    expect(strip(ssh(join(dir, 'stanza'), 'devbox'))).toEqual(strip(ssh(way.configFile, 'devbox.vm')));
  });

  test('ssh.config has no line for a path that cannot be included', async () => {
    const of = async (client: ClientSide) => sshMethods({ client, vms: fakeVms })['ssh.config'].handler({}, call);
    expect(await of(await make())).toEqual({ configFile: join(stateDir(), 'config'), include: `Include ${join(stateDir(), 'config')}` });
    expect(await of(await make({ dir: join(dir, 'per%cent') }))).toMatchObject({ include: null });
  });
});

describe('doctor', () => {
  const env = { config: sshConfig.parse({}), signal: new AbortController().signal };
  const run = () => clientCheck({ configFile: '/state/config' }, () => dir).run(env);

  test('never warns: plain ssh by name is a convenience', async () => {
    expect(await run()).toMatchObject({ level: 'pass', detail: [expect.stringContaining('banger ssh-config --install')] });
    await mkdir(join(dir, '.ssh'));
    await writeFile(join(dir, '.ssh', 'config'), '# Include /state/config\nInclude /state/config.old\n');
    expect(await run()).toMatchObject({ level: 'pass', detail: [expect.stringContaining('does not include')] });
    await writeFile(join(dir, '.ssh', 'config'), 'Host a\r\n  Include /state/config\r\n');
    expect(await run()).toMatchObject({ level: 'pass', detail: [expect.stringContaining('ssh <name>.vm works')] });
    expect(await clientCheck({}).run(env)).toMatchObject({ level: 'pass' });
  });
});

test('a host key is there before anything is asked', async () => {
  const vm = await addVm('devbox');
  const { publicKey } = await ensureHostKey(vm);
  await make();
  expect(await readFile(join(stateDir(), 'known_hosts'), 'utf8')).toContain(publicKey.split(' ')[1]);
});
