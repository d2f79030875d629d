// kill -9 of the VMM, the daemon and the command line, each in the midst of a prepare and of a pull: the host's repository is as it was, nothing
// is left over, and the same command works afterwards.
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host, type RunResult } from '../support/host.ts';
import { isLive } from '../support/processes.ts';
import { git, untouchedState } from '../support/repo-snapshot.ts';
import { waitFor } from '../support/wait.ts';
import { collecting, importing, operationEnd, preparing, pulls, quarantines, stagings, type Midst } from '../support/workspace-midst.ts';

let host: Host;
let vmId: string;
/** What goes in, and what work comes back to. */
let large: string;
let small: string;
let count = 0;
let midst: Midst | undefined;
const sizeMiB = 16;
const work = ['--guest-path', '/root/work'];

function makeRepo(name: string, write: (dir: string) => void): string {
  const dir = join(host.dir, name);
  mkdirSync(dir);
  git(dir, 'init', '-q', '-b', 'main');
  for (const [key, value] of [['name', 'Ann'], ['email', 'ann@localhost']]) git(dir, 'config', `user.${key}`, value!);
  write(dir);
  git(dir, 'add', '.');
  git(dir, 'commit', '-qm', 'first');
  appendFileSync(join(dir, 'dirty'), 'edited\n');
  return dir;
}

beforeAll(async () => {
  host = await makeHost();
  large = makeRepo('large', (dir) => {
    writeFileSync(join(dir, 'dirty'), '\n');
    // Quickly packed and checked, but all of it has to be sent.
    for (let n = 0; n < sizeMiB; n += 1) {
      writeFileSync(join(dir, `large${n}`), `line of file ${n}\n`.repeat(65_536).slice(0, 1_048_576));
      for (let part = 0; part < 10; part += 1) writeFileSync(join(dir, `small${n}-${part}`), `${part}\n`.repeat(500));
    }
  });
  small = makeRepo('small', (dir) => { for (const name of ['dirty', 'file']) writeFileSync(join(dir, name), '\n'); });
  await host.ok(['vm', 'run', '-d', '--name', 'box']);
  vmId = (await host.vm('box')).id;
  await host.ok(['vm', 'workspace', 'prepare', 'box', small, ...work]);
  await inGuest('cd work && head -c 2000000 /dev/urandom > new && git add new && git commit -qm new && echo more > file && echo untracked > untracked && sync');
});
afterEach(() => {
  midst?.resume();
  midst = undefined;
});
afterAll(async () => {
  await host.dispose();
});

const inGuest = async (script: string): Promise<string> => (await host.ok(['vm', 'exec', 'box', '--guest-path', '/root', '--', 'sh', '-c', script])).out;

async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await waitFor('the process to be gone', () => !isLive(pid));
}
/** As each fault must leave it: the host's repository as it was, nobody's leftovers, and refs of a pull all there or none. */
async function expectSound(repo: string, before: readonly string[]): Promise<void> {
  expect(untouchedState(repo)).toEqual(before);
  expect(git(repo, 'fsck', '--full', '--strict', '--no-dangling')).toBe('');
  await waitFor('the leftovers to go', () => quarantines(repo).length + stagings(host, vmId).length === 0);
  for (const kinds of pulls(repo).values()) expect(kinds).toEqual(['base', 'head', 'index', 'worktree']);
}
/** What a person sees whose command could not be done. */
function expectFailure(result: RunResult, said: string): void {
  expect([result.code, result.signal, result.out], result.err).toEqual([1, null, '']);
  expect(result.err).toContain(said);
}

type Victim = 'VMM' | 'daemon' | 'command line';
/** Kills it. @returns how the operation ended */
const hits: Readonly<Record<Victim, (at: Midst) => Promise<string>>> = {
  async VMM(at) {
    await kill(at.vmm);
    expectFailure(await at.ended, 'banger: lost contact with guest agent of box');
    const { state } = await operationEnd(host, at.operation);
    await host.ok(['vm', 'start', 'box']);
    return state;
  },
  async daemon(at) {
    await kill(at.daemon);
    at.resume();
    expectFailure(await at.ended, 'banger: The daemon closed the connection');
    await host.startDaemon();
    return (await operationEnd(host, at.operation)).state;
  },
  async 'command line'(at) {
    at.cli.kill('SIGKILL');
    expect(await at.ended).toMatchObject({ signal: 'SIGKILL', out: '' });
    at.resume();
    return (await operationEnd(host, at.operation)).state;
  },
};
/** What writes goes on without the one who asked for it. */
const stateAfter = { VMM: 'failed', daemon: 'failed', 'command line': 'done' } as const;

test.each(['VMM', 'daemon', 'command line'] as const)('kill -9 of the %s during a prepare', async (victim) => {
  count += 1;
  const args = ['--guest-path', `/root/prepared${count}`];
  const before = untouchedState(large);
  midst = await preparing(host, { vm: 'box', repo: large, args, sentMiB: sizeMiB / 4 });
  expect(await hits[victim](midst)).toBe(stateAfter[victim]);
  await expectSound(large, before);
  await host.ok(['vm', 'workspace', 'prepare', 'box', large, ...args]);
  expect(await inGuest(`cd prepared${count} && git status --porcelain && git fsck --no-dangling 2>&1 && git ls-files | wc -l; ls -A /root | grep -c banger-copy; true`)).toBe(` M dirty\n${sizeMiB * 11 + 1}\n0\n`);
  await expectSound(large, before);
});

const moments = { collecting, importing };
test.each([['VMM', 'collecting'], ['daemon', 'importing'], ['command line', 'importing']] as const)('kill -9 of the %s during a pull, at %s', async (victim, when) => {
  const [before, known] = [untouchedState(small), new Set(pulls(small).keys())];
  midst = await moments[when](host, { vm: 'box', repo: small, args: work });
  const { operation } = midst;
  expect(await hits[victim](midst)).toBe(stateAfter[victim]);
  await expectSound(small, before);
  expect([...pulls(small).keys()].filter((id) => !known.has(id))).toEqual(stateAfter[victim] === 'done' ? [operation] : []);
  const { refs } = JSON.parse((await host.ok(['vm', 'workspace', 'pull', 'box', '--json', ...work])).out) as { refs: Record<string, string> };
  expect(git(small, 'diff', '--name-only', refs['base']!, refs['worktree']!)).toBe('file\nnew\nuntracked');
  await expectSound(small, before);
});

test('an interrupted command line ends its prepare, and its pull also while the guest stands still', async () => {
  for (const [verb, repo] of [['prepare', large], ['pull', small]] as const) {
    const [before, known] = [untouchedState(repo), pulls(repo)];
    midst = verb === 'pull' ? await collecting(host, { vm: 'box', repo, args: work })
      : await preparing(host, { vm: 'box', repo, args: ['--guest-path', '/root/interrupted'], sentMiB: 1 });
    midst.cli.kill('SIGINT');
    // A guest that stands still is given its time to take leave of a prepare.
    if (verb === 'prepare') midst.resume();
    expect(await midst.ended).toMatchObject({ code: 130, out: '' });
    expect(await operationEnd(host, midst.operation)).toMatchObject({ state: 'cancelled' });
    midst.resume();
    expect(pulls(repo)).toEqual(known);
    await expectSound(repo, before);
  }
});
