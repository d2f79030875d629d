// The wrappers over the real agent and its real session; and over a guest that says what no agent would.
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { GuestAgent, GuestExecRequest, GuestExit, GuestProcess, Vm } from '../../../core/plugin-api.ts';
import { openExec } from '../../agent/exec-stream.ts';
import { buildTestAgent, childCount, openTestSession, startTestAgent } from '../../agent/test-agent.ts';
import type { TestAgent, TestSession } from '../../agent/test-agent.ts';
import { waitFor } from '../../../test/support/wait.ts';
import { checkTree, clearPaths, linkPath, makeDirs, removeFiles, wipeTree } from './tree.ts';
import type { Expected, TreeTarget } from './tree.ts';

const vm = { id: 'aaaaaaaaaaaa', name: 'devbox' } as Vm;
const idle = new AbortController().signal;
const nothing = { mode: 0, size: 0, mtimeNs: 0n };

let agent: TestAgent;
let host: TestSession;
let target: TreeTarget;
let root: string;
beforeAll(async () => { agent = await startTestAgent((await buildTestAgent()).path); }, 120_000);
afterAll(async () => {
  await agent.stop();
  if (/Sanitizer|runtime error/.test(agent.stderr())) throw new Error(agent.stderr());
});
beforeEach(async () => {
  host = await openTestSession(agent.socketPath);
  await host.ready();
  target = { vm, signal: idle, agent: { exec: (_vm, request, signal) => openExec(host.session, request, { subject: 'devbox', signal }) } };
  root = mkdtempSync(join(tmpdir(), 'banger-guest-tree-'));
});
afterEach(async () => {
  host.session.close();
  await waitFor('the agent to be alone', async () => await childCount(agent) === 0);
  rmSync(root, { recursive: true, force: true });
});

const bytesOf = (path: string): Buffer => Buffer.from(join(root, path), 'latin1');
function put(path: string, text = 'text'): Expected {
  mkdirSync(bytesOf(join(path, '..')), { recursive: true });
  writeFileSync(bytesOf(path), text);
  return expected(path);
}
function expected(path: string): Expected {
  const { mode, size, mtimeNs } = lstatSync(bytesOf(path), { bigint: true });
  const kind = (Number(mode) & 0o170000) === 0o120000 ? 'link' : (Number(mode) & 0o170000) === 0o040000 ? 'dir' : 'file';
  return { path, kind, mode: Number(mode), size: Number(size), mtimeNs };
}

