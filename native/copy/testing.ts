// What the tests of `copy` share: running it, trees by seed, what a tree is made of, tar streams by hand.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, closeSync, copyFileSync, lchownSync, linkSync, lstatSync, lutimesSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, readlinkSync, symlinkSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { removeTree } from '../../core/paths.ts';

const root = new URL('../..', import.meta.url).pathname;
export const isRoot = process.getuid?.() === 0;
/** Somebody who is not root and owns nothing. */
export const nobody = 65534;

export interface Programs { readonly plain: string; readonly asan: string }

/** Builds both programs and copies them to where every user may run them. */
export async function programs(dir: string): Promise<Programs> {
  const build = join(root, 'scripts/build-native.sh');
  await promisify(execFile)('sh', [build], { cwd: root });
  await promisify(execFile)('sh', [build, '--asan'], { cwd: root });
  const found = { plain: join(dir, 'copy'), asan: join(dir, 'copy-asan') };
  copyFileSync(join(root, 'dist/native/copy'), found.plain);
  copyFileSync(join(root, 'dist/native/copy-asan'), found.asan);
  return found;
}

/** A directory for one test file; `room` makes a new empty one in it, for a test. */
export function temporary(name: string): { readonly dir: string; room(): string; dispose(): Promise<void> } {
  const dir = mkdtempSync(join(tmpdir(), `banger-copy-${name}-`));
  chmodSync(dir, 0o755);
  const dispose = (): Promise<void> => {
    // Trees of the tests have directories that nobody but root may empty.
    if (!isRoot) execFileSync('chmod', ['-R', 'u+rwX', dir]);
    return removeTree(dir, { within: tmpdir() });
  };
  let rooms = 0;
  const room = (): string => {
    const at = join(dir, `room-${rooms++}`);
    mkdirSync(at);
    return at;
  };
  return { dir, room, dispose };
}

export interface RunResult { readonly code: number | null; readonly out: Buffer; readonly err: string }
export interface RunOptions { readonly input?: Buffer; readonly cwd?: string; readonly user?: number }

/** Runs a program to its end. Input goes through a file: unlike a socket, it never breaks. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const as = options.user === undefined ? {} : { uid: options.user, gid: options.user };
    const child = spawn(program, args, { ...(options.cwd === undefined ? {} : { cwd: options.cwd }), ...as, stdio: 'pipe' });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.stdin.on('error', () => undefined); // it may end before it has read everything
    child.stdin.end(options.input ?? '');
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out: Buffer.concat(out), err: Buffer.concat(err).toString() }));
  });
}

/** mulberry32: the same numbers for the same seed. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

export interface TreeOptions {
  readonly seed: number;
  /** Owners, devices, setuid, attributes of root's. */
  readonly asRoot?: boolean;
  /** What v7 and ustar can say: short names, whole seconds, no attributes. */
  readonly simple?: boolean;
  readonly user?: number;
}

const sizes = [0, 1, 511, 512, 513, 4096, 20_000, 70_001, 262_144, 300_001];
const names = ['plain', 'with space', 'ümläut', 'a=b%c', "quote'\"", '-dash', 'new\nline', 'tab\t', '.hidden', 'back\\slash', 'x'.repeat(255), `${'long'.repeat(40)}`];

/** A tree of everything a tree may have, at `dir`, which is made. */
export function makeTree(dir: string, options: TreeOptions): void {
  const next = random(options.seed);
  const maker = new TreeMaker(options, next);
  mkdirSync(dir);
  const directories = [dir];
  for (let i = 0; i < 6; i++) directories.push(maker.directory(directories[next(directories.length)]!, i));
  if (options.simple !== true) directories.push(maker.deep(dir));
  for (let i = 0; i < 40; i++) maker.one(directories[next(directories.length)]!, i);
  maker.finish(directories);
}

class TreeMaker {
  private readonly files: string[] = [];
  private readonly made: string[] = [];
  private readonly options: TreeOptions;
  private readonly next: (below: number) => number;
  constructor(options: TreeOptions, next: (below: number) => number) {
    this.options = options;
    this.next = next;
  }

  private name(i: number): string {
    if (this.options.simple === true) return `n${i}`;
    const name = names[this.next(names.length)]!;
    return `${i}${name}`.slice(0, name.length > 200 ? 255 : undefined);
  }

  directory(parent: string, i: number): string {
    const path = join(parent, `d${this.name(i)}`.slice(0, 255));
    mkdirSync(path);
    return path;
  }

  /** Beyond the 256 bytes of a header's names. */
  deep(parent: string): string {
    let path = parent;
    for (let i = 0; i < 6; i++) {
      mkdirSync((path = join(path, `deep-${i}-${'y'.repeat(60)}`)));
      this.made.unshift(path);
    }
    return path;
  }

