// Shared by the benches: medians, interleaved pairs, one JSON document out.
import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';

export interface Summary { readonly runs: number; readonly minMs: number; readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number }
export interface PairResult {
  readonly subject: Summary;
  readonly baseline: Summary;
  /** Median of the ratios subject/baseline, pair by pair. */
  readonly ratio: number;
  readonly ratioMin: number;
  readonly ratioMax: number;
}

const round = (value: number): number => Math.round(value * 1000) / 1000;
const quantile = (sorted: readonly number[], q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;

export function summarize(ms: readonly number[]): Summary {
  const sorted = ms.toSorted((a, b) => a - b);
  return { runs: sorted.length, minMs: round(sorted[0] ?? Number.NaN), p50Ms: round(quantile(sorted, 0.5)), p99Ms: round(quantile(sorted, 0.99)), maxMs: round(sorted.at(-1) ?? Number.NaN) };
}

/** Milliseconds that `work` took, or what it measured itself. */
export async function timed(work: () => Promise<number | void> | number | void): Promise<number> {
  const began = performance.now();
  const own = await work();
  return typeof own === 'number' ? own : performance.now() - began;
}

/** Runs both in turn, A B B A …, so that drift of the machine hits both. One uncounted pair first. */
export async function pairs(count: number, subject: () => Promise<number | void>, baseline: () => Promise<number | void>): Promise<PairResult> {
  const a: number[] = [];
  const b: number[] = [];
  for (let n = -1; n < count; n += 1) {
    const first = n % 2 === 0 ? subject : baseline;
    const second = first === subject ? baseline : subject;
    const firstMs = await timed(first);
    const secondMs = await timed(second);
    if (n < 0) continue;
    a.push(first === subject ? firstMs : secondMs);
    b.push(first === subject ? secondMs : firstMs);
  }
  const ratios = a.map((ms, n) => ms / b[n]!).toSorted((x, y) => x - y);
  return { subject: summarize(a), baseline: summarize(b), ratio: round(quantile(ratios, 0.5)), ratioMin: round(ratios[0]!), ratioMax: round(ratios.at(-1)!) };
}

export async function repeat(count: number, work: () => Promise<number | void>): Promise<Summary> {
  await timed(work);
  const ms: number[] = [];
  for (let n = 0; n < count; n += 1) ms.push(await timed(work));
  return summarize(ms);
}

export function machine(): Record<string, unknown> {
  return {
    cpus: cpus().length, model: cpus()[0]?.model, memoryMiB: Math.round(totalmem() / 2 ** 20), node: process.version,
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim(), date: new Date().toISOString(),
  };
}

export function report(name: string, figures: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify({ bench: name, machine: machine(), ...figures })}\n`);
}
