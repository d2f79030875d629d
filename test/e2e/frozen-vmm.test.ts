// One frozen VM must not delay anything else.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';

let host: Host;
let frozen: number;
beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'run', '--name', 'frozen', '-d']);
  await host.ok(['vm', 'run', '--name', 'other', '-d']);
  frozen = (await host.vm('frozen')).process!.pid;
  process.kill(frozen, 'SIGSTOP');
});
afterAll(async () => {
  await host.dispose();
});

/** A liveness limit: the answer usually takes a twentieth of it. */
async function within<T>(limitMs: number, work: Promise<T>): Promise<T> {
  const timer = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error(`no answer within ${limitMs} ms`)), limitMs).unref();
  });
  return Promise.race([work, timer]);
}

test('vm list and exec on another VM answer within a second', async () => {
  expect((await within(1000, host.ok(['vm', 'list']))).out).toContain('frozen');
  expect((await within(1000, host.ok(['vm', 'exec', 'other', '--', 'echo', 'well']))).out).toBe('well\n');
});

test('doctor answers too, and a stop of the frozen VM ends within its limits', async () => {
  await within(30_000, host.banger(['doctor']));
  await host.ok(['vm', 'stop', 'frozen'], { timeoutMs: 180_000 });
  expect((await host.vm('frozen')).state).toBe('stopped');
});
