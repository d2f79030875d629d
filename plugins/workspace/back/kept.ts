// Whether something of a guest is safe on the host: then a prepare may overwrite it in the guest.
import { isBangerError } from '../../../core/plugin-api.ts';
import type { Exec } from '../../../core/plugin-api.ts';
import { splitNul } from '../host/bytes.ts';
import { createGit } from '../host/git.ts';
import type { Git } from '../host/git.ts';
import type { Repository } from '../host/repository.ts';
import { shortAnswers } from './limits.ts';
import { isObjectId, parseRef, refPrefix } from './names.ts';

/** Answers about what a repository keeps of a VM, as it was when asked for. Ids may be a guest's word; anything that is no id is not kept. */
export interface Kept {
  /** Whether a commit is in the history of kept work, of a branch, a tag, a remote's branch or HEAD. */
  head(commit: string): Promise<boolean>;
  /** Whether kept work has a file with this content at this path. `path`: latin1. */
  path(path: string, blobId: string): Promise<boolean>;
  /** Whether the tree is that of a kept index. */
  index(treeId: string): Promise<boolean>;
}

/** @throws bad_request; operation_failed */
export async function keptIn(exec: Pick<Exec, 'run'>, repo: Repository, vm: string, call: { readonly signal?: AbortSignal } = {}): Promise<Kept> {
  // Trees that were pulled are a guest's: few bytes can name files without end.
  const git = createGit(shortAnswers(exec), repo.root, call);
  const { stdout } = await git.run(['for-each-ref', '--sort=-committerdate', '--format=%(refname) %(objectname) %(tree)', refPrefix(vm)]);
  const refs = stdout.split('\n').flatMap((line) => {
    const [name = '', id = '', tree = ''] = line.split(' ');
    const ref = parseRef(name);
    return ref === undefined ? [] : [{ kind: ref.kind, id, tree }];
  });
  const trees = (kind: string): string[] => refs.filter((ref) => ref.kind === kind && ref.tree !== '').map(({ tree }) => tree);
  const indexes = new Set(trees('index'));
  const files = createFiles(git, [...new Set(trees('worktree'))]);
  return {
    head: async (commit) => isObjectId(repo, commit) && hasCommit(git, vm, commit),
    path: async (path, blobId) => isObjectId(repo, blobId) && files(`${blobId}\t${path}`),
    index: async (treeId) => indexes.has(treeId),
  };
}

async function hasCommit(git: Git, vm: string, commit: string): Promise<boolean> {
  // for-each-ref fails on a commit that is not there, and takes no tree.
  const { stdout: type } = await git.run(['cat-file', '--batch-check=%(objecttype)'], { input: `${commit}\n` });
  if (type !== 'commit\n') return false;
  const places = [refPrefix(vm), 'refs/heads/', 'refs/remotes/', 'refs/tags/'];
  const { stdout } = await git.run(['for-each-ref', '--count=1', `--contains=${commit}`, ...places]);
  if (stdout !== '') return true;
  const { exitCode } = await git.run(['merge-base', '--is-ancestor', commit, 'HEAD'], { okCodes: [0, 1, 128] });
  return exitCode === 0;
}

/** Looks trees up one after the other, each read once and when it is needed. */
function createFiles(git: Git, trees: readonly string[]): (entry: string) => Promise<boolean> {
  const entries = new Set<string>();
  const rest = [...trees];
  let reading = Promise.resolve();
  const readNext = async (): Promise<void> => {
    const tree = rest.shift();
    if (tree === undefined) return;
    const stdout = await namesOf(git, tree);
    // `<mode> <type> <id>\t<path>`
    for (const line of splitNul(stdout)) entries.add(line.slice(line.indexOf(' ', 7) + 1));
  };
  return async (entry) => {
    while (!entries.has(entry) && rest.length > 0) {
      reading = reading.then(readNext);
      await reading;
    }
    await reading;
    return entries.has(entry);
  };
}

/** Nothing for a tree with too many names: what it holds counts as not kept. */
async function namesOf(git: Git, tree: string): Promise<string> {
  try {
    return (await git.run(['ls-tree', '-r', '-z', '--full-tree', tree])).stdout;
  } catch (error) {
    if (isBangerError(error) && error.code === 'workspace.too_large') return '';
    throw error;
  }
}
