// `vm exec` and workspaces: where commands run, the warning of a repository that moved on, and preparing again.
import { describe, expect, test } from 'vitest';
import type { WorkspaceStatus } from '../../core/api.ts';
import { eachDaemon } from '../testing/each-daemon.ts';
import { type FakeDaemon, FakeError } from '../testing/fake-daemon.ts';
import { startCli, until } from '../testing/run-cli.ts';

let daemon: FakeDaemon;
const banger = eachDaemon((made) => {
  daemon = made;
});
const workspace = (extra: Partial<WorkspaceStatus> = {}): WorkspaceStatus => ({
  guestPath: '/root/app', hostPath: '/home/a/app', mode: 'full_copy', head: '1'.repeat(40), hostHead: '1'.repeat(40), branch: 'main', preparedAt: '2026-01-01T00:00:00Z', moved: false, ...extra,
});
const moved = { hostHead: '2'.repeat(40), moved: true };
const warning = 'banger: HEAD of the repository is at 222222222222, the workspace of devbox at 111111111111; --auto-prepare brings it\n';
const has = (...workspaces: WorkspaceStatus[]): void => {
  daemon.options = { exec: (stream) => stream.exit({ code: 4 }), methods: {
    'vm.workspace.status': () => ({ workspaces }), 'vm.exec.detach': () => ({ id: 'abcdef012345' }),
    'vm.workspace.prepare': () => ({ workspace: workspaces[0], files: 1, sentFiles: 0, sentBytes: 0, removedFiles: 0, notices: ['a notice'] }),
  } };
};
const order = (): string[] => daemon.calls.map((call) => call.method).filter((method) => method !== 'rpc.hello');

describe('the directory of a command', () => {
  test('is the workspace prepared last, for shells and detached commands too', async () => {
    has(workspace(), workspace({ guestPath: '/root/other' }));
    expect(await banger('vm', 'exec', 'devbox', '--', 'make')).toMatchObject({ code: 4, err: '' });
    expect(await banger('vm', 'exec', 'devbox')).toMatchObject({ code: 4 });
    expect(await banger('vm', 'exec', '-d', 'devbox', '--', 'make')).toMatchObject({ code: 0, out: 'abcdef012345\n' });
    expect([...daemon.called('vm.exec'), ...daemon.called('vm.exec.detach')].map((params) => params['cwd'])).toEqual(['/root/app', '/root/app', '/root/app']);
  });
  test('is asked for in the same write as the hello, before the command', async () => {
    has(workspace());
    await banger('vm', 'exec', 'devbox', '--', 'make');
    expect(daemon.calls.map((call) => call.method)).toEqual(['rpc.hello', 'vm.workspace.status', 'vm.exec']);
    expect(daemon.called('vm.workspace.status')).toEqual([{ ref: 'devbox' }]);
  });
  test('is what was asked for, and the home of users other than root', async () => {
    has(workspace());
    await banger('vm', 'exec', 'devbox', '-w', '/srv', '--', 'make');
    await banger('vm', 'exec', 'devbox', '--guest-path', '/srv', '--', 'make');
    await banger('vm', 'exec', 'devbox', '-u', 'nobody', '--', 'make');
    await banger('vm', 'exec', 'devbox', '-u', 'root', '--', 'make');
    expect(daemon.called('vm.exec').map((params) => params['cwd'])).toEqual(['/srv', '/srv', undefined, '/root/app']);
  });
  test('is the home without a workspace, and with a daemon that knows none', async () => {
    has();
    await banger('vm', 'exec', 'devbox', '--', 'make');
    daemon.options = { exec: (stream) => stream.exit({ code: 0 }) };
    expect(await banger('vm', 'exec', 'devbox', '--', 'make')).toMatchObject({ code: 0, err: '' });
    expect(daemon.called('vm.exec').map((params) => params['cwd'])).toEqual([undefined, undefined]);
  });
  test('is not asked for with --all, nor where nothing depends on it', async () => {
    has(workspace(moved));
    await banger('vm', 'exec', '--all', '--', 'make');
    await banger('vm', 'exec', '-q', 'devbox', '-w', '/srv', '--', 'make');
    expect(daemon.called('vm.workspace.status')).toEqual([]);
  });
  test('a VM that does not exist is told once, with 125', async () => {
    daemon.options = { methods: { 'vm.workspace.status': () => {
      throw new FakeError('not_found', 'No VM matches nobody');
    } } };
    expect(await banger('vm', 'exec', 'nobody', '--', 'true')).toMatchObject({ code: 125, err: 'banger: No VM matches nobody\n(op-fake01)\n' });
  });
});

