// `vm run` with a repository: looked at before anything is made, in before the command, back before the VM goes.
import { readFileSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { WorkspacePrepareResult } from '../../core/api.ts';
import { eachDaemon } from '../testing/each-daemon.ts';
import { type FakeDaemon, FakeError, fakeVm, type Answer } from '../testing/fake-daemon.ts';
import { git, makeRepo, writeFiles } from '../testing/git-repo.ts';
import { runCli, startCli, until, type CliOptions } from '../testing/run-cli.ts';

let daemon: FakeDaemon;
let repo: string;
const banger = eachDaemon((made) => {
  daemon = made;
  repo = realpathSync(makeRepo(daemon.dir));
});

const prepared = (): WorkspacePrepareResult => ({
  workspace: { guestPath: '/root/app', hostPath: repo, mode: 'shallow', preparedAt: '2026-01-01T00:00:00Z' },
  files: 3, sentFiles: 3, sentBytes: 2048, removedFiles: 0, notices: ['2 untracked files are not sent; --include-untracked sends them'],
});
const pulled = (extra: object = {}): object => ({
  operation: 'op-1', hostPath: repo, refs: { base: 'refs/banger/fresh/op-1/base', worktree: 'refs/banger/fresh/op-1/worktree' }, commits: 1, changedFiles: 2, leftBehind: [], notices: [], ...extra,
});
/** `vm.show` knows the new VM. */
const world = (methods: Record<string, Answer> = {}, code = 0): void => {
  daemon.vms.push(fakeVm('dddddddddddd', 'fresh'));
  daemon.options = { exec: (stream) => stream.exit({ code }), methods: { 'vm.workspace.status': () => ({ workspaces: [{ ...prepared().workspace, moved: false }] }), 'vm.workspace.prepare': prepared, 'vm.workspace.pull': () => pulled(), ...methods } };
};
const order = (): string[] => daemon.calls.map((call) => call.method).filter((method) => method !== 'rpc.hello' && method !== 'vm.show');
const fail = (code: string, message: string): Answer => () => {
  throw new FakeError(code, message);
};

/** Where no daemon can be: its directory would be below a file. */
const withoutDaemon = (): CliOptions => ({ env: { ...daemon.env, XDG_STATE_HOME: join(repo, 'a.txt') } });

describe('before any call of the daemon', () => {
  test.each([
    ['a path that is not there', ['vm', 'run', 'make'], 'banger: Path make does not exist\n  hint: a command comes after --\n'],
    ['--branch without a path', ['vm', 'run', '--from', 'v 1', '--branch', 'x'], "banger: --branch needs the path of a repository\n  hint: banger vm run . --branch x --from 'v 1' is the one here\n"],
    ['--dry-run without a path', ['vm', 'run', '--dry-run'], 'banger: --dry-run needs the path of a repository\n  hint: banger vm run . --dry-run is the one here\n'],
    ['--pull without a path', ['vm', 'run', '--pull', '--', 'x'], 'banger: --pull needs the path of a repository\n  hint: banger vm run . --pull is the one here\n'],
    ['--from without --branch', ['vm', 'run', '.', '--from', 'HEAD'], 'banger: --from needs --branch\n  hint: it says where the new branch begins: --branch <name> --from <commit>\n'],
    ['an unknown mode', ['vm', 'run', '.', '--mode', 'deep'], 'banger: Invalid flag: --mode: wants shallow, full_copy, metadata, got deep\n'],
    ['-d with --pull', ['vm', 'run', '.', '-d', '--pull'], 'banger: --pull brings work back when the command has ended, and --detach runs none\n  hint: banger vm workspace pull <name> does it later\n'],
    ['a bad name', ['vm', 'run', '.', '--name', 'Dev_box'], 'banger: Invalid flag: --name: may hold a-z, 0-9 and - only, not "D" "_"\n'],
    ['--json with a command', ['vm', 'run', '.', '--json', '--', 'x'], 'banger: --json goes with --plan, --dry-run or --detach\n'],
  ])('%s is refused', async (_, words, text) => {
    expect(await banger(...words)).toMatchObject({ code: 2, err: text, out: '' });
    expect(daemon.calls).toEqual([]);
  });
  test.each([
    ['no repository', () => daemon.dir, /is not in a git repository/],
    ['a bare one', () => {
      git(daemon.dir, 'clone', '-q', '--bare', repo, join(daemon.dir, 'bare'));
      return join(daemon.dir, 'bare');
    }, /bare/],
    ['a file', () => join(repo, 'a.txt'), /not a directory/],
  ])('%s is refused', async (_, path, text) => {
    const { code, err } = await banger('vm', 'run', path(), '--', 'true');
    expect(err).toMatch(text);
    expect(code).toBe(2);
    expect(daemon.calls).toEqual([]);
  });
  test('an unknown commit and a guest path that banger keeps out of are refused', async () => {
    expect(await banger('vm', 'run', repo, '--branch', 'b', '--from', 'nowhere')).toMatchObject({ code: 2 });
    expect(await banger('vm', 'run', repo, '--guest-path', '/etc/app')).toMatchObject({ code: 2 });
    expect(daemon.calls).toEqual([]);
  });
  test('tools that need a network are refused without one, unless a command or --no-bootstrap leaves them out', async () => {
    daemon.options = { methods: { 'plugin.cli': () => ({ commands: [], flags: [{ section: 'usernet', name: 'network', key: 'network', type: 'string', summary: '', verbs: ['run'] }] }) } };
    const tools = makeRepo(daemon.dir, { '.tool-versions': 'node 20\n' });
    const refused = await banger('vm', 'run', tools, '--network', 'none');
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.err).toContain('--no-bootstrap');
    expect(daemon.called('vm.create')).toEqual([]);
    expect((await banger('vm', 'run', tools, '--network', 'none', '--dry-run', '--no-bootstrap')).code).toBe(0);
    expect((await banger('vm', 'run', tools, '--network', 'none', '--dry-run', '--', 'make')).code).toBe(0);
  });
});

