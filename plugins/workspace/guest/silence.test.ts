import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { hostAgent, testVm } from '../testing/host-agent.ts';
import { endWhenSilent, watchSilence } from './silence.ts';

const begin = async (script: string, limitMs: number): Promise<ReturnType<typeof endWhenSilent>> => {
  const process = await hostAgent().exec(testVm, { command: ['sh', '-c', script], env: {}, stdin: false }, new AbortController().signal);
  return endWhenSilent(process, { limitMs, expired: () => new Error('silent') });
};

test('a process that speaks ends by itself', async () => {
  const process = await begin('echo one; echo two; exit 3', 60_000);
  expect(await text(process.stdout)).toBe('one\ntwo\n');
  expect(await process.exit).toEqual({ code: 3 });
});

test('one that says nothing is given up, also when its output is over', async () => {
  const silent = await begin('echo one; exec sleep 60', 200);
  await expect(text(silent.stdout)).rejects.toThrow('Premature close');
  await expect(silent.exit).rejects.toThrow('silent');
  const closed = await begin('echo one; exec >&-; exec sleep 60', 200);
  expect(await text(closed.stdout)).toBe('one\n');
  await expect(closed.exit).rejects.toThrow('silent');
});

test('one that never stops speaking is given up, too, when there is a longest time', async () => {
  const watch = watchSilence({ limitMs: 60_000, longestMs: 30, expired: (limitMs) => new Error(`after ${limitMs}`) });
  const speaking = setInterval(watch.heard, 1);
  await expect(watch.failed.finally(() => clearInterval(speaking))).rejects.toThrow('after 30');
  watch.stop();
});

test('the time that nobody asks for more does not count', async () => {
  const watch = watchSilence({ limitMs: 20, expired: () => new Error('silent') });
  watch.pause();
  const other = watchSilence({ limitMs: 60, expired: () => new Error('later') });
  await expect(Promise.race([watch.failed, other.failed])).rejects.toThrow('later');
  watch.heard();
  await expect(watch.failed).rejects.toThrow('silent');
});
