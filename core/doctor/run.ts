// Runs all checks at once and puts the report together.
import type { DoctorReport } from '../api.ts';
import type { PluginHost } from '../plugins/host.ts';
import type { PluginStatus } from '../plugin-api.ts';
import type { TaskStatus } from '../plugins/supervisor.ts';
import { runCheck } from './check.ts';
import type { Check, Finding } from './check.ts';

export interface DoctorOptions {
  readonly host: Pick<PluginHost, 'statuses' | 'checks' | 'tasks'>;
  /** From `createCoreChecks`. */
  readonly coreChecks: readonly Check[];
  readonly signal?: AbortSignal;
  /** Of each check. @default 5000 */
  readonly limitMs?: number;
}

const defaultLimitMs = 5000;

/** Checks of core, then states of plugins and tasks, then checks of plugins. `ok` when nothing failed. */
export async function runDoctor(options: DoctorOptions): Promise<DoctorReport> {
  const { host, signal, limitMs = defaultLimitMs } = options;
  const run = (checks: readonly Check[]): Promise<Finding[]> =>
    Promise.all(checks.map((check) => runCheck(check, { limitMs, ...(signal ? { signal } : {}) })));
  const bound = host.checks().map(({ plugin, check, config }): Check => ({
    plugin, name: check.name, run: (checkSignal) => check.run({ config, signal: checkSignal }),
  }));
  const [core, plugins] = await Promise.all([run(options.coreChecks), run(bound)]);
  const statuses = host.statuses();
  const checks = [...core, ...statuses.flatMap(stateFinding), ...host.tasks().flatMap(taskFinding), ...plugins];
  return { ok: checks.every((finding) => finding.level !== 'fail'), checks, plugins: statuses };
}

/** Active and disabled plugins are as they were meant to be. */
function stateFinding(status: PluginStatus): Finding[] {
  if (status.state !== 'failed' && status.state !== 'skipped') return [];
  const builtin = status.source === 'builtin';
  return [{
    name: `plugin ${status.name}`, plugin: status.name, level: status.state === 'failed' ? 'fail' : 'warn',
    detail: [`${status.state}: ${status.reason ?? 'no reason given'}`, ...(builtin ? [] : [`loaded from ${status.source}`])],
    ...(status.state === 'failed' ? { hint: builtin ? 'the daemon log has the whole error' : 'repair the plugin, or take it out of plugins.load' } : {}),
  }];
}

function taskFinding(task: TaskStatus): Finding[] {
  if (task.failures === 0) return [];
  return [{
    name: `task ${task.name}`, plugin: task.plugin, level: 'warn',
    detail: [`failed ${task.failures} times, last: ${task.lastError ?? 'unknown'}`, task.state === 'waiting' ? 'restarts after a pause' : 'runs again'],
    hint: 'the daemon log has the whole error',
  }];
}
