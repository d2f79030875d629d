// `vm workspace prepare`, `status`, `pull` and `export` against a scripted daemon.
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { eachDaemon } from '../testing/each-daemon.ts';
import { type FakeDaemon, FakeError, fakeVm, type Answer } from '../testing/fake-daemon.ts';
import { makeRepo } from '../testing/git-repo.ts';
import { runCli, startCli, until } from '../testing/run-cli.ts';

let daemon: FakeDaemon;
const banger = eachDaemon((made) => {
  daemon = made;
});
const order = (): string[] => daemon.calls.map((call) => call.method).filter((method) => method !== 'rpc.hello');
const workspace = { guestPath: '/root/app', hostPath: '/home/a/app', mode: 'shallow', head: '1'.repeat(40), branch: 'main', preparedAt: new Date().toISOString() };
const fail = (code: string, message: string): Answer => () => {
  throw new FakeError(code, message);
};

describe('prepare', () => {
  const result = { workspace, files: 120, sentFiles: 3, sentBytes: 1300, removedFiles: 1, notices: ['a notice\u001b[2J'] };
  test('sends what was asked for with absolute paths, and prints one line', async () => {
    daemon.options = { methods: { 'vm.workspace.prepare': () => result } };
    const { code, out, err } = await banger('vm', 'workspace', 'prepare', 'devbox', 'some/where', '--clean', '--force', '--branch', 'b', '--from', 'v1', '--mode', 'metadata');
    expect([code, err]).toEqual([0, 'banger: a notice?[2J\n']);
    expect(out).toMatch(/^\/root\/app: 120 files, 3 sent \(1\.3 KiB\), 1 removed, in [\d.]+ m?s\n$/);
    expect(daemon.called('vm.workspace.prepare')).toEqual([{ ref: 'devbox', path: join(process.cwd(), 'some/where'), mode: 'metadata', branch: 'b', from: 'v1', clean: true, force: true }]);
  });
  test('means the current directory without a path; --json prints the result, -q no notices', async () => {
    daemon.options = { methods: { 'vm.workspace.prepare': () => result } };
    const { out, err } = await banger('vm', 'workspace', 'prepare', 'devbox', '--json', '-q');
    expect([JSON.parse(out), err]).toEqual([result, '']);
    expect(daemon.called('vm.workspace.prepare')).toEqual([{ ref: 'devbox', path: process.cwd(), mode: 'shallow' }]);
  });
  test('--dry-run asks no daemon', async () => {
    const repo = makeRepo(daemon.dir);
    const { code, out } = await runCli(['vm', 'workspace', 'prepare', 'devbox', repo, '--dry-run'], { env: { ...daemon.env, XDG_STATE_HOME: '/nonexistent' } });
    expect(code).toBe(0);
    expect(out).toMatch(/\nfiles {7}1 file, 4 bytes\n {2}a\.txt\n$/);
  });
  test('a refusal of the daemon is an error', async () => {
    daemon.options = { methods: { 'vm.workspace.prepare': fail('workspace.would_overwrite', 'The guest has edits') } };
    expect(await banger('vm', 'workspace', 'prepare', 'devbox')).toMatchObject({ code: 1, out: '', err: 'banger: The guest has edits\n(op-fake01)\n' });
    expect(await banger('vm', 'workspace', 'prepare', 'devbox', '--from', 'x')).toMatchObject({ code: 2 });
  });
});

test('status: a table, or JSON', async () => {
  const workspaces = [{ ...workspace, hostHead: '2'.repeat(40), moved: true }, { ...workspace, guestPath: '/srv/x', hostHead: '1'.repeat(40), moved: false }];
  daemon.options = { methods: { 'vm.workspace.status': () => ({ workspaces }) } };
  expect((await banger('vm', 'workspace', 'status', 'devbox')).out).toBe([
    'GUEST PATH  HOST PATH    MODE     BRANCH  HEAD          HOST HEAD     PREPARED',
    '/root/app   /home/a/app  shallow  main    111111111111  222222222222  just now',
    '/srv/x      /home/a/app  shallow  main    111111111111  same          just now', '',
  ].join('\n'));
  expect(JSON.parse((await banger('vm', 'workspace', 'status', 'devbox', '--json')).out)).toEqual({ workspaces });
});

