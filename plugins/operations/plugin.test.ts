import { describe, expect, it, onTestFinished } from 'vitest';
import { nullLog } from '../../core/log.ts';
import { createOperations } from '../../core/operations/operations.ts';
import type { OperationRegistry } from '../../core/operations/operations.ts';
import { openStore } from '../../core/store/store.ts';
import { makeCall, tempState } from '../../test/support/vm-fixture.ts';
import { cancelMethod, listMethod, showMethod } from './methods.ts';
import { operationView } from './schema.ts';

function open(): OperationRegistry {
  const store = openStore(tempState());
  onTestFinished(() => store.close());
  return createOperations({ store: store.operations, log: nullLog });
}

describe('daemon.operations', () => {
  it('lists and shows what the schema says, and cancels', async () => {
    const operations = open();
    const call = makeCall({ log: nullLog });
    const work = operations.runner({ name: 'image.pull', kind: 'image.pull' }, { ref: 'debian' }, call, ({ signal, timeline }) => {
      timeline({ name: 'download', plugin: 'images', atMs: 0 });
      return new Promise((_, reject) => { signal.addEventListener('abort', () => reject(signal.reason as Error)); });
    });
    const { operations: listed } = await listMethod(operations).handler({}, call);
    expect(listed).toMatchObject([{ id: call.opId, kind: 'image.pull', subject: 'debian', state: 'running', done: false }]);
    expect(operationView.array().parse(listed)).toEqual(listed);
    await cancelMethod(operations).handler({ id: call.opId }, call);
    await expect(work).rejects.toMatchObject({ code: 'cancelled' });
    expect(await showMethod(operations).handler({ id: call.opId }, call)).toMatchObject({ operation: { state: 'cancelled', done: true } });
  });

  it('answers not_found for what it does not know', () => {
    expect(() => showMethod(open()).handler({ id: 'op-nope' }, makeCall({ log: nullLog }))).toThrow('No operation matches op-nope');
  });
});
