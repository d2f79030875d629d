import type { DoctorCheck } from '../../core/plugin-api.ts';
import { formatDuration } from './duration.ts';
import type { StatsConfig } from './schema.ts';
import type { Watch } from './watch.ts';

/** What a check needs of the running plugin; filled by `setup`. */
export interface CheckRuntime { watch?: Watch; metricsUrl?: string; metricsProblem?: string | undefined }

export function statsChecks(runtime: CheckRuntime): readonly DoctorCheck<StatsConfig>[] {
  return [{
    name: 'stats',
    async run({ config }) {
      const { watch, metricsUrl, metricsProblem } = runtime;
      if (watch === undefined) return { level: 'fail', detail: ['the poll has not been set up'] };
      const round = watch.lastRound;
      const silent = watch.all().filter((watched) => watched.failures > 0).map((watched) => `${watched.vm.name}: ${watched.problem ?? 'no answer'}`);
      const detail = [
        `every ${formatDuration(config.poll_interval)}${round === undefined ? '' : `, the last one: ${round.running} running, ${Math.ceil(round.tookMs)} ms`}`,
        ...silent.slice(0, 10), ...(silent.length > 10 ? [`${silent.length - 10} more guests do not answer`] : []),
        ...(config.auto_stop_stale_after === 0 ? [] : [`a VM that is unused for ${formatDuration(config.auto_stop_stale_after)} is stopped`]),
        ...(metricsUrl === undefined ? [] : [`metrics at ${metricsUrl}`]), ...(metricsProblem === undefined ? [] : [metricsProblem]),
      ];
      if (metricsProblem !== undefined) return { level: 'fail', detail, hint: 'see metrics_listen in [plugins.stats]' };
      return { level: silent.length > 0 ? 'warn' : 'pass', detail };
    },
  }];
}
