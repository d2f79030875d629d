import { describe, expect, it, onTestFinished } from 'vitest';
import { createManualClock } from '../clock.ts';
import { nullLog } from '../log.ts';
import { operationFailed } from '../errors.ts';
import { openStore } from '../store/store.ts';
import type { Store } from '../store/store.ts';
import { makeCall, tempState } from '../../test/support/vm-fixture.ts';
import type { Recorded } from '../../test/support/vm-fixture.ts';
import { createOperations } from './operations.ts';

const clock = createManualClock(Date.parse('2026-01-01T00:00:00Z'));
const method = { name: 'vm.start', kind: 'vm.start' };

function open(dir = tempState()): Store {
  const store = openStore(dir);
  onTestFinished(() => store.close());
  return store;
}

describe('an operation', () => {
  it('keeps stage and timeline, passes them on, and is listed when it is over', async () => {
    const operations = createOperations({ store: open().operations, log: nullLog, clock });
    const recorded: Recorded = { stages: [], timeline: [] };
    const call = makeCall({ log: nullLog, recorded });
    const result = await operations.runner(method, { ref: 'devbox' }, call, async (inner) => {
      inner.stage('boot', 'waiting');
      inner.timeline({ name: 'qemu.boot', plugin: 'qemu', atMs: 0 });
      clock.advance(40);
      expect(operations.show(inner.opId)).toMatchObject({ state: 'running', stage: 'boot', detail: 'waiting', timeline: [{ name: 'qemu.boot' }] });
      inner.timeline({ name: 'qemu.boot', plugin: 'qemu', atMs: 0, durationMs: 40, outcome: 'ok' });
      return 'done';
    });
    expect(result).toBe('done');
    expect(recorded.stages).toEqual(['boot']);
    expect(operations.list()).toMatchObject([{
      id: call.opId, kind: 'vm.start', subject: 'devbox', state: 'done', done: true,
      timeline: [{ name: 'qemu.boot', plugin: 'qemu', atMs: 0, durationMs: 40, outcome: 'ok' }],
    }]);
    expect(operations.running).toBe(0);
  });

  it('is cancelled by its id, and says so', async () => {
    const operations = createOperations({ store: open().operations, log: nullLog, clock });
    const call = makeCall({ log: nullLog });
    const running = operations.runner(method, {}, call, ({ signal }) => new Promise((_, reject) => {
      // What fetch, timers and streams throw when they are told to end.
      signal.addEventListener('abort', () => reject(new DOMException('This operation was aborted', 'AbortError')));
    }));
    operations.cancel(call.opId);
    await expect(running).rejects.toMatchObject({ code: 'cancelled' });
    expect(operations.show(call.opId)).toMatchObject({ state: 'cancelled', done: true });
    expect(() => operations.cancel('op-nope')).toThrow(expect.objectContaining({ code: 'not_found' }) as Error);
  });

  it('that fails keeps its error; what is unexpected is not told', async () => {
    const operations = createOperations({ store: open().operations, log: nullLog, clock });
    await expect(operations.runner(method, {}, makeCall({ log: nullLog }), () => Promise.reject(operationFailed('no space')))).rejects.toThrow('no space');
    await expect(operations.runner(method, {}, makeCall({ log: nullLog }), () => Promise.reject(new TypeError('secret')))).rejects.toThrow('secret');
    expect(operations.list().map(({ error }) => error)).toEqual([{ code: 'operation_failed', message: 'no space' }, { code: 'internal', message: 'internal error' }]);
  });

  it('gives fresh copies', async () => {
    const operations = createOperations({ store: open().operations, log: nullLog, clock });
    await operations.runner(method, {}, makeCall({ log: nullLog }), async () => undefined);
    (operations.list()[0] as { kind: string }).kind = 'changed';
    expect(operations.list()[0]?.kind).toBe('vm.start');
  });

  it('that ran when the daemon died is shown as failed, interrupted', async () => {
    const dir = tempState();
    const first = openStore(dir);
    const call = makeCall({ log: nullLog });
    void createOperations({ store: first.operations, log: nullLog, clock }).runner(method, {}, call, () => new Promise(() => undefined));
    first.close();
    expect(createOperations({ store: open(dir).operations, log: nullLog, clock }).show(call.opId)).toMatchObject({
      state: 'failed', done: true, error: { message: expect.stringContaining('interrupted') as string },
    });
  });

  it('is kept for a day, and no more than 200 are', async () => {
    const { operations: store } = open();
    const operations = createOperations({ store, log: nullLog, clock });
    const run = () => operations.runner(method, {}, makeCall({ log: nullLog }), async () => undefined);
    for (let i = 0; i < 210; i += 1) await run();
    expect([operations.list().length, store.list().length]).toEqual([200, 200]);
    clock.advance(25 * 60 * 60 * 1000);
    await run();
    expect([operations.list().length, store.list().length]).toEqual([1, 1]);
  });

  it('ends with the daemon', async () => {
    const operations = createOperations({ store: open().operations, log: nullLog, clock });
    const call = makeCall({ log: nullLog });
    operations.spawn('image.pull', 'debian', call, ({ signal }) => new Promise((_, reject) => { signal.addEventListener('abort', () => reject(signal.reason as Error)); }));
    expect(operations.running).toBe(1);
    await operations.close();
    expect(operations.show(call.opId)).toMatchObject({ state: 'cancelled', subject: 'debian' });
  });
});