describe('--dry-run', () => {
  test('prints mode, guest path and every name on a line of its own, and asks no daemon', async () => {
    const odd = realpathSync(makeRepo(daemon.dir, { 'b c': '12345', 'new\nline': '', '\xff\xfe': '', 'd/\xc3\xa4': '', 'back\\slash': '' }));
    const { code, out, err } = await runCli(['vm', 'run', odd, '--dry-run'], withoutDaemon());
    expect([code, err]).toEqual([0, '']);
    expect(out).toBe([
      `repository  ${odd}`, `guest path  /root/${basename(odd)}`, 'mode        shallow', `head        ${git(odd, 'rev-parse', 'HEAD').trim()}`, 'branch      main', 'files       5 files, 5 bytes',
      '  b c', '  back\\x5cslash', '  d/ä', '  new\\x0aline', '  \\xff\\xfe', '',
    ].join('\n'));
  });
  test('takes flags of built-in plugins, and asks no daemon for them', async () => {
    const alone = withoutDaemon();
    const plain = await runCli(['vm', 'run', repo, '--dry-run'], alone);
    expect(await runCli(['vm', 'run', repo, '--network', 'none', '--publish', '8080:80', '--publish=1:2', '--disk-size', '9G', '--root-size=8G', '--dry-run', '--', 'make'], alone)).toMatchObject({ code: 0, out: plain.out, err: '' });
    const tools = makeRepo(daemon.dir, { '.tool-versions': 'node 20\n' });
    expect(await runCli(['vm', 'run', tools, '--network', 'none', '--dry-run'], alone)).toMatchObject({ code: 2, err: expect.stringContaining('--no-bootstrap') as string });
  });
  test('says that it knows no other flags, and starts nothing to learn them', async () => {
    const alone = withoutDaemon();
    const why = 'a dry run asks no daemon, so it knows no flags of third-party plugins';
    expect(await runCli(['vm', 'run', repo, '--dry-run', '--gpu', '1'], alone)).toMatchObject({ code: 2, out: '', err: `banger: Unknown flag --gpu for banger vm run\n  hint: banger vm run --help lists the flags; ${why}\n` });
    expect(await runCli(['vm', 'run', repo, '--netwrok', 'none', '--dry-run'], alone)).toMatchObject({ code: 2, err: `banger: Unknown flag --netwrok for banger vm run\n  hint: did you mean --network?; ${why}\n` });
    expect(await banger('vm', 'run', repo, '--gpu', '1', '--', 'make', '--dry-run')).toMatchObject({ code: 2 });
    expect(daemon.called('plugin.cli')).toHaveLength(1);
  });
  test('names notices and what would be set up', async () => {
    const tools = makeRepo(daemon.dir, { '.tool-versions': 'node 20\n' });
    writeFiles(tools, { more: '' });
    const { out, err } = await banger('vm', 'run', tools, '--dry-run');
    expect(out).toMatch(/\n {2}\.tool-versions\nnotice: 1 untracked file is not sent; --include-untracked sends it\nset up: mise installs what \.tool-versions names\n$/);
    expect(err).toBe('');
  });
  test('--json has names, kinds, modes and sizes', async () => {
    git(repo, 'rm', '-q', '--cached', 'a.txt');
    const { out } = await banger('vm', 'run', repo, '--dry-run', '--json', '--mode', 'full_copy', '--branch', 'try');
    expect(JSON.parse(out)).toMatchObject({ mode: 'full_copy', hostPath: repo, branch: 'try', files: [], notices: [expect.any(String)] });
    const odd = makeRepo(daemon.dir, { '\xff': '' });
    expect(JSON.parse((await banger('vm', 'run', odd, '--dry-run', '--json')).out)).toMatchObject({ files: [{ path: '\\xff', pathBase64: '/w==' }] });
    const all = await banger('vm', 'run', repo, '--dry-run', '--json', '--include-untracked');
    expect(JSON.parse(all.out)).toMatchObject({ files: [{ path: 'a.txt', kind: 'file', mode: '0644', size: 4, untracked: true }] });
    expect(daemon.calls).toEqual([]);
  });
});

