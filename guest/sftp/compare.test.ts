// Our server beside OpenSSH's, on two trees that are the same: the same requests get the same bytes, and leave the same trees.
import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OPEN, STATUS, Server, TYPE, attributes, body, framed, text, u32, u64 } from './testing/client.ts';
import { Comparison } from './testing/compare.ts';
import type { Side } from './testing/compare.ts';
import { ENTRIES_OF_BIG, LINKS_IN_CHAIN, describeTree, makeScratch, makeTree } from './testing/fixture.ts';
import { entriesOf } from './testing/normalise.ts';
import { KINDS, randomOperation } from './testing/operations.ts';
import type { Operation } from './testing/operations.ts';
import { Random } from './testing/random.ts';

const root = new URL('../..', import.meta.url).pathname;
const THEIRS = '/usr/lib/openssh/sftp-server';
const NOBODY = 65534;
const isRoot = process.getuid?.() === 0;
const isLong = process.env['BANGER_TEST_LONG'] === '1';
const KNOWN_SEED = 1;
const seed = Number(process.env['BANGER_TEST_SEED'] ?? (isLong ? Date.now() % 2 ** 32 : KNOWN_SEED));
/** Root is refused little, so the rules for others need another user. */
const users: readonly (readonly [name: string, uid: number | undefined])[] = isRoot ? [['root', undefined], ['nobody', NOBODY]] : [['oneself', undefined]];

const programs = makeScratch();
beforeAll(async () => {
  const build = join(root, 'scripts/build-native.sh');
  await promisify(execFile)('sh', [build, '--asan'], { cwd: root });
  await promisify(execFile)('sh', [build], { cwd: root });
  // Where another user may run them.
  for (const name of ['agent-asan', 'agent']) copyFileSync(join(root, 'dist/native', name), join(programs.dir, name));
}, 240_000);
afterAll(() => programs.remove());

/** Both servers, each in its tree; afterwards they have ended well, and the trees are the same. */
async function besideEachOther(program: string, uid: number | undefined, use: (comparison: Comparison) => Promise<void>): Promise<Comparison> {
  const scratch = makeScratch();
  try {
    for (const tree of scratch.trees) makeTree(tree, uid);
    const options = {
      limits: 'umask 027; ulimit -n 64',
      env: { TZ: 'EST5EDT,M3.2.0,M11.1.0', LC_ALL: 'C' },
      ...(uid !== undefined && { uid }),
    };
    const since = Math.floor(Date.now() / 1000) - 2;
    const [ours, theirs] = ([[join(programs.dir, program), 'sftp'], [THEIRS]] as const).map((command, n): Side => {
      const tree = scratch.trees[n]!;
      return { server: new Server(command, { cwd: tree, ...options }), world: { root: tree, base: join(tree, '../../../..'), since } };
    }) as [Side, Side];
    expect(await ours.server.greet()).toEqual(await theirs.server.greet());
    const comparison = new Comparison(ours, theirs);
    await use(comparison);
    expect(await ours.server.end()).toEqual({ code: 0, signal: null, stderr: '' });
    await theirs.server.end();
    const described = [ours, theirs].map(({ world }) => describeTree(world));
    expect(described[0]).toEqual(described[1]);
    expect(described[0]!.length).toBeGreaterThan(ENTRIES_OF_BIG);
    return comparison;
  } finally {
    scratch.remove();
  }
}

async function compareRandom(comparison: Comparison, count: number, random: Random): Promise<void> {
  while (comparison.compared < count)
    await comparison.run(Array.from({ length: 1 + random.below(6) }, () => randomOperation(random, comparison.open)));
}

const op = (kind: string, type: number, ...fields: readonly Buffer[]): Operation => ({ kind, packet: (_, id) => body(type, id, ...fields) });
const extended = (kind: string, ...fields: readonly Buffer[]): Operation => op(kind, TYPE.extended, text(kind), ...fields);
const openFile = (path: string, flags: number, mode = 0o644): Operation => op('open', TYPE.open, text(path), u32(flags), attributes({ mode }));
const onHandle = (kind: keyof typeof TYPE, handle: number, ...fields: readonly Buffer[]): Operation => ({ ...op(kind, TYPE[kind], text(u32(handle)), ...fields), handle });
const statuses = (replies: readonly Buffer[]): (number | undefined)[] => replies.map((reply) => (reply[0] === TYPE.status ? reply.readUInt32BE(5) : undefined));

