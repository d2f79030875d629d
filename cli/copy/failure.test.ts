import { describe, expect, test } from 'vitest';
import { BangerError } from '../../core/errors.ts';
import { copyFailure, type Ended } from './failure.ts';

const ended = (label: string, result: Ended['result'], last?: string): Ended => ({ end: { label }, result, last });

describe('why a copy failed', () => {
  test('a refusal of the sender, and what became of the destination', () => {
    const error = copyFailure(ended('one', { code: 3 }, 'cannot read /x: No such file or directory'), ended('host', { code: 3 }, 'the stream ended early: nothing was put in place'), 'out');
    expect(error).toMatchObject({
      code: 'operation_failed', message: 'one: cannot read /x: No such file or directory; nothing was put in place (out)',
      hint: "the path is one in the VM; a relative one is below the user's home",
    });
  });
  test('a refusal of the receiver says both itself', () => {
    const error = copyFailure(ended('one', { code: 3 }, 'a/b: No space left on device: 12 entries were in place already'), undefined, 'one:/x');
    expect(error.message).toBe('one: a/b: No space left on device; 12 entries were in place already (one:/x)');
  });
  test("the daemon's own error keeps its code and hint", () => {
    const timeout = new BangerError('timeout', 'Gave up', { hint: 'wait', detail: { opId: 'op-1' } });
    expect(copyFailure(ended('one', { error: timeout }), ended('host', { code: 3 }, 'the stream ended early: nothing was put in place'), 'out'))
      .toMatchObject({ code: 'timeout', message: 'Gave up; nothing was put in place (out)', hint: 'wait', detail: { opId: 'op-1' } });
  });
  test('an end that says nothing is told of all the same', () => {
    expect(copyFailure(ended('one', { code: 9 }), undefined, 'out').message).toBe('one: the end of the copy exited with code 9 and said nothing');
  });
});
