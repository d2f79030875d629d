import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { BangerError } from './errors.ts';
import { createExec, minimalEnv } from './exec.ts';
import { createProcesses } from './process.ts';

const exec = createExec();
const processes = createProcesses();
let dir: string;
beforeAll(() => { dir = mkdtempSync(join(tmpdir(), 'banger-exec-')); });
afterAll(() => rmSync(dir, { recursive: true }));

const failureOf = async (call: Promise<unknown>): Promise<BangerError> => {
  try {
    await call;
  } catch (error) {
    return error as BangerError;
  }
  throw new Error('The call did not fail');
};
const noneLeft = (mark: string): Promise<void> =>
  vi.waitFor(() => expect(processes.findByMark(mark)).toEqual([]), { timeout: 10_000, interval: 20 });

describe('run', () => {
  test('gives output as it is and passes words without a shell', async () => {
    const result = await exec.run('printf', ['%s|', '$HOME; ls', 'a b']);
    expect(result).toMatchObject({ stdout: '$HOME; ls|a b|', stderr: '', exitCode: 0 });
  });

  test('hands a minimal environment on, with the mark', async () => {
    const { stdout } = await createExec({ env: { PATH: '/usr/bin:/bin', HOME: '/h', LD_PRELOAD: 'x', SECRET: 'y' } })
      .run('env', [], { env: { A: '1' }, mark: 'm/1/2' });
    expect(stdout.trim().split('\n').sort()).toEqual([
      'A=1', 'BANGER_MARK=m/1/2', 'HOME=/h', 'LANG=C.UTF-8', 'PATH=/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin',
    ]);
  });

  test('writes input and ends it', async () => {
    const input = 'x'.repeat(300_000);
    expect((await exec.run('wc', ['-c'], { input })).stdout.trim()).toBe('300000');
  });

  test('survives a program that does not read its input', async () => {
    expect((await exec.run('true', [], { input: 'x'.repeat(1_000_000) })).exitCode).toBe(0);
  });

  test('holds stdin open until it is told, and minds no program that ends before', async () => {
    const told = Promise.withResolvers<void>();
    const lines: string[] = [];
    const running = exec.run('sh', ['-c', 'echo begun; cat; echo over'], { stdinUntil: told.promise, onLine: (line) => { lines.push(line); } });
    await vi.waitFor(() => expect(lines).toEqual(['begun']), { timeout: 10_000 });
    told.resolve();
    expect((await running).stdout).toBe('begun\nover\n');
    const never = new Promise(() => undefined);
    expect((await exec.run('true', [], { stdinUntil: never })).exitCode).toBe(0);
    expect((await exec.run('cat', [], { stdinUntil: Promise.reject(new Error('told so')) })).exitCode).toBe(0);
    expect(await failureOf(exec.run('cat', [], { stdinUntil: never, timeoutMs: 100 }))).toMatchObject({ code: 'timeout' });
  });

  test('names program, arguments, exit code and the last lines of stderr', async () => {
    const error = await failureOf(exec.run('sh', ['-c', 'seq 1 40 >&2; echo token-abc >&2; exit 3', 'token-abc'], { redact: ['token-abc'] }));
    expect(error.code).toBe('operation_failed');
    expect(error.message).toBe('sh failed with exit code 3: ***');
    expect(error.detail).toMatchObject({ program: 'sh', exitCode: 3, timedOut: false, cancelled: false });
    const lines = String(error.detail?.['stderr']).split('\n');
    expect(lines).toHaveLength(20);
    expect(lines[0]).toBe('22');
    expect(JSON.stringify(error.detail)).not.toContain('token-abc');
  });

  test('names the signal', async () => {
    const error = await failureOf(exec.run('sh', ['-c', 'kill -SEGV $$']));
    expect(error).toMatchObject({ code: 'operation_failed', message: 'sh failed with signal SIGSEGV', detail: { signal: 'SIGSEGV' } });
  });

  test('accepts the exit codes it was told', async () => {
    expect((await exec.run('sh', ['-c', 'exit 7'], { okCodes: [0, 7] })).exitCode).toBe(7);
  });

  test('says that a program is missing', async () => {
    const error = await failureOf(exec.run('no-such-program-here', ['x']));
    expect(error).toMatchObject({ code: 'missing_requirement', message: 'Program no-such-program-here is not found' });
  });

  test('does not call a missing working directory a missing program', async () => {
    expect(await failureOf(exec.run('true', [], { cwd: join(dir, 'nowhere') }))).toMatchObject({ code: 'operation_failed' });
  });

  test('keeps the end of too much output', async () => {
    const { stdout } = await exec.run('seq', ['1', '100000'], { maxOutputBytes: 1000 });
    expect(stdout).toHaveLength(1000);
    expect(stdout.endsWith('\n99999\n100000\n')).toBe(true);
  });

  test('gives lines of both streams as they come', async () => {
    const lines: string[] = [];
    await exec.run('sh', ['-c', 'printf "a\\nb\\r"; printf "e\\n" >&2; printf "c"'], { onLine: (line) => lines.push(line) });
    expect(lines.sort()).toEqual(['a', 'b', 'c', 'e']);
  });

  test('ends the whole group on timeout, and one that ignores TERM', async () => {
    const mark = `test-${randomUUID()}`;
    const error = await failureOf(exec.run('sh', ['-c', 'trap "" TERM; sleep 600 & sleep 601 & wait; sleep 602'], { mark, timeoutMs: 200 }));
    expect(error).toMatchObject({ code: 'timeout', detail: { timedOut: true } });
    await noneLeft(mark);
  });

  test('ends the group on abort and keeps the reason', async () => {
    const mark = `test-${randomUUID()}`;
    const control = new AbortController();
    const call = failureOf(exec.run('sh', ['-c', 'echo go; sleep 600 & wait'], { mark, signal: control.signal, onLine: () => control.abort(new Error('why')) }));
    expect(await call).toMatchObject({ code: 'cancelled', detail: { cancelled: true }, cause: { message: 'why' } });
    await noneLeft(mark);
  });

  test('does not start anything when aborted before', async () => {
    expect(await failureOf(exec.run('touch', [join(dir, 'never')], { signal: AbortSignal.abort() }))).toMatchObject({ code: 'cancelled' });
    expect((await exec.run('ls', [dir])).stdout).not.toContain('never');
  });

  test('ends children that the program left behind', async () => {
    const mark = `test-${randomUUID()}`;
    expect((await exec.run('sh', ['-c', 'sleep 600 & echo done'], { mark })).stdout).toBe('done\n');
    await noneLeft(mark);
  });

  test('ends what is under way when our process exits', async () => {
    const mark = `test-${randomUUID()}`;
    const script = `
      import { createExec } from ${JSON.stringify(new URL('exec.ts', import.meta.url).href)};
      createExec().run('sh', ['-c', 'echo up; sleep 600 & wait'], { mark: ${JSON.stringify(mark)}, onLine: () => process.exit(0) });`;
    await exec.run(process.execPath, ['--input-type=module-typescript', '-e', script]);
    await noneLeft(mark);
  });

  test('does not wait for a stranger that holds the pipe', async () => {
    const mark = `test-${randomUUID()}`;
    expect((await exec.run('sh', ['-c', 'setsid sleep 600 & echo done'], { mark })).stdout).toBe('done\n');
    for (const { process } of processes.findByMark(mark)) await processes.end(process, { graceMs: 0 });
    await noneLeft(mark);
  });
});