describe.each(users)('as %s', (_, uid) => {
  it.each([['agent-asan', 2500], ['agent', 1000]] as const)('answers random requests as OpenSSH does (%s, %i of them)', async (program, count) => {
    const comparison = await besideEachOther(program, uid, async (both) => {
      await compareRandom(both, count, new Random(seed)).catch((error: unknown) => {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      });
    });
    if (count < 2000 || seed !== KNOWN_SEED) return;
    // Everything was asked for, granted and refused.
    const tallies = KINDS.map((kind) => [kind, comparison.tallies.get(kind) ?? { done: 0, refused: 0 }] as const);
    const always = ['limits@openssh.com', 'users-groups-by-id@openssh.com'];
    const never = ['unknown', 'home-directory'];
    expect(tallies.filter(([kind, { done }]) => done === 0 && !never.includes(kind))).toEqual([]);
    expect(tallies.filter(([kind, { refused }]) => refused === 0 && !always.includes(kind))).toEqual([]);
  });

  it('lists a large directory in the same batches', async () => {
    await besideEachOther('agent-asan', uid, async (both) => {
      const replies = await both.run([op('opendir', TYPE.opendir, text('big')), ...Array.from({ length: 6 }, () => onHandle('readdir', 0))]);
      const counts = replies.slice(1).map((reply) => (reply[0] === TYPE.name ? reply.readUInt32BE(5) : 0));
      expect(counts).toEqual([100, 100, 100, 2, 0, 0]);
      // The directory's name is looked up again for each entry.
      await both.run([
        op('opendir', TYPE.opendir, text('/')), onHandle('close', 1), op('opendir', TYPE.opendir, text('d0')), op('rename', TYPE.rename, text('d0'), text('d9')),
        onHandle('readdir', 1), onHandle('readdir', 1),
      ]);
    });
  });

  it('fails where the system fails', async () => {
    // Another file system, if there is one.
    const elsewhere = ['/dev/shm', '/var/tmp', '/run'].find((dir) => existsSync(dir) && statSync(dir).dev !== statSync(programs.dir).dev) ?? '/proc';
    await besideEachOther('agent-asan', uid, async (both) => {
      const replies = await both.run([
        openFile('/dev/full', OPEN.write), onHandle('write', 0, u64(0n), text('x')), openFile('/dev/full', OPEN.read), onHandle('read', 1, u64(5n), u32(7)),
        op('rename', TYPE.rename, text('f1'), text(`${elsewhere}/banger-sftp-none/f1`)), extended('hardlink@openssh.com', text('f1'), text('/proc/f1')),
        op('rename', TYPE.rename, text('f1'), text('/proc/f1')), op('rename', TYPE.rename, text('f1'), text('/proc/uptime')), op('rename', TYPE.rename, text('d1'), text('/proc/d1')),
        extended('posix-rename@openssh.com', text('f1'), text('/proc/f1')), op('mkdir', TYPE.mkdir, text('/proc/x'), attributes()),
      ]);
      expect(statuses(replies.slice(1, 2))).toEqual([STATUS.failure]);
    });
  });
});

