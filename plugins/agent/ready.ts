// Step `agent.ready`: the VM has started when its agent has said so. And the stop step that asks the guest to power off.
import type { Step, StopStep } from '../../core/plugin-api.ts';
import type { AgentLinks } from './guest-agent.ts';

export type ReadyHandle = { readonly bootId: string };

export function readyStep(agent: AgentLinks, timeoutMs: number): Step<null, ReadyHandle> {
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
    },
  };
}

export function shutdownStep(agent: AgentLinks, timeoutMs: number): StopStep {
  return {
    name: 'agent.shutdown',
    timeoutMs,
    run: ({ vm, signal }) => agent.shutdown(vm, 'poweroff', signal),
  };
}
