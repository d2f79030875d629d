// How a copy is begun: the way it takes is the daemon's choice.
import { expect, test } from 'vitest';
import type { VmCopyDirect, VmCopyParams, VmCopyResult } from '../../core/api.ts';
import { badRequest, notFound } from '../../core/errors.ts';
import { StreamClient } from '../../test/support/stream-client.ts';
import type { Daemon } from '../daemon-link.ts';
import { openGuestEnd } from './guest-end.ts';

const way: VmCopyDirect = { socket: '/run/x.sock', hello: '0'.repeat(32), stallLimitMs: 1000, floorBytesPerSecond: 1024 };
const wish: VmCopyParams = { ref: 'one', direction: 'out', path: '/srv', direct: true };

function makeDaemon(answer: (params: VmCopyParams) => VmCopyResult) {
  const asked: VmCopyParams[] = [];
  const daemon = {
    call: (_method: string, params: VmCopyParams) => {
      asked.push(JSON.parse(JSON.stringify(params)) as VmCopyParams);
      return Promise.resolve().then(() => answer(params));
    },
    attach: () => Promise.resolve(new StreamClient().stream),
  } as unknown as Daemon;
  return { daemon, asked };
}
const open = (daemon: Daemon, params = wish) => openGuestEnd(daemon, params, () => undefined);

test.each([[{ ticket: 't', direct: way }, way], [{ ticket: 't' }, undefined]])('the way is the one that the daemon names (%j)', async (result, expected) => {
  const { daemon, asked } = makeDaemon(() => result);
  expect((await open(daemon)).direct).toEqual(expected);
  expect(asked).toEqual([wish]);
});

test('a daemon that does not know the direct way is asked without it', async () => {
  const { daemon, asked } = makeDaemon((params) => {
    if (params.direct !== undefined) throw badRequest([{ path: '', message: 'Unrecognized key: "direct"' }]);
    return { ticket: 't' };
  });
  expect((await open(daemon)).direct).toBe(undefined);
  expect(asked).toEqual([wish, { ref: 'one', direction: 'out', path: '/srv' }]);
});

test('what else is wrong is told, and asked once', async () => {
  const missing = makeDaemon(() => { throw notFound('VM', 'one'); });
  await expect(open(missing.daemon)).rejects.toMatchObject({ code: 'not_found' });
  expect(missing.asked.length).toBe(1);
  const { direct: _direct, ...plain } = wish;
  const wrong = makeDaemon(() => { throw badRequest([{ path: 'path', message: 'holds a NUL character' }]); });
  await expect(open(wrong.daemon, plain)).rejects.toMatchObject({ code: 'bad_request' });
  expect(wrong.asked.length).toBe(1);
});