describe('whoever asks', () => {
  const someone = users.at(-1)![1];

  it('follows as many links', async () => {
    await besideEachOther('agent-asan', someone, async (both) => {
      const chain = Array.from({ length: LINKS_IN_CHAIN + 1 }, (__, n) => [`chain/c${n}`, `chain/c${n}/`, `chain/c${n}/x`]).flat();
      const deep = [`${'d0/'.repeat(1400)}x`, `/${'x/'.repeat(2046)}y`, `/${'x/'.repeat(2047)}y`, 'x'.repeat(4094), 'x'.repeat(4095), 'x'.repeat(4096), `/${'x'.repeat(4095)}`];
      const replies = await both.run([...chain, ...deep].flatMap((path) => [op('realpath', TYPE.realpath, text(path)), op('stat', TYPE.stat, text(path)), extended('expand-path@openssh.com', text(path))]));
      expect(statuses(replies.slice(-6))).toContain(STATUS.badMessage);
    });
  });

  it('runs out of handles at the same number, and gives them again in the same order', async () => {
    await besideEachOther('agent-asan', someone, async (both) => {
      await both.run([op('opendir', TYPE.opendir, text('.')), onHandle('readdir', 0), onHandle('close', 0)]); // both know names by then
      const replies = await both.run(Array.from({ length: 70 }, (__, n) => (n % 3 === 0 ? op('opendir', TYPE.opendir, text('big')) : openFile('f1', OPEN.read))));
      expect(statuses(replies).filter((status) => status === STATUS.failure).length).toBeGreaterThan(0);
      await both.run([7, 3, 11, 3].map((handle) => onHandle('close', handle)));
      await both.run([...Array.from({ length: 4 }, () => openFile('f2', OPEN.read)), extended('limits@openssh.com')]);
      await both.run(Array.from({ length: 64 }, (__, handle) => onHandle('close', handle))); // the leak check at the end opens files
    });
  });

  it('copies between files', async () => {
    await besideEachOther('agent-asan', someone, async (both) => {
      const copy = (...[from, fromOffset, length, to, toOffset]: [number, bigint, bigint, number, bigint]): Operation =>
        extended('copy-data', text(u32(from)), u64(fromOffset), u64(length), text(u32(to)), u64(toOffset));
      await both.run([
        openFile('f4', OPEN.read), openFile('copy', OPEN.read | OPEN.write | OPEN.create), openFile('appended', OPEN.write | OPEN.append | OPEN.create), openFile('d0', OPEN.read),
        copy(0, 0n, 0n, 1, 0n), copy(0, 299_990n, 0n, 1, 1_000_000n), copy(0, 5n, 65_536n, 2, 77n), copy(0, 200_000n, 0n, 2, 0n),
        // To the end and past it: what OpenSSH says depends on where its steps end.
        ...[1n, 99_999n, 100_000n, 100_001n, 165_535n, 165_536n, 165_537n, 300_000n].map((length) => copy(0, 200_000n, length, 1, 5n)),
        copy(0, 300_000n, 1n, 1, 0n), copy(0, 400_000n, 70_000n, 1, 0n), copy(0, -1n, 0n, 1, 0n), copy(0, 0n, 1n, 1, -1n), copy(0, 0n, 0n, 0, 0n), copy(0, 0n, 10n, 9, 0n),
        openFile('f4', OPEN.read), copy(0, 0n, 10n, 4, 0n), openFile('./f4', OPEN.read | OPEN.write), copy(0, 0n, 10n, 5, 290_000n), copy(2, 0n, 70_000n, 1, 0n),
      ]);
    });
  });

  it('speaks without messages to a client of version 2, and takes a NUL at the end of a name', async () => {
    await besideEachOther('agent-asan', someone, async (both) => {
      await both.run([{ kind: 'init', packet: () => Buffer.from([TYPE.init, 0, 0, 0, 2, 1, 2, 3]) }, op('stat', TYPE.stat, text('missing')), op('stat', TYPE.stat, text('f1\0')), op('mkdir', TYPE.mkdir, text('\0'), attributes())]);
    });
  });
});

it('keeps to its own answers where OpenSSH errs', async () => {
  const scratch = makeScratch();
  mkdirSync(join(scratch.trees[0], 'd'));
  const server = new Server([join(programs.dir, 'agent-asan'), 'sftp'], { cwd: scratch.trees[0] });
  await server.greet();
  const ask = async (...packets: readonly Buffer[]): Promise<Buffer[]> => server.ask(packets);
  // A copy that could not be written has failed, and a file is not copied onto its own end for ever.
  const copies = await ask(
    body(TYPE.open, 1, text('a'), u32(OPEN.read | OPEN.write | OPEN.create), attributes()), body(TYPE.write, 2, text(u32(0)), u64(0n), text('abc')),
    body(TYPE.open, 3, text('/dev/full'), u32(OPEN.write), attributes()), body(TYPE.extended, 4, text('copy-data'), text(u32(0)), u64(0n), u64(3n), text(u32(1)), u64(0n)),
    body(TYPE.open, 5, text('./a'), u32(OPEN.write), attributes()), body(TYPE.extended, 6, text('copy-data'), text(u32(0)), u64(0n), u64(0n), text(u32(2)), u64(3n)),
  );
  expect(statuses(copies)).toEqual([undefined, STATUS.ok, undefined, STATUS.failure, undefined, STATUS.failure]);
  // No answer to what it does not know, as with OpenSSH, which then also leaves the next request waiting.
  for (const type of [0, TYPE.version, 21, 99, 255]) server.write(framed(body(type, 8, text('d'))));
  // The home of who is named; OpenSSH 9.2 gives the asking user's.
  const [home] = await ask(body(TYPE.extended, 7, text('home-directory'), text('root')));
  expect(home).toEqual(body(TYPE.name, 7, u32(1), text('/root'), text('/root'), u32(0)));
  // The one directory whose entries are not behind another slash; others change it, so nothing is compared.
  const [, listed] = await ask(body(TYPE.opendir, 8, text('/')), body(TYPE.readdir, 9, text(u32(3))));
  expect(entriesOf(listed!, { root: '', base: 'none', since: 0 }).some((entry) => entry.subarray(0, 7).equals(text('etc')))).toBe(true);
  expect(await server.end()).toEqual({ code: 0, signal: null, stderr: '' });
  scratch.remove();
});