describe('pull', () => {
  const pulled = { operation: 'op-1', hostPath: '/home/a/app', refs: { base: 'b', worktree: 'w' }, commits: 0, changedFiles: 1, leftBehind: [], notices: [] };
  const methods = (pull: Answer = () => pulled): Record<string, Answer> => ({
    'vm.show': ({ params }) => ({ vm: daemon.vms.find(({ id, name }) => id === params['ref'] || name === params['ref']) }),
    'vm.workspace.status': () => ({ workspaces: [{ ...workspace, moved: false }] }), 'vm.workspace.pull': pull,
    'vm.start': () => ({ vm: fakeVm('abbbbbbbbbbb', 'builder') }), 'vm.stop': () => ({ vm: fakeVm('abbbbbbbbbbb', 'builder') }),
  });
  test('of a running VM says what came and how to see it', async () => {
    daemon.options = { methods: methods() };
    expect(await banger('vm', 'workspace', 'pull', 'devbox')).toMatchObject({ code: 0, out: '1 changed file came back from devbox: banger vm workspace diff devbox --repo /home/a/app\n', err: '' });
    await banger('vm', 'workspace', 'pull', 'devbox', 'clone', '--guest-path', '/srv/x');
    expect(daemon.called('vm.workspace.pull')).toEqual([{ ref: 'aaaaaaaaaaaa' }, { ref: 'aaaaaaaaaaaa', guestPath: '/srv/x', path: join(process.cwd(), 'clone') }]);
    expect(JSON.parse((await banger('vm', 'workspace', 'pull', 'devbox', '--json')).out)).toEqual(pulled);
  });
  test('of a stopped VM starts it and stops it again', async () => {
    daemon.options = { methods: methods() };
    expect(await banger('vm', 'workspace', 'pull', 'builder')).toMatchObject({
      code: 0, err: 'banger: builder is stopped: it is started for this, and stopped again\nbanger: builder is stopped again\n',
    });
    expect(order()).toEqual(['vm.show', 'vm.workspace.status', 'vm.start', 'vm.workspace.pull', 'vm.stop']);
  });
  test('that fails stops it again all the same, and the failure is the error', async () => {
    daemon.options = { methods: methods(fail('workspace.no_git', 'The guest has no git')) };
    expect(await banger('vm', 'workspace', 'pull', 'builder', '-q')).toMatchObject({ code: 1, out: '', err: 'banger: The guest has no git\n(op-fake01)\n' });
    expect(order().slice(-2)).toEqual(['vm.workspace.pull', 'vm.stop']);
  });
  test('that is interrupted stops it again, and exits 130', async () => {
    daemon.options = { methods: methods(async ({ cancelled }) => {
      await cancelled;
      throw new FakeError('cancelled', 'Operation was cancelled');
    }) };
    const cli = startCli(['vm', 'workspace', 'pull', 'builder', '-q'], { env: daemon.env });
    await until('the pull', () => daemon.called('vm.workspace.pull').length === 1);
    cli.child.kill('SIGINT');
    expect(await cli.result).toMatchObject({ code: 130, err: '' });
    expect(order().at(-1)).toBe('vm.stop');
  });
  test('starts no VM that has no workspace', async () => {
    daemon.options = { methods: { ...methods(), 'vm.workspace.status': () => ({ workspaces: [] }) } };
    expect(await banger('vm', 'workspace', 'pull', 'builder')).toMatchObject({ code: 1, err: 'banger: VM builder has no workspace\n  hint: banger vm workspace prepare builder <path> puts one in\n' });
    expect(daemon.called('vm.start')).toEqual([]);
  });
  test('says so when nothing changed', async () => {
    daemon.options = { methods: methods(() => ({ ...pulled, changedFiles: 0 })) };
    expect(await banger('vm', 'workspace', 'pull', 'devbox')).toMatchObject({ out: 'nothing in the workspace of devbox differs from what went in\n' });
  });
});

