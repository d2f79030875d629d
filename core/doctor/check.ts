// One check, bounded: whatever it does, it becomes a finding.
import { withLimit } from '../dispose.ts';
import type { CheckResult } from '../plugin-api.ts';
import type { DoctorReport } from '../api.ts';

/** A check with its owner; a plugin's configuration is bound already. */
export interface Check {
  readonly name: string;
  /** Plugin name, or `core`. */
  readonly plugin: string;
  run(signal: AbortSignal): Promise<CheckResult> | CheckResult;
}
export type Finding = DoctorReport['checks'][number];

const levels: readonly string[] = ['pass', 'warn', 'fail'];

/** Never rejects: a check that throws, hangs, or answers nonsense is a `fail`. `signal` is the caller's. */
export async function runCheck(check: Check, options: { readonly limitMs: number; readonly signal?: AbortSignal }): Promise<Finding> {
  const own = new AbortController();
  const signal = options.signal ? AbortSignal.any([own.signal, options.signal]) : own.signal;
  const base = { name: check.name, plugin: check.plugin };
  try {
    const result = await withLimit(() => check.run(signal), { limitMs: options.limitMs, what: `check ${check.name}` });
    if (!levels.includes(result.level) || !Array.isArray(result.detail)) throw new TypeError('The check gave no level or no detail');
    return { ...base, level: result.level, detail: result.detail.map(String), ...(result.hint === undefined ? {} : { hint: result.hint }) };
  } catch (error) {
    const { message = String(error), hint } = error as { message?: string; hint?: string };
    return { ...base, level: 'fail', detail: [message], ...(hint === undefined ? {} : { hint }) };
  } finally {
    own.abort();
  }
}