describe('a workspace that is gone from the guest', () => {
  const gone = 'banger: The workspace /root/app is not in the guest of devbox any more, so the command did not run\n  hint: --auto-prepare puts it in again\n';
  /** A command in a directory that is not there ends as the agent has it; one that is not there itself, too. */
  const guest = (isGone: boolean): void => {
    has(workspace());
    daemon.options = { ...daemon.options, exec: async (stream, params) => {
      const known = (params['command'] as string[])[0] === 'make';
      if (isGone) await stream.send(17, 'banger: /root/app: No such file or directory\n');
      stream.exit({ code: isGone || known ? 126 : 127 });
    } };
  };
  test('is told, with the exit code as it is', async () => {
    guest(true);
    const { code, err } = await banger('vm', 'exec', 'devbox', '--', 'make');
    expect([code, err]).toEqual([126, `banger: /root/app: No such file or directory\n${gone}`]);
    expect(await banger('vm', 'exec', '-q', 'devbox', '--', 'make')).toMatchObject({ code: 126, err: expect.stringContaining(gone) as string });
    expect((await banger('vm', 'exec', 'devbox', '-w', '/root/app/src', '--', 'make')).err).toContain('The workspace /root/app is not in');
  });
  test('is told of a command that goes on by itself, too', async () => {
    guest(true);
    daemon.options = { ...daemon.options, methods: { ...daemon.options.methods, 'vm.exec.detach': () => {
      throw new FakeError('operation_failed', 'The command did not start in devbox: banger: /root/app: No such file or directory', undefined, { exitCode: 126 });
    } } };
    expect(await banger('vm', 'exec', '-d', 'devbox', '--', 'make')).toMatchObject({ code: 126, err: expect.stringContaining(gone) as string });
  });
  test('is not told of a program that cannot be run', async () => {
    guest(false);
    expect(await banger('vm', 'exec', 'devbox', '--', 'make')).toMatchObject({ code: 126, err: '' });
  });
  test('is not asked for elsewhere, nor when a command has run', async () => {
    guest(true);
    expect(await banger('vm', 'exec', 'devbox', '-w', '/srv', '--', 'make')).toMatchObject({ code: 126, err: 'banger: /root/app: No such file or directory\n' });
    has(workspace());
    await banger('vm', 'exec', 'devbox', '--', 'make');
    expect(daemon.called('vm.exec').map((params) => params['command'])).toEqual([['make'], ['make']]);
  });
});

describe('a repository that moved on', () => {
  test('is told in one line; -q does not', async () => {
    has(workspace(moved));
    expect(await banger('vm', 'exec', 'devbox', '--', 'make')).toMatchObject({ code: 4, err: warning });
    expect(await banger('vm', 'exec', '-d', 'devbox', '--', 'make')).toMatchObject({ code: 0, err: warning });
    expect(await banger('vm', 'exec', '-q', 'devbox', '--', 'make')).toMatchObject({ code: 4, err: '' });
    expect(daemon.called('vm.workspace.prepare')).toEqual([]);
  });
  test('is told of the workspace that the command runs in', async () => {
    has(workspace(), workspace({ guestPath: '/root/other', ...moved }));
    expect(await banger('vm', 'exec', 'devbox', '--', 'make')).toMatchObject({ err: '' });
    expect(await banger('vm', 'exec', 'devbox', '-w', '/root/other', '--', 'make')).toMatchObject({ err: warning });
    expect(await banger('vm', 'exec', 'devbox', '-w', '/root/other/src', '--', 'make')).toMatchObject({ err: warning });
    expect(await banger('vm', 'exec', 'devbox', '-w', '/root/othe', '--', 'make')).toMatchObject({ err: '' });
  });
  test('that has no commit, or is gone, needs no warning', async () => {
    const { hostHead: _, ...gone } = workspace({ moved: true });
    has(gone);
    expect(await banger('vm', 'exec', 'devbox', '--', 'make')).toMatchObject({ code: 4, err: '' });
  });
});

