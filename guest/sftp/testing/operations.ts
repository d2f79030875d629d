// Random requests on the trees of fixture.ts. What they name mostly exists; nothing outside of the tree is changed.
import { LONG_NAME, ODD_NAME } from './fixture.ts';
import { OPEN, TYPE, attributes, body, text, u32, u64 } from './client.ts';
import type { Attributes } from './client.ts';
import type { Random } from './random.ts';

export interface Operation {
  /** The request's name in the draft or of the extension. */
  readonly kind: string;
  /** The packet; absolute paths differ between the trees. */
  readonly packet: (root: string, id: number) => Buffer;
  readonly handle?: number;
}

/** What is open; both servers give the same numbers. */
export interface OpenHandles { readonly files: number[]; readonly directories: number[] }

type Path = (root: string) => Buffer;
type Field = (root: string) => Buffer;
type Make = (random: Random, open: OpenHandles) => Omit<Operation, 'kind'>;

const DAY = 86_400;
const NAMES = ['f0', 'f1', 'f2', 'f3', 'f4', 'f5', 'd0', 'd1', 'd2', 'l0', 'l1', 'l2', 'l3', 'loop', 'new', 'new2', 'sp ace', '~'];
const ODD_PATHS = [
  '', 'missing/x', 'f0/x', './f0', 'd0//f1', 'd0/../f0', 'd0/./f2/', 'f1/', 'd0/', 'l1/', 'l2/', LONG_NAME, `${LONG_NAME}x`, 'p/'.repeat(2500), 'readonly/f0',
  'readonly/new', 'secret/f0', 'special/4755', 'special/000', `${'d0/../'.repeat(40)}f1`,
];
/** For requests that change nothing; nothing that other processes change. */
const OUTSIDE = ['.', '..', '../..', '/etc/passwd', '//etc/./passwd', 'big', 'secret', 'readonly', 'special', 'special/fifo', 'chain/c5', 'chain/c40', 'd0/../..'];
const MODES = [0o644, 0o600, 0o755, 0o777, 0o700, 0o750, 0o4755, 0o2755, 0o1777, 0o107644, 0xffffffff, 0];
const SIZES = [0n, 1n, 100n, 4096n, 70_000n, 5_000_000n, 1n << 63n, -1n];
const OFFSETS = [0n, 0n, 1n, 9n, 4095n, 32_768n, 100_000n, 3_000_000n, 20_000_000n, 1n << 63n, -1n];
/** Past what some file systems can have; read from and written no bytes to, never more. */
const FAR_OFFSETS = [1n << 45n, 1n << 62n];

function insidePath(random: Random): Path {
  const n = random.below(100);
  const name = (): string => random.pick(NAMES);
  const fixed = (path: string | Buffer): Path => () => Buffer.from(path as string);
  if (n < 50) return fixed(name());
  if (n < 78) return fixed(`d${random.below(3)}/${name()}`);
  if (n < 84) return fixed(`d0/d1/${name()}`);
  if (n < 88) return fixed(random.pick([ODD_NAME, Buffer.concat([Buffer.from('d1/'), ODD_NAME])]));
  if (n < 92) {
    const below = name();
    return (root) => Buffer.from(`${root}/${below}`);
  }
  return fixed(random.pick(ODD_PATHS));
}

const anyPath = (random: Random): Path => {
  const outside = random.pick(OUTSIDE);
  return random.chance(0.2) ? () => Buffer.from(outside) : insidePath(random);
};

function randomAttributes(random: Random, likely = 0.4): Attributes {
  const now = Math.floor(Date.now() / 1000);
  const uids = [process.getuid?.() ?? 0, 0, 4242, 65534, 0xffffffff];
  const times = [0, 1, 1_000_000_000, now - 100 * DAY, now - 200 * DAY, now + 30 * DAY, 2 ** 31, 2 ** 32 - 1];
  return {
    ...(random.chance(likely) && { size: random.pick(SIZES) }),
    ...(random.chance(likely) && { mode: random.pick(MODES) }),
    ...(random.chance(likely) && { times: [random.pick(times), random.pick(times)] as const }),
    ...(random.chance(likely / 2) && { owner: [random.pick(uids), random.pick(uids)] as const }),
    ...(random.chance(0.1) && { extended: [['name@example', 'data\0'], ['', '']] as const }),
  };
}

