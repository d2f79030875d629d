// `agent keep` by itself, built with sanitizers: what it keeps, what it removes, and what it makes of what others wrote.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { repoRoot } from '../../test/support/source-tree.ts';
import { waitFor } from '../../test/support/wait.ts';

const agent = join(repoRoot, 'dist/native/agent-asan');
beforeAll(() => {
  execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh'), '--asan'], { cwd: repoRoot });
}, 120_000);

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-keep-'));
  chmodSync(dir, 0o1777);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Result { readonly code: number | null; readonly signal: string | null; readonly out: string; readonly err: string }
function keep(...words: string[]): Result {
  const { status, signal, stdout, stderr } = spawnSync(agent, ['keep', '--dir', dir, ...words], { maxBuffer: 1 << 28, encoding: 'latin1' });
  return { code: status, signal, out: stdout, err: stderr };
}
const run = (id: string, ...command: string[]): Result => keep('run', id, '--', ...command);
const follow = (id: string): Result => keep('logs', '--follow', id);
const status = (id: string): string | undefined => keep('list').out.split('\n').map((line) => line.split(' ')).find(([found]) => found === id)?.[1];
const pidIn = (id: string): number => Number(/^pid (\d+)$/m.exec(readFileSync(join(dir, id, 'state'), 'utf8'))?.[1]);

/** Commands that ended one after another, as the keeper leaves them. */
function fillWithEnded(count: number, startedAt = 1_000_000): void {
  for (let n = 0; n < count; n += 1) {
    const path = join(dir, `b${n.toString(16).padStart(3, '0')}`);
    mkdirSync(path, { mode: 0o700 });
    writeFileSync(join(path, 'state'), `pid 1\nstarted ${startedAt + n}\nended ${startedAt + n}\ncode 0\nsignal 0\nbytes 0\ndropped 0\ncommand true\n`);
  }
}

describe('output', () => {
  test('is whole, in order and told apart when it fits', () => {
    expect(run('ab', 'sh', '-c', 'for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 9').code).toBe(0);
    expect(follow('ab')).toEqual({ code: 9, signal: null, out: 'out 1\nout 2\nout 3\n', err: 'err 1\nerr 2\nerr 3\n' });
    expect(keep('logs', 'ab')).toMatchObject({ code: 0, out: 'out 1\nout 2\nout 3\n' });
  });

  test('loses its oldest part beyond the limit, and says so', () => {
    expect(keep('run', '--limit', '524288', 'ab', '--', 'seq', '200000').code).toBe(0);
    const { code, out, err } = follow('ab');
    expect(code).toBe(0);
    const all = execFileSync('seq', ['200000'], { encoding: 'latin1', maxBuffer: 1 << 28 });
    const kept = keep('logs', 'ab');
    // The follower may have seen more than is left.
    expect(out.endsWith(kept.out)).toBe(true);
    expect(all.endsWith(kept.out)).toBe(true);
    expect(kept.out.length).toBeGreaterThan(524_288 * 3 / 4);
    expect(kept.out.length).toBeLessThanOrEqual(524_288);
    expect(kept.err).toBe('banger: older output was dropped\n');
    expect(err.replaceAll('banger: older output was dropped\n', '')).toBe('');
    const files = readdirSync(join(dir, 'ab')).filter((name) => name.startsWith('out.'));
    expect(files.reduce((sum, name) => sum + statSync(join(dir, 'ab', name)).size, 0)).toBeLessThanOrEqual(524_288);
    expect(/^bytes (\d+)$/m.exec(readFileSync(join(dir, 'ab', 'state'), 'utf8'))?.[1]).toBe(String(all.length));
  });

  test('reaches a follower that keeps up without a gap, across all pieces', async () => {
    const fifo = join(dir, 'feed');
    execFileSync('mkfifo', [fifo]);
    expect(keep('run', '--limit', '8192', 'ab', '--', 'cat', fifo).code).toBe(0);
    const reader = spawn(agent, ['keep', '--dir', dir, 'logs', '--follow', 'ab'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    reader.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); });
    const closed = new Promise((resolve) => reader.on('close', resolve));
    const writer = spawn('sh', ['-c', 'exec cat > "$0"', fifo], { stdio: ['pipe', 'inherit', 'inherit'] });
    let sent = '';
    for (let n = 0; n < 60; n += 1) {
      const line = `${n} ${'x'.repeat(500)}\n`;
      sent += line;
      writer.stdin.write(line);
      await waitFor('the line', () => out.length === sent.length);
    }
    writer.stdin.end();
    expect(await closed).toBe(0);
    expect(out).toBe(sent);
  });

  test('ends with the command although a child holds it open', () => {
    run('ab', 'sh', '-c', 'sleep 3600 & echo $!');
    const { code, out } = follow('ab');
    expect(code).toBe(0);
    process.kill(Number(out), 'SIGKILL');
  });
});