describe('checkTree', () => {
  it('tells what is not as expected, with what is there', async () => {
    const [one, odd] = [put('a/one'), put('odd \n\u00ff')];
    symlinkSync('one', join(root, 'a/link'));
    writeFileSync(join(root, 'old'), '');
    utimesSync(join(root, 'old'), new Date(-1500), new Date(-1500));
    const old = expected('old');
    const good = [one, odd, old, expected('a/link'), expected('a'), { path: 'no', kind: 'none', ...nothing } as const];
    expect(await checkTree(target, root, good)).toEqual([]);
    expect(old.mtimeNs).toBe(-1_500_000_000n);
    const actual = ({ mode, ...rest }: Expected) => ({ ...rest, mode: mode & 0o7777 });
    expect(await checkTree(target, root, [{ ...old, size: 1 }, one, { ...one, path: 'gone' }, { path: odd.path, kind: 'none', ...nothing }, { path: 'a/link/x', kind: 'file', ...nothing }])).toEqual([
      actual(old), { path: 'gone', kind: 'none', ...nothing }, actual(odd), { path: 'a/link/x', kind: 'other', ...nothing },
    ]);
    expect(await checkTree(target, join(root, 'no'), [one])).toEqual([{ path: 'a/one', kind: 'none', ...nothing }]);
    expect(await checkTree(target, root, [])).toEqual([]);
  });

  it('asks for and hears of more than is on the way at once', async () => {
    const many = Array.from({ length: 30_000 }, (_, i): Expected => ({ path: `d${i % 10}/${i}${'x'.repeat(60)}`, kind: 'file', mode: 0o644, size: 1, mtimeNs: 1n }));
    const answers = await checkTree(target, root, many);
    expect([answers.length, answers.at(-1)]).toEqual([30_000, { path: many.at(-1)!.path, kind: 'none', ...nothing }]);
  });

  it('counts what is in a directory', async () => {
    for (const path of ['d/one', 'd/e/two', 'd/e/three']) put(path);
    const holds = (path: string, size: number) => checkTree(target, root, [{ ...nothing, path, kind: 'leaves', size }]);
    expect([await holds('d', 3), await holds('d/e', 2)]).toEqual([[], []]);
    expect((await holds('d', 4)).map(({ kind, size }) => [kind, size])).toEqual([['dir', 3]]);
    expect((await holds('d', 1))[0]!.size).toBeGreaterThan(1);
    expect([(await holds('d/one', 4))[0]?.kind, (await holds('no', 0))[0]?.kind]).toEqual(['file', 'none']);
  });

  it('fails with what the agent says', async () => {
    await expect(checkTree(target, root, [{ path: '../a', kind: 'none', ...nothing }])).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringContaining('no record') as string });
    await expect(checkTree(target, root, [{ path: 'a\0b', kind: 'none', ...nothing }])).rejects.toMatchObject({ code: 'operation_failed' });
  });
});

describe('the others', () => {
  it('remove files and what is empty then', async () => {
    for (const path of ['a/b/one', 'a/two', 'keep']) put(path);
    await removeFiles(target, root, ['a/b/one', 'a/two', 'missing']);
    await removeFiles(target, root, []);
    expect([existsSync(join(root, 'a')), existsSync(join(root, 'keep'))]).toEqual([false, true]);
    put('dir/x');
    await expect(removeFiles(target, root, ['dir'])).rejects.toMatchObject({ code: 'operation_failed', message: `The guest of devbox failed at ${root}: cannot remove dir: Is a directory` });
  });

  it('clear paths of any name, with all that is in them', async () => {
    for (const path of ['deep/keep', 'deep/gone/x', 'file']) put(path);
    mkdirSync(bytesOf('th\u00efng/a'), { recursive: true });
    put('th\u00efng/a/b');
    await clearPaths(target, root, ['th\u00efng', 'deep/gone', 'file', 'missing/one']);
    await clearPaths(target, root, []);
    expect(readdirSync(root, { recursive: true, encoding: 'latin1' }).toSorted()).toEqual(['deep', 'deep/keep']);
    await expect(clearPaths(target, root, ['../x'])).rejects.toMatchObject({ code: 'operation_failed' });
  });

  it('wipe a tree, make directories and links', async () => {
    await makeDirs(target, join(root, 'x/y'));
    put('x/y/file');
    expect(await linkPath(target, join(root, 'repo'), join(root, 'x'))).toBe('linked');
    expect(await linkPath(target, join(root, 'repo'), join(root, 'x/y'))).toBe('linked');
    expect(readlinkSync(join(root, 'repo'))).toBe(join(root, 'x/y'));
    expect(await linkPath(target, join(root, 'x'), '/else')).toBe('taken');
    await wipeTree(target, join(root, 'x'));
    await wipeTree(target, join(root, 'x'));
    expect(existsSync(join(root, 'x'))).toBe(false);
    await expect(wipeTree(target, '/')).rejects.toMatchObject({ code: 'operation_failed' });
    await expect(makeDirs(target, join(root, 'repo'))).rejects.toMatchObject({ code: 'operation_failed' });
  });
});

