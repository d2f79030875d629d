import { createServer } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { operationFailed } from '../../core/plugin-api.ts';
import type { HostInfo, Logger, UndoContext, Vm } from '../../core/plugin-api.ts';
import { createForwards } from './forwards.ts';
import { publishStep } from './publish.ts';

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const address = `127.37.${process.pid >> 8 & 255}.${process.pid & 255}`;
const host = { uid: 1, installId: 'a1b2c3d4' } as HostInfo;

async function listen(): Promise<{ readonly port: number; free(): Promise<unknown> }> {
  const server = createServer();
  onTestFinished(() => { server.close(); });
  await new Promise<void>((resolve) => { server.listen(0, address, resolve); });
  return { port: (server.address() as { port: number }).port, free: () => new Promise((resolve) => { server.close(resolve); }) };
}

test('a new daemon publishes all that can be had again, and says what cannot', async () => {
  const [first, taken, last] = [await listen(), await listen(), await listen()];
  for (const one of [first, last]) await one.free();
  const publish = [first, taken, last].map(({ port }) => `${address}:${port}:80`);
  const vm = { id: 'devbox000000', name: 'devbox', slot: 1, spec: { sections: { usernet: { publish } } } } as unknown as Vm;
  const forwards = createForwards({
    agent: { exec: () => Promise.reject(operationFailed('no')), dial: () => Promise.reject(operationFailed('no')) },
    use: { touch() {}, hold: () => () => undefined }, log, address: () => address, firstOpenPort: () => 0,
  });
  onTestFinished(() => forwards.closeAll());
  const notes: string[] = [];
  const step = publishStep({ host, forwards, vms: { note: (id, text) => { notes.push(`${id} ${text}`); } } });
  const ctx: UndoContext = { vm, log, signal: AbortSignal.timeout(10_000), reason: 'recover' };
  const ports = (): number[] => forwards.list(vm).map(({ hostPort }) => hostPort);
  await step.adopt?.(ctx, { listeners: [] }, null);
  expect(ports()).toEqual([first.port, last.port]);
  expect(notes).toEqual([expect.stringMatching(`^devbox000000 not published: Port ${address}:${taken.port} is busy: .* \\(pid ${process.pid}\\) listens there; banger vm restart tries again$`)]);
  await taken.free();
  await step.adopt?.(ctx, { listeners: [] }, null);
  expect([ports().toSorted((a, b) => a - b), notes.length]).toEqual([[first, taken, last].map(({ port }) => port).toSorted((a, b) => a - b), 1]);
});
