// A repository of the host: where it lies, where its HEAD is, who works in it. Refuses what cannot go into a VM.
import { readFile, realpath, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { badRequest, BangerError } from '../../../core/plugin-api.ts';
import type { Exec } from '../../../core/plugin-api.ts';
import { fromBytes } from './bytes.ts';
import { readConfig } from './git-config.ts';
import { createGit, gitStderr } from './git.ts';
import type { Git } from './git.ts';
import { withoutSecrets } from './origin-url.ts';

/** Paths are absolute, ordinary strings. */
export interface Repository {
  /** Of the working tree. */
  readonly root: string;
  /** Of this working tree; a linked one has its own. */
  readonly gitDir: string;
  /** Where objects and branches are; shared by linked working trees. */
  readonly commonDir: string;
  /** Last part of the root. */
  readonly name: string;
  readonly objectFormat: 'sha1' | 'sha256';
  readonly isShallow: boolean;
  /** Some objects may be at a remote only. */
  readonly isPartial: boolean;
  /** `commit` is absent on an unborn branch, `branch` (short name, ordinary string) when HEAD is detached. */
  readonly head: { readonly commit?: string; readonly branch?: string };
  /** URL of the remote `origin`, without a password. */
  readonly origin?: string;
  readonly identity: { readonly name?: string; readonly email?: string };
}

interface Options { readonly signal?: AbortSignal | undefined }

/**
 * The repository that a directory is in.
 *
 * @throws bad_request: no such directory, not in a repository, bare, inside of `.git`; unauthorized: owned by somebody else; missing_requirement: no git
 */
export async function openRepository(exec: Pick<Exec, 'run'>, path: string, options: Options = {}): Promise<Repository> {
  const dir = await requireDirectory(path);
  const git = createGit(exec, dir, options);
  await requireWorkTree(git, path);
  const where = await locate(git, dir);
  const [config, head, origin] = await Promise.all([readConfig(git), headOf(git), originOf(git)]);
  const name = config.get('user.name');
  const email = config.get('user.email');
  return {
    ...where, name: basename(where.root), head,
    isPartial: config.keys(/^(extensions\.partialclone|remote\..*\.promisor)$/s).length > 0,
    ...(origin === undefined ? {} : { origin: withoutSecrets(origin) }),
    identity: { ...(name === undefined ? {} : { name }), ...(email === undefined ? {} : { email }) },
  };
}

async function requireDirectory(path: string): Promise<string> {
  try {
    // Resolved, because git's answers may be relative to where the links lead.
    const dir = await realpath(resolve(path));
    if ((await stat(dir)).isDirectory()) return dir;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') throw refuse(`Path ${path} does not exist`);
    if (code !== 'ENOTDIR') throw new BangerError('bad_request', `Path ${path} cannot be read (${code})`, { cause: error });
  }
  throw refuse(`Path ${path} is not a directory`);
}

const refuse = (message: string, hint?: string): BangerError => new BangerError('bad_request', message, { hint, detail: badRequest([{ path: 'path', message }]).detail });

async function requireWorkTree(git: Git, path: string): Promise<void> {
  const lines = await git.run(['rev-parse', '--is-bare-repository', '--is-inside-git-dir', '--is-inside-work-tree'])
    .then(({ stdout }) => stdout.split('\n'), (error: unknown) => { throw explain(error, path); });
  if (lines[2] === 'true') return;
  if (lines[0] === 'true') throw refuse(`${path} is a bare repository: it has no working files`, 'name a clone or a linked working tree of it');
  throw refuse(`${path} is not in a working tree`, lines[1] === 'true' ? 'name the directory that has the working files' : undefined);
}

function explain(error: unknown, path: string): unknown {
  const said = gitStderr(error);
  if (/dubious ownership/.test(said)) {
    const command = /git config --global --add safe\.directory .*/.exec(said)?.[0];
    return new BangerError('unauthorized', `Git refuses ${path}: it belongs to another user`, { hint: command ?? 'see safe.directory in git help config', cause: error });
  }
  if (/not a git repository/i.test(said)) return refuse(`${path} is not in a git repository`, 'git init makes one');
  return error;
}

type Where = Pick<Repository, 'root' | 'gitDir' | 'commonDir' | 'objectFormat' | 'isShallow'>;

async function locate(git: Git, dir: string): Promise<Where> {
  const questions = ['--show-toplevel', '--absolute-git-dir', '--git-common-dir', '--show-object-format', '--is-shallow-repository'];
  let answers = (await git.run(['rev-parse', ...questions])).stdout.slice(0, -1).split('\n');
  // A path with a newline in it: each question for itself then.
  if (answers.length !== questions.length) {
    answers = await Promise.all(questions.map(async (question) => (await git.run(['rev-parse', question])).stdout.slice(0, -1)));
  }
  const [root, gitDir, commonDir, objectFormat, isShallow] = answers.map((answer) => {
    const text = fromBytes(answer);
    if (text === undefined) throw new BangerError('unsupported', 'The path of the repository is not valid UTF-8', { hint: 'rename the directory' });
    return text;
  }) as [string, string, string, string, string];
  return {
    root, gitDir, commonDir: resolve(dir, commonDir),
    objectFormat: objectFormat === 'sha256' ? 'sha256' : 'sha1', isShallow: isShallow === 'true',
  };
}

async function headOf(git: Git): Promise<Repository['head']> {
  const [ref, commit] = await Promise.all([
    git.run(['symbolic-ref', '-q', 'HEAD'], { okCodes: [0, 1] }),
    git.run(['rev-parse', '-q', '--verify', 'HEAD'], { okCodes: [0, 1] }),
  ]);
  const name = ref.stdout.replace(/\n$/, '');
  const isBranch = name.startsWith('refs/heads/');
  const branch = isBranch ? fromBytes(name.slice('refs/heads/'.length)) : undefined;
  // Its name has to go through arguments of programs and through JSON.
  if (isBranch && branch === undefined) throw new BangerError('unsupported', 'The name of the branch is not valid UTF-8', { hint: 'git branch -m gives it another' });
  if (ref.exitCode === 0 && !isBranch && commit.exitCode !== 0) throw new BangerError('unsupported', `HEAD stands for ${JSON.stringify(fromBytes(name) ?? '')}, which is no branch and does not exist`);
  return { ...(commit.exitCode === 0 ? { commit: commit.stdout.trim() } : {}), ...(branch === undefined ? {} : { branch }) };
}

async function originOf(git: Git): Promise<string | undefined> {
  const { stdout, exitCode } = await git.run(['remote', 'get-url', 'origin'], { okCodes: [0, 1, 2, 128] });
  const url = exitCode === 0 ? fromBytes(stdout.replace(/\n$/, '')) : undefined;
  return url === '' ? undefined : url;
}

const objectId = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
/** Deeper chains of symbolic refs are git's own limit too (`SYMREF_MAXDEPTH`). */
const maxSymrefs = 5;

/** Commit that HEAD is, read from the files where refs are files; undefined on an unborn branch. Cheap: for freshness. */
export async function readHead(
  repo: Pick<Repository, 'gitDir' | 'commonDir'>, exec: Pick<Exec, 'run'>, signal?: AbortSignal): Promise<string | undefined> {
  let content = await readSmall(join(repo.gitDir, 'HEAD'));
  for (let depth = 0; depth < maxSymrefs && content !== undefined; depth += 1) {
    const value = content.trimEnd();
    if (objectId.test(value)) return value;
    // Anything but a branch's file is for git to understand: reftable has the branch `.invalid`, worktrees have refs of their own.
    const name = /^ref: (refs\/heads\/.+)$/s.exec(value)?.[1];
    if (name === undefined || name === 'refs/heads/.invalid' || name.includes('..')) break;
    content = await readSmall(join(repo.commonDir, name));
  }
  const git = createGit(exec, '/', { signal });
  const args = [`--git-dir=${repo.gitDir}`, 'rev-parse', '-q', '--verify', 'HEAD'];
  const { stdout, exitCode } = await git.run(args, { okCodes: [0, 1] });
  return exitCode === 0 ? stdout.trim() : undefined;
}

async function readSmall(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch {
    // Packed, in another store, or gone: git is asked.
    return undefined;
  }
}