describe('spawnDetached', () => {
  test('starts a session of its own that writes to the log and bears the mark', async () => {
    const mark = `test-${randomUUID()}`;
    const logFile = join(dir, 'a.log');
    const { process, line } = await exec.spawnDetached('sh', ['-c', 'echo hello; exec sleep 600'], { mark, logFile });
    expect(line).toBeUndefined();
    await vi.waitFor(() => expect(readFileSync(logFile, 'utf8')).toBe('hello\n'), { timeout: 10_000 });
    const session = (await exec.run('ps', ['-o', 'sid=', '-p', String(process.pid)])).stdout.trim();
    expect(session).toBe(String(process.pid));
    expect(processes.findByMark(mark).map((found) => found.process)).toEqual([process]);
    await processes.end(process, { graceMs: 0 });
    expect(processes.isAlive(process)).toBe(false);
  });

  test('waits for the first line of stdout', async () => {
    const options = { mark: `test-${randomUUID()}`, logFile: join(dir, 'b.log'), readyLine: { timeoutMs: 20_000 } };
    const { process, line } = await exec.spawnDetached('sh', ['-c', 'echo noise >&2; echo ready 42; exec sleep 600'], options);
    expect(line).toBe('ready 42');
    expect(processes.isAlive(process)).toBe(true);
    expect(readFileSync(options.logFile, 'utf8')).toBe('noise\n');
    await processes.end(process, { graceMs: 1000 });
  });

  test('says what the log holds when it ends before it is ready', async () => {
    const options = { mark: `test-${randomUUID()}`, logFile: join(dir, 'c.log'), readyLine: { timeoutMs: 20_000 } };
    const error = await failureOf(exec.spawnDetached('sh', ['-c', 'echo cannot >&2; exit 1'], options));
    expect(error).toMatchObject({ code: 'operation_failed', message: 'sh ended before it was ready', detail: { log: 'cannot' } });
  });

  test('ends it when it is not ready in time', async () => {
    const options = { mark: `test-${randomUUID()}`, logFile: join(dir, 'd.log'), readyLine: { timeoutMs: 100 } };
    expect(await failureOf(exec.spawnDetached('sleep', ['600'], options))).toMatchObject({ code: 'timeout' });
    await noneLeft(options.mark);
  });

  test('says that a program is missing', async () => {
    const error = await failureOf(exec.spawnDetached('no-such-program-here', [], { mark: 'x', logFile: join(dir, 'e.log') }));
    expect(error).toMatchObject({ code: 'missing_requirement' });
  });
});

test('finds programs in PATH and the sbin directories only', async () => {
  expect(await createExec({ env: { PATH: '/nowhere:/bin' } }).find('sh')).toBe('/bin/sh');
  expect(await exec.find('/bin/sh')).toBe('/bin/sh');
  expect(await exec.find('no-such-program-here')).toBeUndefined();
  expect(await exec.find('/etc/passwd')).toBeUndefined();
  expect(minimalEnv({})).toEqual({ PATH: '/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin', LANG: 'C.UTF-8' });
});