describe('with a repository', () => {
  test('it goes in before the command, which runs in it; stages, notices and a summary are on stderr', async () => {
    world({ 'vm.workspace.prepare': ({ progress }) => {
      progress('send', '3 files');
      return prepared();
    } }, 3);
    const { code, out, err } = await banger('vm', 'run', repo, '--branch', 'b', '--from', 'HEAD', '--mode', 'full_copy', '--include-untracked', '--guest-path', '/srv/x', '--', 'make');
    expect([code, out]).toEqual([3, '']);
    expect(err).toMatch(/\n {2}send: 3 files\nbanger: 2 untracked files are not sent; --include-untracked sends them\n\/root\/app: 3 files, 3 sent \(2 KiB\), in \d/);
    expect(order()).toEqual(['vm.create', 'vm.workspace.prepare', 'vm.exec']);
    expect(daemon.called('vm.create')).toEqual([{ start: true }]);
    expect(daemon.called('vm.workspace.prepare')).toEqual([{ ref: 'dddddddddddd', path: repo, mode: 'full_copy', branch: 'b', from: 'HEAD', includeUntracked: true, guestPath: '/srv/x' }]);
    expect(daemon.called('vm.exec')).toEqual([{ ref: 'dddddddddddd', command: ['make'], stdin: true, cwd: '/root/app' }]);
  });
  test('-q says nothing, and --rm deletes after the command', async () => {
    world();
    expect(await banger('vm', 'run', repo, '-q', '--rm', '--', 'make')).toMatchObject({ code: 0, err: '' });
    expect(order()).toEqual(['vm.create', 'vm.workspace.prepare', 'vm.exec', 'vm.delete']);
    expect(daemon.called('vm.create')).toEqual([{ start: true, lease: true }]);
  });
  test('-d puts it in, then prints the name', async () => {
    world();
    expect(await banger('vm', 'run', repo, '-dq')).toMatchObject({ code: 0, out: 'fresh\n', err: '' });
    expect(order()).toEqual(['vm.create', 'vm.workspace.prepare']);
    expect(JSON.parse((await banger('vm', 'run', repo, '-dq', '--json')).out)).toMatchObject({ vm: { name: 'fresh' }, workspace: { files: 3 } });
  });
  test('when it cannot go in, the error says that the VM still runs', async () => {
    world({ 'vm.workspace.prepare': fail('workspace.changed', 'The files kept changing') });
    expect(await banger('vm', 'run', repo, '-q', '--', 'make')).toMatchObject({
      code: 125, err: `banger: The files kept changing\n  hint: fresh still runs: banger vm workspace prepare fresh ${repo}, or banger vm delete fresh\n(op-fake01)\n`,
    });
    expect(order()).toEqual(['vm.create', 'vm.workspace.prepare']);
  });
  test('when it cannot go in, --rm deletes the VM', async () => {
    world({ 'vm.workspace.prepare': fail('workspace.changed', 'The files kept changing') });
    expect(await banger('vm', 'run', repo, '-q', '--rm', '--pull', '--', 'make')).toMatchObject({ code: 125, err: 'banger: The files kept changing\n(op-fake01)\n' });
    expect(order()).toEqual(['vm.create', 'vm.workspace.prepare', 'vm.delete']);
  });
  test('Ctrl-C while it goes in cancels that, says that the VM runs, and exits 130', async () => {
    world({ 'vm.workspace.prepare': async ({ cancelled }) => {
      await cancelled;
      throw new FakeError('cancelled', 'Operation was cancelled');
    } });
    const cli = startCli(['vm', 'run', repo, '--', 'true'], { env: daemon.env });
    await until('the prepare call', () => daemon.called('vm.workspace.prepare').length === 1);
    cli.child.kill('SIGINT');
    const { code, err } = await cli.result;
    expect(code).toBe(130);
    expect(err).toContain('banger: fresh still runs');
    expect(daemon.called('vm.exec')).toEqual([]);
  });
});