describe('--auto-prepare', () => {
  test('prepares the same way first, and warns of nothing', async () => {
    has(workspace(moved));
    expect(await banger('vm', 'exec', '--auto-prepare', 'devbox', '--', 'make')).toMatchObject({ code: 4, err: 'banger: a notice\n' });
    expect(order()).toEqual(['vm.workspace.status', 'vm.workspace.prepare', 'vm.exec']);
    expect(daemon.called('vm.workspace.prepare')).toEqual([{ ref: 'devbox', path: '/home/a/app', mode: 'full_copy', guestPath: '/root/app' }]);
  });
  test('keeps a branch of the guest and untracked files', async () => {
    has(workspace({ includeUntracked: true, ownBranch: { name: 'try', from: 'v1' } }));
    await banger('vm', 'exec', '--auto-prepare', 'devbox', '--', 'make');
    expect(daemon.called('vm.workspace.prepare')).toEqual([{ ref: 'devbox', path: '/home/a/app', mode: 'full_copy', guestPath: '/root/app', includeUntracked: true, branch: 'try', from: 'v1' }]);
  });
  test('brings changed files without a new commit, too', async () => {
    has(workspace());
    await banger('vm', 'exec', '--auto-prepare', 'devbox', '--', 'make');
    expect(daemon.called('vm.workspace.prepare')).toHaveLength(1);
  });
  test.each([['workspace.would_overwrite'], ['bad_request']])('that is refused with %s exits 125 and runs nothing', async (code) => {
    has(workspace(moved));
    daemon.options = { ...daemon.options, methods: { ...daemon.options.methods, 'vm.workspace.prepare': () => {
      throw new FakeError(code, 'It cannot be', 'do otherwise');
    } } };
    expect(await banger('vm', 'exec', '--auto-prepare', 'devbox', '--', 'make')).toMatchObject({ code: 125, err: 'banger: It cannot be\n  hint: do otherwise\n(op-fake01)\n' });
    expect(daemon.called('vm.exec')).toEqual([]);
  });
  test('without a workspace is refused, and with --all', async () => {
    has();
    expect(await banger('vm', 'exec', '--auto-prepare', 'devbox', '--', 'make')).toMatchObject({ code: 125, err: 'banger: VM devbox has no workspace\n  hint: banger vm workspace prepare devbox <path> puts one in\n' });
    expect(await banger('vm', 'exec', '--auto-prepare', '--all', '--', 'make')).toMatchObject({ code: 2 });
  });
  test('Ctrl-C cancels it, exits 130 and runs nothing', async () => {
    has(workspace(moved));
    daemon.options = { ...daemon.options, methods: { ...daemon.options.methods, 'vm.workspace.prepare': async ({ cancelled }) => {
      await cancelled;
      throw new FakeError('cancelled', 'Operation was cancelled');
    } } };
    const cli = startCli(['vm', 'exec', '--auto-prepare', 'devbox', '--', 'make'], { env: daemon.env });
    await until('the prepare', () => daemon.called('vm.workspace.prepare').length === 1);
    cli.child.kill('SIGINT');
    expect(await cli.result).toMatchObject({ code: 130, err: '' });
    expect(daemon.called('vm.exec')).toEqual([]);
  });
});