/** A guest whose end of the agent is the test. */
class FakeProcess implements GuestProcess {
  readonly stdout = new PassThrough();
  readonly stderr = new PassThrough();
  readonly stdin = new Writable({ write: (_chunk, _encoding, done) => { if (this.takes) done(); } });
  readonly #exit = Promise.withResolvers<GuestExit>();
  readonly exit = this.#exit.promise;
  takes = true;
  hangups = 0;
  resize(): void {}
  signal(): void {}
  hangup(): void { this.hangups += 1; }
  end(exit: GuestExit): void {
    this.stdout.end();
    this.stderr.end();
    this.#exit.resolve(exit);
  }
}

describe('a guest that', () => {
  let fake: FakeProcess;
  let requests: GuestExecRequest[];
  const one: Expected = { path: 'a', kind: 'file', mode: 0, size: 0, mtimeNs: 0n };
  const asked = (more: Partial<TreeTarget> = {}): TreeTarget => {
    const exec: GuestAgent['exec'] = (_vm, request) => {
      requests.push(request);
      return Promise.resolve(fake);
    };
    return { vm, signal: idle, agent: { exec }, ...more };
  };
  beforeEach(() => { [fake, requests] = [new FakeProcess(), []]; });

  it.each(['f 644 0 0.000000000 b\0', 'x\0', 'f 644 0 0.000000000 a\0f 644 0 0.000000000 a\0', 'f 644 99999999999999999999 0.000000000 a\0', '\0'])('answers %j is not believed', async (answer) => {
    const checking = checkTree(asked(), '/root/repo', [one]);
    fake.stdout.write(answer);
    fake.end({ code: 0 });
    await expect(checking).rejects.toMatchObject({ code: 'operation_failed', message: 'The guest of devbox answers something else than it was asked' });
    expect(requests).toEqual([{ command: ['tree', 'check', '/root/repo'], builtin: true, env: {}, stdin: true }]);
  });

  it('answers without end is hung up', async () => {
    const checking = checkTree(asked(), '/root/repo', [one]);
    const more = Buffer.alloc(1 << 20);
    const endless = setInterval(() => { while (fake.stdout.write(more)) continue; }, 1);
    await expect(checking.finally(() => { clearInterval(endless); })).rejects.toMatchObject({ message: expect.stringContaining('answers more than') as string });
    expect(fake.hangups).toBe(1);
  });

  it('says and takes nothing is given up', async () => {
    fake.takes = false;
    await expect(wipeTree(asked({ idleLimitMs: 50 }), '/root/repo')).rejects.toMatchObject({ code: 'timeout' });
    const many = Array.from({ length: 20_000 }, (_, i) => `path/${i}`);
    await expect(removeFiles(asked({ idleLimitMs: 50 }), '/root/repo', many)).rejects.toMatchObject({ code: 'timeout' });
    expect(fake.hangups).toBe(2);
  });

  it('stands still is left when the caller is cancelled', async () => {
    const cancel = new AbortController();
    const wiping = wipeTree(asked({ signal: cancel.signal }), '/root/repo');
    await waitFor('the start', () => requests.length === 1);
    cancel.abort(new Error('cancelled so'));
    await expect(wiping).rejects.toThrow('cancelled so');
    expect(fake.hangups).toBe(1);
  });

  it('ends early or by a signal, or is of an older build, fails', async () => {
    const early = removeFiles(asked(), '/root/repo', Array.from({ length: 20_000 }, (_, i) => `path/${i}`));
    fake.takes = false;
    fake.end({ signal: 'KILL', number: 9 });
    await expect(early).rejects.toMatchObject({ code: 'operation_failed', message: 'The guest of devbox failed at /root/repo: signal KILL' });
    fake = new FakeProcess();
    const older = wipeTree(asked(), '/root/repo');
    fake.stderr.write('usage: agent serve [--config FILE]\n');
    fake.end({ code: 2 });
    await expect(older).rejects.toMatchObject({ message: 'The guest agent of devbox is older than this daemon', hint: expect.stringContaining('restart') as string });
  });
});