describe('the command', () => {
  test('is told from one that cannot start, of which nothing stays', () => {
    expect(run('ab', 'no-such-program')).toMatchObject({ code: 127, err: 'banger: no-such-program: not found\n' });
    expect(run('ab', '/etc')).toMatchObject({ code: 126, err: 'banger: /etc: Permission denied\n' });
    expect(readdirSync(dir)).toEqual([]);
  });

  test('ends by its signal for a follower, too', () => {
    run('ab', 'sh', '-c', 'kill -TERM $$');
    expect(follow('ab')).toMatchObject({ code: null, signal: 'SIGTERM' });
  });

  test('goes on when the session that began it is hung up, and gets no descriptor of the keeper', async () => {
    const starter = spawn('setsid', [agent, 'keep', '--dir', dir, 'run', 'ab', '--', 'sh', '-c', 'ls /proc/self/fd; exec sleep 3600'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = new Promise((resolve) => starter.on('close', resolve));
    expect(await closed).toBe(0);
    try {
      process.kill(-starter.pid!, 'SIGHUP');
    } catch {
      // The group of the starter is empty already.
    }
    await waitFor('the list of descriptors', () => keep('logs', 'ab').out !== '');
    // What the test run itself leaves open to its children, every child has.
    expect(keep('logs', 'ab').out).toBe(execFileSync('sh', ['-c', 'ls /proc/self/fd'], { encoding: 'latin1' }));
    expect(status('ab')).toBe('running');
    process.kill(pidIn('ab'), 'SIGKILL');
    expect(follow('ab').signal).toBe('SIGKILL');
    expect(status('ab')).toBe('ended');
  });

  test('is lost, and not for ever running, when its keeper is killed', async () => {
    run('ab', 'sleep', '3600');
    const pid = pidIn('ab');
    const keeper = Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    process.kill(keeper, 'SIGKILL');
    process.kill(pid, 'SIGKILL');
    await waitFor('it to be lost', () => status('ab') === 'lost');
    expect(follow('ab')).toMatchObject({ code: 125, err: expect.stringContaining('nobody knows how it ended') as string });
  });

  test('with --login goes through the login shell as it is, and runs without one', () => {
    const words = ['printf', '%s|', "a'b", '', '$HOME', 'two words'];
    for (const shell of ['/bin/sh', '/no/shell']) {
      const id = shell === '/bin/sh' ? 'ab' : 'cd';
      const { status: code } = spawnSync(agent, ['keep', '--dir', dir, 'run', '--login', id, '--', ...words], { env: { ...process.env, SHELL: shell } });
      expect(code).toBe(0);
      expect(follow(id).out.endsWith("a'b||$HOME|two words|")).toBe(true);
    }
  });
});

describe('old commands', () => {
  test('go when more than 64 have ended; what runs stays', async () => {
    run('aaaa', 'sleep', '3600');
    fillWithEnded(68);
    run('cccc', 'true');
    expect(follow('cccc').code).toBe(0);
    await waitFor('the keeper to have tidied up', () => readdirSync(dir).length === 65);
    const left = readdirSync(dir).toSorted();
    expect(left.slice(0, 2)).toEqual(['aaaa', 'b005']);
    process.kill(pidIn('aaaa'), 'SIGKILL');
    follow('aaaa');
  });
});

test('a file system that others fill costs old output, never the end', ({ skip }) => {
  skip(process.getuid?.() !== 0, 'only root can mount a small file system');
  const script = `mount -t tmpfs -o size=1m none "$1" && cd "$1" || exit 1
    "$0" keep --dir . run aa -- sh -c 'seq 1 300000; until [ -e go ]; do sleep 0.02; done; echo last; exit 6' || exit 1
    until grep -qs 300000 aa/out.*; do sleep 0.02; done
    head -c 2000000 /dev/zero > fill; : > go
    "$0" keep --dir . logs --follow aa >/dev/null 2>&1; echo "follow $?"
    "$0" keep --dir . logs aa 2>&1; "$0" keep --dir . list | cut -d' ' -f 2,6`;
  const { stdout, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', script, agent, dir], { encoding: 'latin1', maxBuffer: 1 << 26 });
  const lines = stdout.split('\n');
  expect([stderr.replaceAll(/^head: .*\n/gm, ''), lines[0], lines.slice(-3)]).toEqual(['', 'follow 6', ['last', 'ended 6', '']]);
});

describe('what another user wrote', () => {
  test('is never followed nor waited for', () => {
    const secret = join(dir, 'secret');
    writeFileSync(secret, 'pid 1\nstarted 1\nended 2\ncommand secret\n');
    symlinkSync(dir, join(dir, 'aa'));
    mkdirSync(join(dir, 'bb'));
    symlinkSync(secret, join(dir, 'bb', 'state'));
    mkdirSync(join(dir, 'cc'));
    execFileSync('mkfifo', [join(dir, 'cc', 'state'), join(dir, 'cc', 'out.0'), join(dir, 'cc', 'lock')]);
    mkdirSync(join(dir, 'dd'));
    symlinkSync(secret, join(dir, 'dd', 'out.0'));
    for (const id of ['bb', 'cc', 'dd']) execFileSync('touch', ['-d', '1 hour ago', join(dir, id)]);
    const listed = keep('list');
    expect(listed.code).toBe(0);
    expect(listed.out).not.toContain('secret');
    expect(listed.out).not.toMatch(/^aa/m);
    for (const id of ['aa', 'bb', 'cc', 'dd']) expect(keep('logs', id).out).toBe('');
    expect(keep('logs', 'aa').code).toBe(125);
    expect(run('aa', 'true')).toMatchObject({ code: 125, err: expect.stringContaining('File exists') as string });
    expect(readFileSync(secret, 'utf8')).toContain('secret');
  });

  test('is read without belief in its lengths, numbers and words', () => {
    mkdirSync(join(dir, 'aa'));
    writeFileSync(join(dir, 'aa', 'state'), `pid 99999999999999999999\nstarted 99999999999999999999999\nended 1\ncode 9999\nsignal 200\ncommand ${'\u001b[2J'.repeat(2000)}\n`);
    for (const record of ['\u0000\u0000\u0000\u0000\u00ff\u00ff\u00ff\u00ff', '\u0007\u0000\u0000\u0000\u0001\u0000\u0000\u0000x', '\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000']) {
      writeFileSync(join(dir, 'aa', 'out.0'), record, 'latin1');
      expect(keep('logs', 'aa')).toMatchObject({ code: 125, out: '', err: 'banger: the kept output is damaged\n' });
    }
    writeFileSync(join(dir, 'aa', 'out.0'), '\u0000\u0000\u0000\u0000\u0009\u0000\u0000\u0000half', 'latin1');
    expect(follow('aa')).toMatchObject({ out: '', err: '' });
    const listed = keep('list').out;
    expect(listed).toMatch(/^aa ended \d+ \d+ 1 \d+ 0 /);
    // oxlint-disable-next-line no-control-regex -- control characters are the point
    expect(listed).toMatch(/^[ -~]*\n$/);
  });

  test('cannot be removed by others, and root removes it without following', ({ skip }) => {
    skip(process.getuid?.() !== 0, 'only root has other users to try it with');
    const outside = mkdtempSync(join(tmpdir(), 'banger-keep-out-'));
    chmodSync(outside, 0o777);
    writeFileSync(join(outside, 'precious'), '');
    const as = (uid: string, ...words: string[]): number | null =>
      spawnSync('setpriv', ['--reuid', uid, '--regid', uid, '--clear-groups', ...words], { cwd: '/', stdio: 'ignore' }).status;
    const program = join(dir, 'agent');
    execFileSync('cp', [agent, program]);
    expect(as('12345', program, 'keep', '--dir', dir, 'run', 'abc', '--', 'true')).toBe(0);
    expect(follow('abc').code).toBe(0);
    expect(statSync(join(dir, 'abc')).mode & 0o777).toBe(0o700);
    expect(as('12346', 'ls', join(dir, 'abc'))).not.toBe(0);
    expect(as('12346', 'mv', join(dir, 'abc'), join(dir, 'abd'))).not.toBe(0);
    expect(as('12345', 'ln', '-s', outside, join(dir, 'abc', 'trap'))).toBe(0);
    fillWithEnded(64, Date.now() + 1000);
    expect(as('12346', program, 'keep', '--dir', dir, 'prune')).toBe(0);
    keep('prune');
    expect(existsSync(join(dir, 'abc'))).toBe(false);
    expect(existsSync(join(outside, 'precious'))).toBe(true);
    rmSync(outside, { recursive: true });
  });
});

test.each([[], ['run'], ['run', 'ab'], ['run', 'ab', 'true'], ['run', 'AB', '--', 'true'], ['run', '../x', '--', 'true'], ['run', '--limit', '1', 'ab', '--', 'true'],
  ['logs'], ['list', 'x'], ['nothing']])('refuses %j', (...words) => {
  expect(keep(...words).code).toBe(2);
});