  one(parent: string, i: number): void {
    const path = join(parent, this.name(i));
    const kind = this.next(this.options.asRoot === true ? 11 : 10);
    if (kind < 4) this.file(path);
    else if (kind === 4) this.sparse(path);
    else if (kind === 5) symlinkSync(['nowhere', '/etc/passwd', '..', '.', this.options.simple === true ? 'short' : 'z/'.repeat(1500)][this.next(5)]!, path);
    else if (kind === 6 && this.files.length > 0) return linkSync(this.files[this.next(this.files.length)]!, path);
    else if (kind === 7) execFileSync('mkfifo', ['--', path]);
    else if (kind === 10) execFileSync('mknod', ['--', path, this.next(2) ? 'b' : 'c', String(this.next(4000)), String(this.next(100_000))]);
    else mkdirSync(path);
    if (kind === 5) this.files.push(path);
    this.made.push(path);
  }

  private file(path: string): void {
    const bytes = Buffer.alloc(sizes[this.next(sizes.length)]!);
    for (let i = 0; i < bytes.length; i += 7) bytes[i] = this.next(256);
    writeFileSync(path, bytes);
    this.files.push(path);
  }

  private sparse(path: string): void {
    writeFileSync(path, '');
    truncateSync(path, 1_000_000 + this.next(3_000_000));
    const fd = openSync(path, 'r+');
    const pieces = this.next(7);
    for (let i = 0; i < pieces; i++) writeSync(fd, Buffer.alloc(1 + this.next(90_000), 1 + this.next(255)), 0, undefined, this.next(200) * 4096);
    closeSync(fd);
    this.files.push(path);
  }

  /** Owners first (they drop setuid bits), times last. */
  finish(directories: readonly string[]): void {
    const all = [...this.made, ...directories.slice().reverse()];
    for (const path of all) this.dress(path);
    for (const path of all) {
      const seconds = this.options.simple === true ? this.next(2_000_000_000) : this.next(4_000_000_000) - 100_000_000 + this.next(1_000_000_000) / 1e9;
      lutimesSync(path, seconds, seconds);
    }
  }

  private dress(path: string): void {
    const stat = lstatSync(path);
    const directory = stat.isDirectory();
    if (this.options.asRoot === true) lchownSync(path, this.next(4) * 1000, this.next(3) * (this.options.simple === true ? 100 : 1_500_000_000));
    else if (this.options.user !== undefined) lchownSync(path, this.options.user, this.options.user);
    if (stat.isSymbolicLink()) return;
    if (this.options.simple !== true && (stat.isFile() || directory)) this.attributes(path, directory);
    // Not those of somebody who could not read the tree then.
    const least = this.options.asRoot === true ? 0 : directory ? 0o700 : 0o600;
    const special = this.options.asRoot === true ? this.next(8) << 9 : directory ? this.next(2) << 9 : 0;
    if (this.next(3) > 0) chmodSync(path, this.next(0o1000) | least | special);
  }

  private attributes(path: string, directory: boolean): void {
    const set = (name: string, value: string): void => void execFileSync('setfattr', ['-h', '-n', name, '-v', value, '--', path]);
    if (this.next(4) === 0) set('user.one', `0x${'00ff0a3d'.repeat(this.next(300))}`);
    if (this.next(6) === 0) set('user.a=b%3Dc', 'x');
    if (this.options.asRoot !== true) return;
    if (this.next(5) === 0) set('trusted.banger', 'told');
    // rw for user 1000: version 2; user::rwx, user:1000:rw-, group::r--, mask::rw-, other::---
    const acl = '0x0200000001000700ffffffff02000600e803000004000400ffffffff10000600ffffffff20000000ffffffff';
    if (this.next(5) === 0) set(directory ? 'system.posix_acl_default' : 'system.posix_acl_access', acl);
    if (!directory && this.next(6) === 0) set('security.capability', '0x0100000200040000000000000000000000000000');
  }
}

export interface ManifestOptions { readonly owners?: boolean; readonly times?: boolean; readonly attributes?: boolean; readonly holes?: boolean }

/** What the tree is made of, by path. Files of one inode have the same `same`. */
export function manifest(dir: string, options: ManifestOptions = {}): Record<string, Record<string, unknown>> {
  const found: Record<string, Record<string, unknown>> = {};
  const firsts = new Map<bigint, string>();
  const visit = (path: string): void => {
    const stat = lstatSync(join(dir, path), { bigint: true });
    const entry: Record<string, unknown> = { mode: (Number(stat.mode) & (options.owners === false ? 0o171777 : 0o177777)).toString(8) };
    if (options.owners !== false) entry['owner'] = `${stat.uid}:${stat.gid}`;
    if (options.times !== false) entry['mtime'] = stat.mtimeNs;
    if (stat.isFile()) entry['contents'] = createHash('sha256').update(readFileSync(join(dir, path))).digest('hex');
    if (stat.isSymbolicLink()) entry['link'] = readlinkSync(join(dir, path));
    if (stat.isCharacterDevice() || stat.isBlockDevice()) entry['device'] = stat.rdev;
    if (!stat.isDirectory() && stat.nlink > 1n) {
      if (!firsts.has(stat.ino)) firsts.set(stat.ino, path);
      entry['same'] = firsts.get(stat.ino);
    }
    found[path] = entry;
    if (stat.isDirectory()) for (const name of readdirSync(join(dir, path)).sort()) visit(path === '.' ? name : `${path}/${name}`);
  };
  visit('.');
  if (options.attributes !== false) addAttributes(dir, found, options.owners !== false);
  if (options.holes !== false) addHoles(dir, found);
  return found;
}

