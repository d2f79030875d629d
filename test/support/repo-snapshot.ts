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
  /** Tree of the working files that the index knows. */
  readonly tracked: string;
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
g=$(git rev-parse --absolute-git-dir)
mkdir "$t/objects"
git rev-parse -q --verify HEAD || :
printf '\\000'
git symbolic-ref -q HEAD || :
printf '\\000'
git ls-files -s -z >"$t/entries"
if [ -f "$g/index" ]; then cp -p "$g/index" "$t/index"; fi
export GIT_OBJECT_DIRECTORY="$t/objects" GIT_ALTERNATE_OBJECT_DIRECTORIES="$g/objects"
GIT_INDEX_FILE=$t/index git write-tree
printf '\\000'
GIT_INDEX_FILE=$t/fresh git update-index -z --index-info <"$t/entries"
GIT_INDEX_FILE=$t/fresh git add -u
GIT_INDEX_FILE=$t/fresh git write-tree
printf '\\000'
cp "$t/fresh" "$t/tracked"
GIT_INDEX_FILE=$t/fresh git add -A
GIT_INDEX_FILE=$t/fresh git write-tree
printf '\\000'
GIT_INDEX_FILE=$t/fresh git add -A -f
for i in tracked fresh; do
GIT_INDEX_FILE=$t/$i git ls-files -s -z
printf '\\000'
done
unset GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
git status --porcelain=v2 -z --no-renames --untracked-files=all
}
main </dev/null
`;
}

export function parseSnapshot(output: Buffer): Snapshot {
  const words = output.toString('latin1').split('\0').slice(0, -1);
  const [head, ref, index, tracked, worktree] = words.splice(0, 5).map((word) => word.replace(/\n$/, ''));
  const section = (): string[] => words.splice(0, words.indexOf('') + 1).slice(0, -1);
  if (head === undefined || ref === undefined || index === undefined || tracked === undefined || worktree === undefined || words.length < 2) throw new Error(`no snapshot: ${output.toString()}`);
  const [trackedFiles, allFiles] = [listing(section()), listing(section())];
  const isUntracked = (entry: string): boolean => entry.startsWith('? ');
  return {
    head, ref, index, tracked, worktree, trackedFiles, allFiles,
    status: words.filter((entry) => !isUntracked(entry)).toSorted(),
    untracked: words.filter(isUntracked).map((entry) => entry.slice(2)).toSorted(),
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
  const refs = git(dir, 'for-each-ref', '--format=%(refname) %(objectname)').split('\n').filter((line) => !line.startsWith('refs/banger/'));
  return [...lines.toSorted(), ...refs];
}
