// The step, with the agent's real copy program in place of a guest's: what arrives, what is warned of, what ends the start.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createExec } from '../../core/exec.ts';
import { nullLog } from '../../core/log.ts';
import type { GuestExecRequest, GuestExit, GuestProcess, StartContext, Vm, Vms } from '../../core/plugin-api.ts';
import { repoRoot } from '../../test/support/source-tree.ts';
import { readGitIdentity, renderGitConfig } from './git-identity.ts';
import { fileSyncConfig } from './schema.ts';
import { createWarningNotes, syncStep } from './sync.ts';
import type { SyncDeps } from './sync.ts';

let dir: string;
let home: string;
let guest: string;
beforeAll(() => {
  execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh'), '--asan'], { cwd: repoRoot });
}, 120_000);
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-sync-'));
  [home, guest] = [join(dir, 'home'), join(dir, 'guest')];
  mkdirSync(home);
  mkdirSync(guest);
});
afterEach(() => rmSync(dir, { recursive: true }));

const vm = { id: 'aaaaaaaaaaaa', name: 'devbox' } as Vm;

/** Runs the program on the host, with the guest's home elsewhere. */
function run({ command, builtin, stdin }: GuestExecRequest): GuestProcess {
  if (builtin !== true) throw new Error('not a program of the agent');
  const words = command.slice(1).map((word) => (word === '/root' || word.startsWith('/root/') ? join(guest, word.slice(5)) : word));
  const child = spawn(join(repoRoot, 'dist/native/copy-asan'), words, { stdio: ['pipe', 'pipe', 'pipe'] });
  if (!stdin) child.stdin.end();
  const exit = new Promise<GuestExit>((resolve) => child.on('close', (code, signal) => resolve(code === null ? { signal: String(signal), number: 0 } : { code })));
  return { stdin: child.stdin, stdout: child.stdout, stderr: child.stderr, exit, resize: () => undefined, signal: () => undefined, hangup: () => void child.kill('SIGHUP') };
}

interface Options { readonly entries?: readonly object[]; readonly git?: boolean; readonly protocol?: number; readonly exec?: SyncDeps['agent']['exec'] }
async function sync({ entries = [], git = false, protocol = 2, exec = async (_vm, request) => run(request) }: Options): Promise<readonly string[]> {
  let warned: readonly string[] = [];
  const config = fileSyncConfig.parse({ git_identity: git });
  const parsed = { ...config, entries: entries.map((entry) => ({ mode: 0o600, ...entry }) as SyncDeps['config']['entries'][number]) };
  const step = syncStep({
    config: parsed, home, log: nullLog, exec: createExec(), env: { HOME: home },
    agent: { exec, info: async () => ({ version: '0', protocol, bootId: 'b', init: 'agent' }) }, onWarnings: (_, warnings) => { warned = warnings; },
  });
  const ctx = { vm, opId: 'op-1', signal: new AbortController().signal, log: nullLog, waitingFor: () => undefined, touched: async () => undefined };
  await step.run(ctx as unknown as StartContext, null);
  return warned;
}
const entry = (host: string, to: string): object => ({ host: join(home, host), guest: to });

test('copies files and directories, makes what is above them, and warns of what is missing', async () => {
  writeFileSync(join(home, 'netrc'), 'machine x\n');
  mkdirSync(join(home, 'nvim', 'lua'), { recursive: true });
  writeFileSync(join(home, 'nvim', 'lua', 'init.lua'), 'x = 1\n', { mode: 0o640 });
  symlinkSync('/etc/shadow', join(home, 'nvim', 'link'));
  mkdirSync(join(guest, '.config'), { mode: 0o700 });
  writeFileSync(join(guest, '.netrc'), 'old\n', { mode: 0o666 });
  const warnings = await sync({ entries: [entry('netrc', '.netrc'), entry('none', '.none'), entry('nvim', '.config/nvim')] });
  expect(warnings).toEqual([`file_sync[1] was skipped: ${home}/none is not there`]);
  expect(readFileSync(join(guest, '.netrc'), 'utf8')).toBe('machine x\n');
  expect(statSync(join(guest, '.netrc')).mode & 0o777).toBe(0o600);
  expect(statSync(join(guest, '.config')).mode & 0o777).toBe(0o700);
  expect(statSync(join(guest, '.config/nvim/lua/init.lua')).mode & 0o777).toBe(0o640);
  expect(existsSync(join(guest, '.config/nvim/link'))).toBe(false);
});

test('writes through no link of the guest, says so, and copies the rest', async () => {
  mkdirSync(join(dir, 'elsewhere'));
  symlinkSync(join(dir, 'elsewhere'), join(guest, '.config'));
  writeFileSync(join(home, 'a'), 'a');
  const warnings = await sync({ entries: [entry('a', '.config/a'), entry('a', 'b')] });
  expect(warnings).toEqual([expect.stringMatching(/^left out by the guest: .*symlink/)]);
  expect(existsSync(join(dir, 'elsewhere', 'a'))).toBe(false);
  expect(readFileSync(join(guest, 'b'), 'utf8')).toBe('a');
});