function addAttributes(dir: string, found: Record<string, Record<string, unknown>>, all: boolean): void {
  const pattern = all ? '-' : '^user\\.';
  // Names have their odd bytes as \ooo there. Links have attributes of root's only.
  const paths = Object.keys(found).filter((path) => isRoot || found[path]!['link'] === undefined);
  const text = execFileSync('getfattr', ['-h', '-d', '-m', pattern, '-e', 'hex', '--absolute-names', '--', ...paths.map((path) => join(dir, path))], { maxBuffer: 1 << 26, encoding: 'latin1' });
  for (const block of text.split('\n\n').filter((part) => part.trim() !== '')) {
    const [first, ...lines] = block.trim().split('\n');
    const name = first!.slice('# file: '.length).replace(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
    const path = Buffer.from(name, 'latin1').toString('utf8').slice(dir.length + 1) || '.';
    found[path]!['attributes'] = lines.sort();
  }
}

// SEEK_DATA is 3, SEEK_HOLE 4.
const seeks = 'for my $f (@ARGV) { open(my $h, "<", $f) or die; my ($at, $size) = (0, -s $h); my @e; while ($at < $size) { my $d = sysseek($h, $at, 3); last unless defined $d; $at = sysseek($h, $d, 4); push @e, 0 + $d, 0 + $at } print "@e\\n" }';

function addHoles(dir: string, found: Record<string, Record<string, unknown>>): void {
  const files = Object.keys(found).filter((path) => found[path]!['contents'] !== undefined);
  if (files.length === 0) return;
  const lines = execFileSync('perl', ['-e', seeks, '--', ...files.map((path) => join(dir, path))], { encoding: 'utf8' }).split('\n');
  files.forEach((path, i) => void (found[path]!['data'] = lines[i]));
}

export interface HeaderFields {
  readonly name: string;
  readonly type?: string;
  readonly size?: number | string;
  readonly mode?: number;
  readonly link?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly major?: number;
  readonly minor?: number;
}

const octal = (value: number, width: number): string => value.toString(8).padStart(width - 1, '0');

/** One ustar header. A size that is a string is put as it is (12 bytes, latin1). */
export function header(fields: HeaderFields): Buffer {
  const block = Buffer.alloc(512);
  block.write(fields.name, 0, 100, 'latin1');
  block.write(octal(fields.mode ?? 0o644, 8), 100);
  block.write(octal(fields.uid ?? 0, 8), 108);
  block.write(octal(fields.gid ?? 0, 8), 116);
  block.write(typeof fields.size === 'string' ? fields.size : octal(fields.size ?? 0, 12), 124, 12, 'latin1');
  block.write(octal(fields.mtime ?? 1_000_000_000, 12), 136);
  block.write(fields.type ?? '0', 156);
  block.write(fields.link ?? '', 157, 100, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  block.write(octal(fields.major ?? 0, 8), 329);
  block.write(octal(fields.minor ?? 0, 8), 337);
  return seal(block);
}

/** Puts the right checksum into a header. */
export function seal(block: Buffer): Buffer {
  block.fill(' ', 148, 156);
  let sum = 0;
  for (const byte of block.subarray(0, 512)) sum += byte;
  block.write(`${octal(sum, 7)}\0 `, 148);
  return block;
}

const padded = (data: Buffer): Buffer => Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
export const file = (name: string, text = 'text', more: Partial<HeaderFields> = {}): Buffer =>
  Buffer.concat([header({ ...more, name, size: text.length }), padded(Buffer.from(text, 'latin1'))]);
export const directory = (name: string, mode = 0o755): Buffer => header({ name: `${name}/`, type: '5', mode });
export const symlink = (name: string, link: string): Buffer => header({ name, type: '2', link });
export const hard = (name: string, link: string): Buffer => header({ name, type: '1', link });
export const end = Buffer.alloc(1024);

/** A pax header with those records, before the entry it is about. */
export function pax(records: Readonly<Record<string, string>>, type = 'x'): Buffer {
  const parts = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.byteLength(` ${key}=${value}\n`, 'latin1');
    let length = rest + 1;
    while (String(length).length + rest !== length) length++;
    return Buffer.from(`${length} ${key}=${value}\n`, 'latin1');
  });
  const text = Buffer.concat(parts);
  return Buffer.concat([header({ name: 'PaxHeaders/x', type, size: text.length }), padded(text)]);
}

/** GNU's header for a name over 100 bytes. */
export const longName = (name: string, type = 'L'): Buffer => file('././@LongLink', `${name}\0`, { type });

export const giveTo = (path: string, user: number): void => chownSync(path, user, user);