/** An open one of the kind mostly; else of the other kind, or one that is not open, or something that cannot be a handle. */
function handleField(random: Random, ours: readonly number[], others: readonly number[]): { readonly field: Buffer; readonly handle?: number } {
  const pool = ours.length > 0 && random.chance(0.93) ? ours : others;
  if (pool.length > 0 && random.chance(0.95)) {
    const handle = random.pick(pool);
    return { field: text(u32(handle)), handle };
  }
  return { field: text(random.pick([u32(999), u32(0xffffffff), Buffer.from(''), Buffer.from('abc'), Buffer.alloc(300), Buffer.from('12345')])) };
}

const fileField = (random: Random, open: OpenHandles): ReturnType<typeof handleField> => handleField(random, open.files, open.directories);

function request(type: number, ...fields: readonly (Buffer | Field)[]): Pick<Operation, 'packet'> {
  return { packet: (root, id) => body(type, id, ...fields.map((field) => (typeof field === 'function' ? field(root) : field))) };
}

const extension = (name: string, ...fields: readonly (Buffer | Field)[]): Pick<Operation, 'packet'> => request(TYPE.extended, text(name), ...fields);
const path = (chosen: Path): Field => (root) => text(chosen(root));
const onPath = (type: number, choose = insidePath): Make => (random) => request(type, path(choose(random)));
const onTwo = (...start: readonly [number] | readonly [number, string]): Make => (random) => {
  const [type, name] = start;
  return request(type, ...(name === undefined ? [] : [text(name)]), path(insidePath(random)), path(insidePath(random)));
};

function makeOpen(random: Random): Pick<Operation, 'packet'> {
  const common = [OPEN.read, OPEN.read | OPEN.write, OPEN.write | OPEN.create | OPEN.truncate, OPEN.read | OPEN.write | OPEN.create, OPEN.write | OPEN.append | OPEN.create];
  const flags = random.chance(0.7) ? random.pick(common) : random.below(64);
  return request(TYPE.open, path(insidePath(random)), u32(flags), attributes(randomAttributes(random, 0.2)));
}

function makeWrite(random: Random, open: OpenHandles): Omit<Operation, 'kind'> {
  const { field, handle } = fileField(random, open);
  const isFar = random.chance(0.03);
  const length = isFar || random.chance(0.05) ? 0 : random.chance(0.05) ? 200_000 : random.below(5000);
  const written = random.bytes(length);
  return { ...request(TYPE.write, field, u64(random.pick(isFar ? FAR_OFFSETS : OFFSETS)), text(written)), ...(handle !== undefined && { handle }) };
}

function makeSymlink(random: Random): Pick<Operation, 'packet'> {
  const targets = [...NAMES, '../f1', '../d0', 'd0/f1', ODD_NAME, '', 'x'.repeat(5000)];
  const target = Buffer.from(random.pick(targets) as string);
  return request(TYPE.symlink, text(target), path(insidePath(random)));
}

function makeCopy(random: Random, open: OpenHandles): Omit<Operation, 'kind'> {
  const from = fileField(random, open);
  const to = fileField(random, open);
  // Never until the end: two handles may be one file, which would never end.
  const length = BigInt(random.pick([1, 10, 65_536, 65_537, 131_072, 200_000]));
  return extension('copy-data', from.field, u64(random.pick(OFFSETS)), u64(length), to.field, u64(random.pick(OFFSETS)));
}

function makeUsersGroups(random: Random): Pick<Operation, 'packet'> {
  const ids = (): Buffer => Buffer.concat(Array.from({ length: random.below(6) }, () => u32(random.pick([0, 1, 2, 33, 1000, 65534, 4_000_000, 0xffffffff]))));
  return extension('users-groups-by-id@openssh.com', text(ids()), text(ids()));
}

