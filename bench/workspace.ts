// A repository of 10,000 files and 200 MB. Its first `vm workspace prepare` against what a person would do by hand with the same guest's own sshd;
// a second prepare after 10 edits against the first; and what a workspace adds to `vm run`, for this repository itself.
//
// By hand: the guest cannot reach the host, so that `git clone` there has nothing to clone from. The history goes in by `git init` over ssh and
// `git push`, which sends the pack that a clone would get, and the working files by `rsync -a`. That leaves the guest without an index (its
// `git reset` would read all files once more); it is not made, which is to the advantage of this way.
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeGuest, imageWithKeys, run, standaloneSshd, type SshdGuest } from './sshd-guest.ts';
import { pairs, report, summarize, timed } from './stats.ts';
import { random } from '../native/copy/testing.ts';
import { makeHost } from '../test/support/host.ts';
import { gitEnvironment } from '../test/support/repo-script.ts';
import { repoRoot } from '../test/support/source-tree.ts';

const count = Number(process.env['BENCH_RUNS'] ?? 3);
const runs = Number(process.env['BENCH_PAIRS'] ?? 7);
const files = 10_000;
const totalBytes = 200 * 2 ** 20;
const edited = 10;
const port = 2222;
const guestPath = '/root/bench';

const git = (dir: string, ...args: readonly string[]): string =>
  execFileSync('git', ['-C', dir, ...args], { env: gitEnvironment(), encoding: 'utf8', maxBuffer: 64 * 2 ** 20 });
const fileName = (n: number): string => join(`package-${n % 20}`, `module-${Math.floor(n / 20) % 25}`, `source-${n}.ts`);

/** Lines like those of programs: few words, said often, in another order in each file. */
function sourceText(bytes: number, below: (limit: number) => number): string {
  const words = Array.from({ length: 4000 }, (_, n) => `${['get', 'set', 'make', 'read', 'find'][n % 5]}${n.toString(36)}${'abcdefgh'.slice(0, below(8))}`);
  const lines: string[] = [];
  for (let size = 0; size < bytes; size += lines.at(-1)!.length) {
    const word = (): string => words[below(words.length)]!;
    lines.push(`${'  '.repeat(below(5))}const ${word()} = ${word()}(${word()}, { ${word()}: ${below(10_000)} });\n`);
  }
  return lines.join('');
}

/** Committed and packed, as a clone has it, with a short history behind it. */
function makeRepository(dir: string): void {
  const below = random(4);
  const text = sourceText(8 * 2 ** 20, below);
  git(dir, 'init', '-q', '-b', 'main');
  git(dir, 'config', 'gc.auto', '0');
  const size = totalBytes / files;
  for (let n = 0; n < files; n += 1) {
    mkdirSync(join(dir, fileName(n), '..'), { recursive: true });
    const [at, length] = [below(text.length - 2 * size), Math.floor(size / 2) + below(size)];
    writeFileSync(join(dir, fileName(n)), `// source ${n}\n${text.slice(at, at + length)}`);
  }
  git(dir, 'add', '-A');
  git(dir, 'commit', '-q', '-m', 'Begin');
  for (let commit = 1; commit <= 20; commit += 1) {
    for (let n = 0; n < 20; n += 1) appendFileSync(join(dir, fileName(below(files))), `// change ${commit}\n`);
    git(dir, 'commit', '-q', '-a', '-m', `Change ${commit}`);
  }
  git(dir, 'gc', '-q');
}

const round = (value: number): number => Math.round(value * 100) / 100;

async function byHand(guest: SshdGuest, repo: string): Promise<number> {
  const ssh = ['ssh', ...guest.sshdOptions].join(' ');
  const remote = guest.sshd.at(-1)!;
  const env = gitEnvironment();
  return timed(async () => {
    await run([...guest.sshd, `git init -q ${guestPath}`]);
    execFileSync('git', ['-C', repo, 'push', '-q', `${remote}:${guestPath}`, 'HEAD:refs/heads/main'], { env: { ...env, GIT_SSH_COMMAND: ssh }, stdio: 'ignore' });
    await run(['rsync', '-a', '--exclude=/.git', '-e', ssh, `${repo}/`, `${remote}:${guestPath}/`], 1_800_000);
  });
}

