// Background loops of plugins: restarted with growing pauses when they fail, ended at close, visible all the time.
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../clock.ts';
import type { Clock } from '../clock.ts';
import type { Logger } from '../plugin-api.ts';
import type { TaskRegistration } from './registrations.ts';

export interface TaskStatus {
  readonly plugin: string;
  readonly name: string;
  /** `waiting`: failed, and restarted after a pause. `done`: returned by itself. */
  readonly state: 'running' | 'waiting' | 'done';
  /** Since it last ran well. */
  readonly failures: number;
  readonly lastError?: string;
}
export interface Supervisor {
  start(task: TaskRegistration): void;
  statuses(): readonly TaskStatus[];
  /** Tells all loops to end, and waits for them. */
  close(): Promise<void>;
}

export interface SupervisorOptions {
  readonly log: Logger;
  readonly clock?: Clock;
  readonly firstPauseMs?: number;
  readonly longestPauseMs?: number;
}

type Mutable = { -readonly [K in keyof TaskStatus]: TaskStatus[K] };

export function createSupervisor(options: SupervisorOptions): Supervisor {
  const { log, clock = systemClock, firstPauseMs = 1000, longestPauseMs = 60_000 } = options;
  const control = new AbortController();
  const tasks: { readonly status: Mutable; readonly ended: Promise<void> }[] = [];

  const loop = async (task: TaskRegistration, status: Mutable): Promise<void> => {
    while (!control.signal.aborted) {
      const startedAt = clock.monotonicMs();
      try {
        await task.run(control.signal);
        status.state = 'done';
        return;
      } catch (error) {
        if (control.signal.aborted) return;
        // One that ran for a while has recovered since; its next failure begins a new series.
        if (clock.monotonicMs() - startedAt > longestPauseMs) status.failures = 0;
        const pauseMs = Math.min(firstPauseMs * 2 ** status.failures, longestPauseMs);
        status.failures += 1;
        status.state = 'waiting';
        status.lastError = error instanceof Error ? error.message : String(error);
        log.error({ plugin: task.plugin, task: task.name, err: error, pauseMs }, 'task failed and is restarted');
        // Aborted: the loop's condition ends it.
        await delay(pauseMs, undefined, { signal: control.signal }).catch(() => {});
        status.state = 'running';
      }
    }
  };

  return {
    start(task) {
      const status: Mutable = { plugin: task.plugin, name: task.name, state: 'running', failures: 0 };
      tasks.push({ status, ended: loop(task, status) });
    },
    statuses: () => tasks.map(({ status }) => ({ ...status })),
    async close() {
      control.abort();
      await Promise.all(tasks.map((task) => task.ended));
    },
  };
}
