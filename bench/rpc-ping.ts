// Calls `ping` on one connection against a server in a process of its own; prints one line of JSON.
// node bench/rpc-ping.ts [--window N] [--seconds N]: N calls are under way at a time (1: each waits for the one before).
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { nullLog } from '../core/log.ts';
import { connect } from '../core/rpc/client.ts';
import type { RpcClient } from '../core/rpc/client.ts';
import { createRegistry } from '../core/rpc/registry.ts';
import { createRpcServer } from '../core/rpc/server.ts';

const { values } = parseArgs({ options: { serve: { type: 'string' }, window: { type: 'string', default: '1' }, seconds: { type: 'string', default: '3' } } });
if (values.serve === undefined) await measure(Number(values.window), Number(values.seconds));
else await serve(values.serve);

async function serve(socketPath: string): Promise<void> {
  const registry = createRegistry();
  registry.register('bench', 'ping', {
    summary: 'Answers', effect: 'read', params: z.strictObject({}),
    result: z.strictObject({ pid: z.int(), version: z.string(), build: z.string() }),
    handler: () => ({ pid: process.pid, version: '0', build: 'bench' }),
  });
  registry.freeze();
  const server = createRpcServer({ registry, socketPath, log: nullLog, hello: { build: 'bench', version: '0', idle: () => true } });
  await server.listen();
  process.on('disconnect', () => void server.close());
  process.send?.('ready');
}

async function measure(window: number, seconds: number): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'banger-bench-'));
  const socketPath = join(dir, 's');
  const child = fork(import.meta.filename, ['--serve', socketPath]);
  await once(child, 'message');
  const client = await connect(socketPath);
  await pingFor(client, window, 0.5);
  const { took, elapsedMs } = await pingFor(client, window, seconds);
  client.close();
  child.disconnect();
  await once(child, 'exit');
  await rmdir(dir);
  took.sort((a, b) => a - b);
  const at = (share: number): number => Number((took[Math.floor((took.length - 1) * share)] as number).toFixed(3));
  console.log(JSON.stringify({ window, callsPerSecond: Math.round(took.length / elapsedMs * 1000), p50Ms: at(0.5), p99Ms: at(0.99) }));
}

async function pingFor(client: RpcClient, window: number, seconds: number): Promise<{ took: number[]; elapsedMs: number }> {
  const took: number[] = [];
  const began = performance.now();
  const until = began + seconds * 1000;
  const loop = async (): Promise<void> => {
    for (let at = performance.now(); at < until; at = performance.now()) {
      await client.call('ping', {});
      took.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: window }, loop));
  return { took, elapsedMs: performance.now() - began };
}
