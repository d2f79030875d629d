// The metrics' listener as a task: it ends with the daemon; a port that is taken is tried again by the task's supervisor, and doctor says so.
import { once } from 'node:events';
import type { CheckRuntime } from '../checks.ts';
import { listenForMetrics } from './listener.ts';
import type { ListenerOptions } from './listener.ts';

/** @throws as `listenForMetrics` */
export async function serveMetrics(options: ListenerOptions, runtime: CheckRuntime, signal: AbortSignal): Promise<void> {
  const { host, port } = options.address;
  try {
    const listener = await listenForMetrics(options);
    runtime.metricsProblem = undefined;
    runtime.metricsUrl = `http://${host.includes(':') ? `[${host}]` : host}:${port}/metrics`;
    if (!signal.aborted) await once(signal, 'abort');
    await listener.close();
  } catch (error) {
    runtime.metricsProblem = error instanceof Error ? error.message : String(error);
    throw error;
  } finally {
    delete runtime.metricsUrl;
  }
}
