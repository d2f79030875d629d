// Step `agent.ready`: the VM has started when its agent has said so. And the stop step that asks the guest to power off.
import { timedOut } from '../../core/plugin-api.ts';
import type { Step, StopStep, Vm } from '../../core/plugin-api.ts';
import type { AgentLinks } from './guest-agent.ts';

export type ReadyHandle = { readonly bootId: string };

/** `adopted`: told of each VM that was there before the daemon. */
export function readyStep(agent: AgentLinks, timeoutMs: number, adopted: (vm: Vm) => void = () => undefined): Step<null, ReadyHandle> {
  return {
    name: 'agent.ready',
    phase: 'ready',
    timeoutMs,
    plan: ({ vm }) => ({ data: null, makes: [`session with the guest agent of ${vm.name}`] }),
    async run(ctx) {
      ctx.waitingFor(`guest agent of ${ctx.vm.name}`);
      const info = await agent.ready(ctx.vm, ctx.signal);
      await ctx.touched();
      return { bootId: info.bootId };
    },
    undo({ vm }) {
      agent.close(vm.id);
      return Promise.resolve();
    },
    async adopt({ vm }, _plan, handle) {
      await agent.attach(vm, handle.bootId);
      // The host may have slept while no daemon ran.
      adopted(vm);
    },
  };
}

/**
 * Asks the guest to power off. An agent that does not say within `acknowledgeMs` that it will, fails the step, so that a frozen
 * guest does not hold up the stop for `timeoutMs`.
 */
export function shutdownStep(agent: Pick<AgentLinks, 'shutdown'>, { timeoutMs, acknowledgeMs }: { readonly timeoutMs: number; readonly acknowledgeMs: number }): StopStep {
  return {
    name: 'agent.shutdown',
    timeoutMs,
    async run({ vm, signal }) {
      const silence = AbortSignal.timeout(acknowledgeMs);
      try {
        await agent.shutdown(vm, 'poweroff', AbortSignal.any([signal, silence]));
      } catch (error) {
        if (silence.aborted && !signal.aborted) throw timedOut(`answer of the guest agent of ${vm.name}`, acknowledgeMs);
        throw error;
      }
    },
  };
}