test('asks the guest nothing when there is nothing, and leaves an old agent alone', async () => {
  const exec = (): never => { throw new Error('asked'); };
  expect(await sync({ entries: [entry('none', 'x')], exec })).toHaveLength(1);
  writeFileSync(join(home, 'a'), 'a');
  expect(await sync({ entries: [entry('a', 'x')], git: true, protocol: 1, exec })).toEqual([expect.stringContaining('too old')]);
});

test('ends the start for what the host cannot give and what the guest does not take', async () => {
  writeFileSync(join(home, 'a'), 'a'.repeat(1000));
  symlinkSync('/etc/passwd', join(home, 'escape'));
  await expect(sync({ entries: [entry('a', 'a'), entry('escape', 'b')] })).rejects.toThrow(/^file_sync\[1\]: .* outside of the home/);
  rmSync(guest, { recursive: true });
  writeFileSync(guest, '');
  await expect(sync({ entries: [entry('a', 'a')] })).rejects.toThrow(/the guest of devbox did not take the files: .*is not a directory|not take the files/);
});

test('gives up with the start, though the guest never reads', async () => {
  writeFileSync(join(home, 'big'), Buffer.alloc(4 * 1024 * 1024));
  const start = new AbortController();
  const hung: string[] = [];
  const never = new Promise<never>(() => undefined);
  const stuck: SyncDeps['agent']['exec'] = async (_vm, request) => {
    const process = run(request);
    process.hangup();
    const stdin = new Writable({ write: () => { start.abort(new Error('deadline')); } });
    return { ...process, stdin, exit: never, hangup: () => { hung.push('hangup'); } };
  };
  const step = syncStep({
    config: { git_identity: false, entries: [{ host: join(home, 'big'), guest: 'big', mode: 0o600 }] }, home, log: nullLog, exec: createExec(), env: {},
    agent: { exec: stuck, info: async () => ({ version: '0', protocol: 2, bootId: 'b', init: 'agent' }) }, onWarnings: () => undefined,
  });
  const ctx = { vm, opId: 'op-1', signal: start.signal, log: nullLog, waitingFor: () => undefined, touched: async () => undefined };
  await expect(step.run(ctx as unknown as StartContext, null)).rejects.toThrow('deadline');
  expect(hung).not.toEqual([]);
});

describe('git identity', () => {
  const configure = (text: string): void => writeFileSync(join(home, '.gitconfig'), text);
  const readBack = (key: string): string =>
    execFileSync('git', ['config', '--file', join(guest, '.gitconfig'), '--get', key], { encoding: 'utf8' }).replace(/\n$/, '');

  test('is written where there is none, whatever is in the name', async () => {
    writeFileSync(join(home, 'more'), '[user]\n\temail = dev@example.org\n');
    configure('[user]\n\tname = "Ada \\"#;\\\\ Lövelace "\n[include]\n\tpath = more\n');
    expect(await sync({ git: true })).toEqual([]);
    expect([readBack('user.name'), readBack('user.email')]).toEqual(['Ada "#;\\ Lövelace ', 'dev@example.org']);
    expect(statSync(join(guest, '.gitconfig')).mode & 0o777).toBe(0o644);
  });

  test.each(['.gitconfig', '.config/git/config'])('leaves %s of the guest alone, also a dangling link', async (path) => {
    configure('[user]\n\tname = Ada\n');
    mkdirSync(join(guest, '.config/git'), { recursive: true });
    writeFileSync(join(guest, path), '[user]\n\tname = Guest\n');
    expect(await sync({ git: true })).toEqual([]);
    expect(readFileSync(join(guest, path), 'utf8')).toContain('Guest');
    rmSync(join(guest, path));
    symlinkSync('/nowhere', join(guest, path));
    await sync({ git: true });
    expect(existsSync(join(guest, '.gitconfig'))).toBe(false);
  });

  test('is only warned of when there is none on the host', async () => {
    expect(await sync({ git: true })).toEqual(['no git identity was copied: git on this host has no global user.name and user.email']);
    expect(existsSync(join(guest, '.gitconfig'))).toBe(false);
    expect(await readGitIdentity({ run: async () => ({ stdout: 'a\u001bb\n', stderr: '', exitCode: 0, durationMs: 0 }) }, {})).toBeUndefined();
    expect(renderGitConfig({ name: 'x' })).toBe('[user]\n\tname = "x"\n');
  });
});

test('warnings of a start are shown once the VM has started, and not after the next', () => {
  const notes: string[] = [];
  let tell: Parameters<Vms['onChange']>[0] = () => undefined;
  const { keep } = createWarningNotes({ note: (_, text) => void notes.push(text), onChange: (listener) => { tell = listener; return () => undefined; } });
  keep(vm, ['first', 'second']);
  tell({ kind: 'started', vm });
  keep(vm, []);
  tell({ kind: 'started', vm });
  keep(vm, ['third']);
  tell({ kind: 'stopped', vm });
  tell({ kind: 'started', vm });
  expect(notes).toEqual(['file sync: first (and 1 more, see banger daemon logs)']);
});
