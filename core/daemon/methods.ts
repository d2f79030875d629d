// Methods of the daemon itself: what it is, which plugins it has, how the host is.
import { z } from 'zod';
import type { CliSpec, DaemonStatus, DoctorReport, LeakReport, ReclaimResult } from '../api.ts';
import type { CallContext, PluginStatus, RpcMethod } from '../plugin-api.ts';
import type { MethodRegistry } from '../rpc/registry.ts';

export interface DaemonFacts {
  readonly version: string;
  readonly build: string;
  status(): DaemonStatus;
  plugins(): readonly PluginStatus[];
  cli(): CliSpec;
  doctor(signal: AbortSignal): Promise<DoctorReport>;
  leaks(signal: AbortSignal): Promise<LeakReport>;
  reclaim(call: CallContext): Promise<ReclaimResult>;
  /** Ends the daemon once the answer is out; VMs run on. */
  stop(): void;
}

const none = z.strictObject({});
/** Shapes are those of core/api.ts; they are made here, so the check at the door is that they are objects. */
const made = <T>(): z.ZodType<T> => z.custom<T>((value) => typeof value === 'object' && value !== null);

function read<T>(summary: string, handler: (call: CallContext) => Promise<T> | T): RpcMethod {
  return { summary, effect: 'read', params: none, result: made<T>(), handler: (_, call) => handler(call) };
}

/** Names of the methods that core registers, before plugins come. */
export const daemonMethodNames = ['ping', 'shutdown', 'daemon.status', 'plugin.list', 'plugin.cli', 'doctor.run', 'doctor.leaks', 'doctor.reclaim'] as const;

export function registerDaemonMethods(registry: MethodRegistry, facts: DaemonFacts): void {
  const methods: Record<(typeof daemonMethodNames)[number], RpcMethod> = {
    ping: read('Answers', () => ({ pid: process.pid, version: facts.version, build: facts.build })),
    shutdown: {
      summary: 'Ends the daemon; VMs run on',
      effect: 'write',
      params: none,
      result: z.strictObject({ pid: z.int() }),
      handler: () => {
        facts.stop();
        return { pid: process.pid };
      },
    },
    'daemon.status': read('Says what this daemon is and what it holds', () => facts.status()),
    'plugin.list': read('Lists plugins with their state, capabilities, methods and steps', () => ({ plugins: facts.plugins() })),
    'plugin.cli': read("Gives the flags and verbs of plugins as data, for the command line", () => facts.cli()),
    'doctor.run': read('Runs every check', (call) => facts.doctor(call.signal)),
    'doctor.leaks': read('Lists objects on the host that bear our mark and belong to nothing', (call) => facts.leaks(call.signal)),
    'doctor.reclaim': {
      summary: 'Retries undos that failed and removes what doctor.leaks lists',
      effect: 'write',
      operation: 'reclaim',
      params: none,
      result: made<ReclaimResult>(),
      handler: (_, call) => facts.reclaim(call as CallContext),
    },
  };
  for (const [name, method] of Object.entries(methods)) registry.register('core', name, method);
}