const onFile = (make: (field: Buffer, random: Random) => Pick<Operation, 'packet'>): Make => (random, open) => {
  const { field, handle } = fileField(random, open);
  return { ...make(field, random), ...(handle !== undefined && { handle }) };
};
const onDirectory: Make = (random, open) => {
  const { field, handle } = handleField(random, open.directories, open.files);
  return { ...request(TYPE.readdir, field), ...(handle !== undefined && { handle }) };
};
const onAny: Make = (random, open) => {
  const { field, handle } = handleField(random, random.chance(0.6) ? open.files : open.directories, open.directories);
  return { ...request(TYPE.close, field), ...(handle !== undefined && { handle }) };
};
const EXPANDABLE = ['~', '~/', '~/f0', '~//d0', '~root', '~root/', '~root//x', '~daemon/..', '~nobody-at-all', '~nobody-at-all/x', '', 'f0', 'd0/../f1', 'missing/x', 'l3/f1', '/etc', '~/l1/f0'];
const LENGTHS = [0, 1, 100, 4096, 32_768, 261_120, 300_000, 0xffffffff];

/** How often, out of the sum, and what. */
const OPERATIONS: Readonly<Record<string, readonly [weight: number, make: Make]>> = {
  open: [60, makeOpen],
  close: [45, onAny],
  read: [70, onFile((field, random) => request(TYPE.read, field, u64(random.pick([...OFFSETS, ...FAR_OFFSETS])), u32(random.pick(LENGTHS))))],
  write: [70, makeWrite],
  lstat: [40, onPath(TYPE.lstat, anyPath)],
  fstat: [25, onFile((field) => request(TYPE.fstat, field))],
  setstat: [50, (random) => request(TYPE.setstat, path(insidePath(random)), attributes(randomAttributes(random)))],
  fsetstat: [40, onFile((field, random) => request(TYPE.fsetstat, field, attributes(randomAttributes(random))))],
  opendir: [25, onPath(TYPE.opendir, anyPath)],
  readdir: [50, onDirectory],
  remove: [30, onPath(TYPE.remove)],
  mkdir: [35, (random) => request(TYPE.mkdir, path(insidePath(random)), attributes(randomAttributes(random, 0.3)))],
  rmdir: [20, onPath(TYPE.rmdir)],
  realpath: [40, onPath(TYPE.realpath, anyPath)],
  stat: [40, onPath(TYPE.stat, anyPath)],
  rename: [40, onTwo(TYPE.rename)],
  readlink: [30, onPath(TYPE.readlink)],
  symlink: [30, makeSymlink],
  'posix-rename@openssh.com': [20, onTwo(TYPE.extended, 'posix-rename@openssh.com')],
  'hardlink@openssh.com': [30, onTwo(TYPE.extended, 'hardlink@openssh.com')],
  'statvfs@openssh.com': [20, (random) => extension('statvfs@openssh.com', path(anyPath(random)))],
  'fstatvfs@openssh.com': [20, onFile((field) => extension('fstatvfs@openssh.com', field))],
  'fsync@openssh.com': [20, onFile((field) => extension('fsync@openssh.com', field))],
  'lsetstat@openssh.com': [35, (random) => extension('lsetstat@openssh.com', path(insidePath(random)), attributes(randomAttributes(random, 0.25)))],
  'limits@openssh.com': [5, () => extension('limits@openssh.com')],
  'expand-path@openssh.com': [30, (random) => extension('expand-path@openssh.com', text(random.pick(EXPANDABLE)))],
  'copy-data': [30, makeCopy],
  'home-directory': [10, (random) => extension('home-directory', text(random.pick(['nobody-at-all', ''])))],
  'users-groups-by-id@openssh.com': [20, makeUsersGroups],
  unknown: [5, (random) => extension(random.pick(['unknown@example', '', 'statvfs@openssh.com2']), random.bytes(20))],
};
export const KINDS = Object.keys(OPERATIONS);
const TOTAL = Object.values(OPERATIONS).reduce((sum, [weight]) => sum + weight, 0);
const HANDLES_WANTED = 12;

export function randomOperation(random: Random, open: OpenHandles): Operation {
  const tooMany = open.files.length + open.directories.length > HANDLES_WANTED;
  let at = random.below(TOTAL);
  for (const [kind, [weight, make]] of Object.entries(OPERATIONS)) {
    at -= weight;
    if (at >= 0) continue;
    const chosen = tooMany && (kind === 'open' || kind === 'opendir') ? 'close' : kind;
    return { kind: chosen, ...(chosen === kind ? make : onAny)(random, open) };
  }
  throw new Error('the weights do not add up');
}
