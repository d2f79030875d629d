// What a repository holds in git's own words, told by one script on both sides; and what of a repository must not change.
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { gitEnvironment, octal, scriptHead } from './repo-script.ts';

export interface Snapshot {
  /** Commit that HEAD is; empty on an unborn branch. */
  readonly head: string;
  /** Full name of the branch; empty when HEAD is detached. */
  readonly ref: string;
  /** `git write-tree` of the index. */
  readonly index: string;
  /** Tree of the working files, untracked ones included, ignored ones not. */
  readonly worktree: string;
  /** Working files that the index knows: by path, mode and blob. */
  readonly trackedFiles: ReadonlyMap<string, string>;
  /** All working files, ignored ones too. */
  readonly allFiles: ReadonlyMap<string, string>;
  /** Entries of `git status --porcelain=v2 -z` for what the index or HEAD knows. */
  readonly status: readonly string[];
  /** Paths that are not tracked and not ignored. */
  readonly untracked: readonly string[];
}

/**
 * Answers on stdout what `parseSnapshot` reads. Touches neither index nor objects of the repository: those it needs are beside it. Every file is
 * hashed, whatever the index believes of it.
 */
export function snapshotScript(dir: string): string {
  return `${scriptHead}set -e
main() {
inside '${octal(dir)}'
export GIT_OPTIONAL_LOCKS=0
unset GIT_LITERAL_PATHSPECS
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
mkdir "$t/objects"
git ls-files -s -z >"$t/entries"
cat "$t/entries"
printf '\\000'
if [ -f .git/index ]; then cp -p .git/index "$t/index"; fi
git status --porcelain=v2 -z --branch --no-renames --untracked-files=all
printf '\\000'
export GIT_OBJECT_DIRECTORY="$t/objects" GIT_ALTERNATE_OBJECT_DIRECTORIES="$PWD/.git/objects"
GIT_INDEX_FILE=$t/index git write-tree
printf '\\000'
export GIT_INDEX_FILE="$t/fresh"
git update-index -z --index-info <"$t/entries"
git add -A
git write-tree
printf '\\000'
git add -A -f
git ls-files -s -z
}
main </dev/null
`;
}

export function parseSnapshot(output: Buffer): Snapshot {
  const words = output.toString('latin1').split('\0');
  const section = (): string[] => words.splice(0, words.indexOf('') + 1).slice(0, -1);
  const [indexFiles, lines] = [listing(section()), section()];
  const [index, worktree] = words.splice(0, 2).map((word) => word.replace(/\n$/, ''));
  if (index === undefined || worktree === undefined) throw new Error(`no snapshot: ${output.toString()}`);
  const allFiles = listing(words.slice(0, -1));
  const told = (name: string): string => lines.find((line) => line.startsWith(`# ${name} `))?.slice(name.length + 3) ?? '';
  const [head, branch] = [told('branch.oid'), told('branch.head')];
  const entries = (isUntracked: boolean): string[] => lines.filter((line) => !line.startsWith('# ') && line.startsWith('? ') === isUntracked).toSorted();
  return {
    head: head === '(initial)' ? '' : head, ref: branch === '(detached)' ? '' : `refs/heads/${branch}`, index, worktree, allFiles,
    trackedFiles: new Map([...allFiles].filter(([path]) => indexFiles.has(path))),
    status: entries(false), untracked: entries(true).map((line) => line.slice(2)),
  };
}

/** Of `git ls-files -s`: `mode blob stage<tab>path`. */
function listing(entries: readonly string[]): Map<string, string> {
  return new Map(entries.map((entry) => [entry.slice(entry.indexOf('\t') + 1), entry.slice(0, entry.indexOf('\t') - 2)]));
}

/** The script's answer for a repository of the host. */
export function snapshot(dir: string): Promise<Snapshot> {
  return new Promise((resolve, reject) => {
    const child = execFile('sh', ['-s'], { env: gitEnvironment(), encoding: 'buffer', maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) => {
      if (error) reject(new Error(`no snapshot of ${dir}: ${stderr.toString()}`, { cause: error }));
      else resolve(parseSnapshot(stdout));
    });
    child.stdin?.end(snapshotScript(dir), 'latin1');
  });
}

/** Runs git in `dir`. @returns stdout as latin1, without the newline at its end. @throws when it exits with anything but 0 */
export function git(dir: string, ...args: readonly string[]): string {
  return execFileSync('git', ['-C', dir, ...args], { env: gitEnvironment(), encoding: 'latin1', maxBuffer: 64 * 2 ** 20, stdio: ['ignore', 'pipe', 'pipe'] }).replace(/\n$/, '');
}

/**
 * All that must stay as it is while work comes back: every file of the working tree with its mode, time and content, the index as bytes, HEAD, the
 * configuration, and all refs outside of `refs/banger/`. Equal lines, equal state.
 */
export function untouchedState(dir: string): string[] {
  const digest = (path: Buffer): string => createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16);
  const lines: string[] = [];
  const visit = (below: string): void => {
    for (const entry of readdirSync(Buffer.from(join(dir, below), 'latin1'), { encoding: 'buffer' })) {
      const path = below + entry.toString('latin1');
      if (path === '.git') continue;
      const at = Buffer.from(`${dir}/${path}`, 'latin1');
      const stat = lstatSync(at, { bigint: true });
      const content = stat.isSymbolicLink() ? readlinkSync(at, 'latin1') : stat.isFile() ? digest(at) : '';
      lines.push(`${path} ${stat.mode.toString(8)} ${stat.mtimeNs} ${content}`);
      if (stat.isDirectory()) visit(`${path}/`);
    }
  };
  visit('');
  for (const file of ['index', 'HEAD', 'config', 'ORIG_HEAD', 'info/exclude', 'shallow', 'logs/HEAD']) {
    const path = Buffer.from(join(dir, '.git', file));
    lines.push(`.git/${file} ${existsSync(path) ? digest(path) : 'none'}`);
  }
  const refs = git(dir, 'for-each-ref', '--format=%(refname) %(objectname)').split('\n').filter((line) => line !== '' && !line.startsWith('refs/banger/'));
  return [...lines.toSorted(), ...refs];
}