describe('export', () => {
  const patch = Buffer.from([...Array(256).keys()]);
  const gives = (exit: object): void => {
    daemon.options = { exec: async (stream) => {
      await stream.send(16, patch);
      await stream.send(17, 'said\n');
      stream.exit(exit);
    } };
  };
  const file = (name = 'work.patch'): string => join(daemon.dir, 'out', name);
  beforeEach(() => mkdirSync(join(daemon.dir, 'out')));

  test('prints the bytes as they are', async () => {
    gives({ code: 0 });
    const { code, stdout, err } = await banger('vm', 'workspace', 'export', 'devbox', '--guest-path', '/srv/x', '--base-commit', 'abc');
    expect([code, stdout.equals(patch), err]).toEqual([0, true, 'guest: said\n']);
    expect(daemon.called('vm.workspace.export')).toEqual([{ ref: 'devbox', guestPath: '/srv/x', baseCommit: 'abc' }]);
  });
  test('what the guest says cannot act on the terminal, nor pass for ours, nor go on without end', async () => {
    daemon.options = { exec: async (stream) => {
      await stream.send(17, 'banger: \u001b]0;evil\u0007\u001b[2J \u202egood\nwarning: sp');
      await stream.send(17, `lit\r\n${'x\n'.repeat(10_000)}`);
      stream.exit({ code: 0 });
    } };
    const { code, err } = await banger('vm', 'workspace', 'export', 'devbox');
    const lines = err.split('\n');
    expect([code, lines.slice(0, 2), lines.length < 1000]).toEqual([0, ['guest: banger: ?]0;evil??[2J ?good', 'guest: warning: split?'], true]);
  });
  test('that fails gives the last word of the guest as the reason, in one sentence', async () => {
    daemon.options = { exec: async (stream) => {
      await stream.send(17, 'warning: first\nfatal: bad \u001b[31mobject\n');
      stream.exit({ code: 7 });
    } };
    expect(await banger('vm', 'workspace', 'export', 'devbox')).toMatchObject({
      code: 1, out: '', err: 'guest: warning: first\nbanger: The guest did not get to the end of the patch: fatal: bad ?[31mobject\n',
    });
  });
  test('writes a whole file, in place of one that keeps its mode, and where a link leads', async () => {
    gives({ code: 0 });
    writeFileSync(file(), 'old', { mode: 0o640 });
    symlinkSync('work.patch', file('link'));
    expect(await banger('vm', 'workspace', 'export', 'devbox', '-o', file('link'))).toMatchObject({ code: 0, out: '' });
    expect([readFileSync(file()).equals(patch), statSync(file()).mode & 0o777, readdirSync(join(daemon.dir, 'out'))]).toEqual([true, 0o640, ['link', 'work.patch']]);
  });
  test('writes to a device as it is', async () => {
    gives({ code: 0 });
    expect(await banger('vm', 'workspace', 'export', 'devbox', '-o', '/dev/null')).toMatchObject({ code: 0 });
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });
  test.each([
    ['a status of the guest', { code: 2 }, 1], ['a signal', { signal: 'KILL', number: 9 }, 137], ['an error', { error: { code: 'workspace.no_git', opId: 'op-1', message: 'no git' } }, 1],
  ])('that ends with %s leaves the file as it was, and nothing beside it', async (_, exit, code) => {
    gives(exit);
    writeFileSync(file(), 'old');
    expect((await banger('vm', 'workspace', 'export', 'devbox', '-o', file())).code).toBe(code);
    expect([readFileSync(file(), 'utf8'), readdirSync(join(daemon.dir, 'out'))]).toEqual(['old', ['work.patch']]);
  });
  test.each([['SIGINT', 2], ['SIGHUP', 1]] as const)('that %s ends leaves nothing', async (signal, times) => {
    let signals = 0;
    daemon.options = { exec: async (stream) => {
      await stream.send(16, patch);
      for await (const { kind } of stream.frames) if (kind === 2) signals += 1;
    } };
    const cli = startCli(['vm', 'workspace', 'export', 'devbox', '-o', file()], { env: daemon.env });
    await until('the first bytes', () => readdirSync(join(daemon.dir, 'out')).some((name) => statSync(join(daemon.dir, 'out', name)).size > 0));
    for (let n = 1; n < times; n += 1) {
      cli.child.kill(signal);
      await until('the guest to hear of it', () => signals === n);
    }
    cli.child.kill(signal);
    expect((await cli.result).code).toBeGreaterThan(128);
    expect(readdirSync(join(daemon.dir, 'out'))).toEqual([]);
  });
  test('a place that cannot be written is told before the guest is asked', async () => {
    expect(await banger('vm', 'workspace', 'export', 'devbox', '-o', file('no/such/dir'))).toMatchObject({ code: 1, err: `banger: ${file('no/such/dir')} cannot be written (ENOENT)\n` });
    expect(daemon.called('vm.workspace.export')).toEqual([]);
    expect(existsSync(file('no'))).toBe(false);
  });
});
