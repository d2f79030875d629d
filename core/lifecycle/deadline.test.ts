import { describe, expect, it } from 'vitest';
import { bound } from './deadline.ts';

const expired = (): Error => new Error('too late');

describe('bound', () => {
  it('gives what the call returned or threw', async () => {
    expect(await bound({ limitMs: 60_000, expired }, () => 1)).toEqual({ kind: 'returned', value: 1 });
    const error = new Error('no');
    expect(await bound({ limitMs: 60_000, expired }, () => { throw error; })).toEqual({ kind: 'failed', error });
  });

  it('tells the call to end when the limit passes, and waits for it to do so', async () => {
    const seen: string[] = [];
    const outcome = await bound({ limitMs: 5, expired }, (signal) => new Promise<number>((resolve) => {
      signal.addEventListener('abort', () => { setImmediate(() => { seen.push('ended'); resolve(7); }); });
    }));
    expect(outcome).toMatchObject({ kind: 'failed', error: { message: 'too late' }, late: 7 });
    expect(seen).toEqual(['ended']);
  });

  it('does not wait for ever for a call that does not listen', async () => {
    expect(await bound({ limitMs: 5, graceMs: 5, expired }, () => new Promise(() => undefined))).toMatchObject({ kind: 'failed', error: { message: 'too late' } });
  });

  it('ends with the signal\'s reason, before the call began too', async () => {
    const control = new AbortController();
    const running = bound({ limitMs: 60_000, signal: control.signal, expired }, (signal) => new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error('ended')));
    }));
    control.abort('enough');
    expect(await running).toEqual({ kind: 'failed', error: 'enough' });
    let called = false;
    expect(await bound({ limitMs: 60_000, signal: control.signal, expired }, () => { called = true; })).toEqual({ kind: 'failed', error: 'enough' });
    expect(called).toBe(false);
  });
});
