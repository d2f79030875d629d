import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { hostAgent, testVm } from '../testing/host-agent.ts';
import { endWhenSilent } from './silence.ts';

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