describe('tools that the repository asks for', () => {
  const withTools = (): string => makeRepo(daemon.dir, { '.tool-versions': 'node 20\n' });
  test('are set up before -d returns, with their output on stderr', async () => {
    world();
    daemon.options = { ...daemon.options, exec: async (stream) => {
      await stream.send(16, 'mise says\n');
      stream.exit({ code: 0 });
    } };
    const { code, out, err } = await banger('vm', 'run', withTools(), '-d');
    expect([code, out]).toEqual([0, 'fresh\n']);
    expect(err).toContain('mise says\n');
    expect(daemon.called('vm.exec')[0]).toMatchObject({ ref: 'dddddddddddd', stdin: false, command: ['sh', '-c', expect.stringContaining('mise install') as string] });
  });
  test('that cannot be set up are told, and the VM is there', async () => {
    world({}, 1);
    const { code, out, err } = await banger('vm', 'run', withTools(), '-dq');
    expect([code, out]).toEqual([0, 'fresh\n']);
    expect(err).toMatch(/^banger: not all of the repository's tools are set up: \/root\/\S+ in the guest has the details\n$/);
  });
  test('are left alone by a command and by --no-bootstrap', async () => {
    world();
    await banger('vm', 'run', withTools(), '-q', '--', 'make');
    expect(daemon.called('vm.exec').map((params) => params['command'])).toEqual([['make']]);
    await banger('vm', 'run', withTools(), '-dq', '--no-bootstrap');
    expect(daemon.called('vm.exec')).toHaveLength(1);
    expect(daemon.called('vm.exec.detach')).toEqual([]);
  });
  test('are set up behind a shell, whose beginning does not depend on them', async () => {
    world({ 'vm.exec.detach': fail('unsupported', 'No detached commands here') }, 5);
    const { code, err } = await banger('vm', 'run', withTools(), '-q');
    expect(code).toBe(5);
    expect(err).toBe("banger: the repository's tools are not set up\nbanger: No detached commands here\n(op-fake01)\n");
    expect(order()).toEqual(['vm.create', 'vm.workspace.prepare', 'vm.exec.detach', 'vm.exec']);
  });
});

describe('--pull', () => {
  test('brings work back after the command, whatever its code, and says how to see it', async () => {
    world({}, 3);
    const { code, err } = await banger('vm', 'run', repo, '--pull', '--', 'make');
    expect(code).toBe(3);
    expect(err).toMatch(new RegExp(`\nbanger: 1 commit and 2 changed files came back from fresh: banger vm workspace diff fresh --repo ${repo}\n$`));
    expect(order()).toEqual(['vm.create', 'vm.workspace.prepare', 'vm.exec', 'vm.workspace.pull']);
    expect(daemon.called('vm.workspace.pull')).toEqual([{ ref: 'dddddddddddd' }]);
  });
  test('with --rm there is no lease, and the VM goes only after the work is back', async () => {
    let deletedBefore = true;
    world({ 'vm.workspace.pull': async () => {
      await new Promise((done) => setImmediate(done));
      deletedBefore = daemon.called('vm.delete').length > 0;
      return pulled();
    } });
    expect(await banger('vm', 'run', repo, '-q', '--rm', '--pull', '--', 'make')).toMatchObject({ code: 0, err: '' });
    expect(order()).toEqual(['vm.create', 'vm.workspace.prepare', 'vm.exec', 'vm.workspace.pull', 'vm.delete']);
    expect(daemon.called('vm.create')).toEqual([{ start: true }]);
    expect(deletedBefore).toBe(false);
  });
  test('that fails keeps the VM, names it, and exits 1 in place of the code of the command', async () => {
    world({ 'vm.workspace.pull': fail('workspace.rejected', 'The objects are not whole') }, 0);
    expect(await banger('vm', 'run', repo, '-q', '--rm', '--pull', '--', 'make')).toMatchObject({
      code: 1, err: 'banger: The objects are not whole\n  hint: fresh is kept with its work: banger vm workspace pull fresh\n(op-fake01)\n',
    });
    expect(daemon.called('vm.delete')).toEqual([]);
  });
  test('that leaves work behind keeps a VM that was to go, and no other', async () => {
    world({ 'vm.workspace.pull': () => pulled({ leftBehind: ['lib', 'new'] }) });
    const { code, err } = await banger('vm', 'run', repo, '-q', '--rm', '--pull', '--', 'make');
    expect([code, err]).toEqual([1, 'banger: The work inside lib, new is in the guest only, as these are repositories of their own\n  hint: fresh is kept with its work: banger vm workspace pull fresh\n']);
    expect(daemon.called('vm.delete')).toEqual([]);
    expect(await banger('vm', 'run', repo, '-q', '--pull', '--', 'make')).toMatchObject({ code: 0 });
  });
  test('a command that did not run exits 125, after a pull all the same', async () => {
    world({ 'vm.exec': fail('operation_failed', 'The agent is gone'), 'vm.workspace.pull': fail('not_running', 'VM fresh is not running') });
    const { code, err } = await banger('vm', 'run', repo, '-q', '--rm', '--pull', '--', 'make');
    expect(code).toBe(125);
    expect(err).toBe('banger: VM fresh is not running\n  hint: fresh is kept with its work: banger vm workspace pull fresh\n(op-fake01)\nbanger: The agent is gone\n(op-fake01)\n');
    expect(order()).toEqual(['vm.create', 'vm.workspace.prepare', 'vm.exec', 'vm.workspace.pull']);
  });
  test('Ctrl-C of the command does not keep work from coming back', async () => {
    world();
    daemon.options = { ...daemon.options, exec: async (stream) => {
      await stream.send(16, 'up');
      for await (const { kind } of stream.frames) if (kind === 2) stream.exit({ signal: 'INT', number: 2 });
    } };
    const cli = startCli(['vm', 'run', repo, '-q', '--rm', '--pull', '--', 'make'], { env: daemon.env, keepStdin: true });
    await until('the command to run', () => cli.out() === 'up');
    cli.child.kill('SIGINT');
    expect((await cli.result).code).toBe(130);
    expect(order().slice(2)).toEqual(['vm.exec', 'vm.workspace.pull', 'vm.delete']);
  });
  test('Ctrl-C of the pull keeps the VM and says so', async () => {
    world({ 'vm.workspace.pull': async ({ cancelled }) => {
      await cancelled;
      throw new FakeError('cancelled', 'Operation was cancelled');
    } });
    const cli = startCli(['vm', 'run', repo, '-q', '--rm', '--pull', '--', 'make'], { env: daemon.env });
    await until('the pull', () => daemon.called('vm.workspace.pull').length === 1);
    cli.child.kill('SIGINT');
    const { code, err } = await cli.result;
    expect([code, err]).toEqual([130, 'banger: Interrupted\n  hint: fresh is kept with its work: banger vm workspace pull fresh\n']);
    expect(daemon.called('vm.delete')).toEqual([]);
  });
  test('a guest that powered itself off is started for it', async () => {
    world({ 'vm.start': () => ({ vm: fakeVm('dddddddddddd', 'fresh') }), 'vm.stop': () => ({ vm: fakeVm('dddddddddddd', 'fresh') }) });
    daemon.vms = [fakeVm('dddddddddddd', 'fresh', { state: 'stopped' })];
    expect((await banger('vm', 'run', repo, '-q', '--rm', '--pull', '--', 'poweroff')).code).toBe(0);
    expect(order().slice(2)).toEqual(['vm.exec', 'vm.workspace.status', 'vm.start', 'vm.workspace.pull', 'vm.stop', 'vm.delete']);
  });
});

test('only a path loads what runs git; vm exec never does', async () => {
  world();
  const list = join(daemon.dir, 'modules');
  const env = { ...daemon.env, NODE_OPTIONS: `--require=${join(import.meta.dirname, '..', 'testing', 'list-modules.cjs')}`, LIST_MODULES: list };
  const modulesOf = async (...words: string[]): Promise<string> => {
    expect((await runCli(words, { env })).code).toBe(0);
    return readFileSync(list, 'utf8');
  };
  expect(await modulesOf('vm', 'run', '-q', '--', 'true')).not.toContain('workspace-host');
  expect(order()).toEqual(['vm.create', 'vm.exec']);
  expect(await modulesOf('vm', 'exec', '--auto-prepare', 'devbox', '--', 'true')).not.toContain('workspace-host');
  expect(await modulesOf('vm', 'run', repo, '-q', '--', 'true')).toContain('dist/cli/workspace-host.cjs');
  // All of the packages that it needs are in the bundles.
  expect(await modulesOf('vm', 'run', repo, '-q', '--', 'true')).not.toContain('node_modules');
});