/** What the guest's git says of what it was given: nothing, when it is the host's. */
async function requireSame(repo: string): Promise<void> {
  const guest = (await host.ok(['vm', 'exec', 'bench', '--guest-path', guestPath, '--', 'sh', '-c', 'git rev-parse HEAD; git status --porcelain; git ls-files -s | git hash-object --stdin'])).out;
  const index = execFileSync('git', ['hash-object', '--stdin'], { input: git(repo, 'ls-files', '-s'), encoding: 'utf8' });
  const wanted = git(repo, 'rev-parse', 'HEAD') + git(repo, 'status', '--porcelain') + index;
  if (guest !== wanted) throw new Error(`the guest has another repository: ${guest.slice(0, 1000)}`);
}

async function prepares(guest: SshdGuest, repo: string): Promise<Record<string, unknown>> {
  const clear = (): Promise<unknown> => host.ok(['vm', 'exec', guest.name, '--guest-path', '/', '--', 'rm', '-rf', guestPath], { timeoutMs: 300_000 });
  const prepare = (): Promise<number> => timed(async () => { await host.ok(['vm', 'workspace', 'prepare', guest.name, repo, '--guest-path', guestPath], { timeoutMs: 600_000 }); });
  const both: { readonly first: number; readonly second: number }[] = [];
  let edits = 0;
  const first = await pairs(count, async () => {
    await clear();
    const firstMs = await prepare();
    for (let n = 0; n < edited; n += 1) appendFileSync(join(repo, fileName((edits += 1) * 97)), `// edit ${edits}\n`);
    both.push({ first: firstMs, second: await prepare() });
    await requireSame(repo);
    return firstMs;
  }, async () => {
    await clear();
    return byHand(guest, repo);
  });
  const counted = both.slice(1);
  const ratios = counted.map((each) => each.first / each.second).toSorted((a, b) => a - b);
  return {
    first: { ...first, timesFaster: round(1 / first.ratio) },
    second: { ...summarize(counted.map((each) => each.second)), timesFasterThanFirst: round(ratios[Math.floor(ratios.length / 2)]!), perRun: ratios.map(round) },
  };
}

/** Seconds that a workspace of this repository adds to a run. */
async function wholeRuns(dir: string): Promise<Record<string, unknown>> {
  const repo = join(dir, 'banger');
  execFileSync('git', ['clone', '-q', repoRoot, repo], { env: gitEnvironment() });
  const result = await pairs(runs, async () => { await host.ok(['vm', 'run', '--rm', repo, '--', 'true']); }, async () => { await host.ok(['vm', 'run', '--rm', '--', 'true']); });
  const { subject, baseline } = result;
  return { withWorkspace: subject, without: baseline, addsSeconds: round((subject.p50Ms - baseline.p50Ms) / 1000), files: git(repo, 'ls-files').split('\n').length - 1 };
}

// What a user gets who configures nothing: the tests' own VMs are smaller.
const host = await makeHost({ config: '' });
const image = imageWithKeys(host);
const dir = mkdtempSync(join(tmpdir(), 'banger-bench-repo-'));
try {
  const repo = join(dir, 'big');
  mkdirSync(repo);
  makeRepository(repo);
  await host.ok(['image', 'pull', image.path]);
  await host.ok(['vm', 'create', '--name', 'bench', '--image', image.path, '--init', 'image', '--publish', `${port}:22`]);
  const guest = await describeGuest(host, { name: 'bench', dir: image.dir, port });
  await standaloneSshd(host, 'bench');
  const figures = await prepares(guest, repo);
  await host.ok(['vm', 'delete', 'bench']);
  report('workspace', {
    baseline: "git push and rsync -a over ssh to the image's own sshd, through a published port", files, totalBytes, packedBytes: Number(/size-pack: (\d+)/.exec(git(repo, 'count-objects', '-v'))?.[1]) * 1024,
    ...figures, vmRunThisRepository: await wholeRuns(dir),
  });
} finally {
  await host.dispose();
  for (const each of [image.dir, dir]) rmSync(each, { recursive: true, force: true });
}
