// Changes a VM's spec: CPU count and memory at the next start, plugin sections through their plugin's seam.
import type { VmView } from '../api.ts';
import { badRequest, pluginFailed, isBangerError, timedOut } from '../errors.ts';
import { bound } from '../lifecycle/deadline.ts';
import type { ReconfigureRegistration } from '../lifecycle/registrations.ts';
import { isDeepStrictEqual } from 'node:util';
import type { CallContext, Change, Vm, VmSpec } from '../plugin-api.ts';
import { liveProcess, underLock } from './context.ts';
import type { VmContext } from './context.ts';
import { mergeSections, parseSections } from './sections.ts';
import { sizeIssues } from './spec.ts';
import { viewOf } from './view.ts';

export interface VmSetParams {
  readonly ref: string;
  readonly vcpu?: number | undefined;
  readonly memoryMiB?: number | undefined;
  readonly sections?: Readonly<Record<string, unknown>> | undefined;
}

const reconfigureLimitMs = 30_000;

/** @throws bad_request with every wrong field; whatever a plugin refuses a change with */
export function setVm(ctx: VmContext, params: VmSetParams, call: CallContext): Promise<VmView> {
  return underLock(ctx, { ref: params.ref, verb: 'vm.set', call }, async (record) => {
    const before = record.spec;
    const named = params.sections ?? {};
    // Only what was named is parsed: a section of a plugin that is disabled now stays as it is.
    const merged = mergeSections(before.sections, named);
    const { sections, issues } = parseSections(
      ctx.sections.filter(({ plugin }) => plugin in named), Object.fromEntries(Object.keys(named).map((plugin) => [plugin, merged[plugin]])));
    const all = [...sizeIssues(params), ...issues];
    if (all.length > 0) throw badRequest(all, 'change');
    const after: VmSpec = {
      ...before, vcpu: params.vcpu ?? before.vcpu, memoryMiB: params.memoryMiB ?? before.memoryMiB, sections: { ...before.sections, ...sections },
    };
    const running = record.published && liveProcess(ctx, record.id) !== undefined;
    const changed = Object.keys(sections).filter((plugin) => !isDeepStrictEqual(before.sections[plugin], sections[plugin]));
    await apply(ctx, { vm: ctx.toVm({ ...record, spec: after }), change: { before, after, running }, changed }, call);
    ctx.store.vms.update(record.id, { spec: after });
    return viewOf(ctx, ctx.store.vms.get(record.id) ?? record);
  });
}

interface Applied { readonly vm: Vm; readonly change: Change; readonly changed: readonly string[] }

/** All plugins agree, or those that had are told to go back. */
async function apply(ctx: VmContext, { vm, change, changed }: Applied, call: CallContext): Promise<void> {
  const done: ReconfigureRegistration[] = [];
  for (const registration of ctx.reconfigurers.filter(({ plugin }) => changed.includes(plugin))) {
    try {
      await reconfigure(registration, { vm, change }, call);
      done.push(registration);
    } catch (error) {
      const back: Change = { before: change.after, after: change.before, running: change.running };
      for (const earlier of done.reverse()) {
        await reconfigure(earlier, { vm: { ...vm, spec: change.before }, change: back }, call).catch((undoError: unknown) => {
          call.log.error({ err: undoError, plugin: earlier.plugin, vm: vm.name }, 'taking a change back failed');
        });
      }
      throw error;
    }
  }
}

async function reconfigure({ plugin, name, fn }: ReconfigureRegistration, { vm, change }: Omit<Applied, 'changed'>, call: CallContext): Promise<void> {
  const log = call.log.child({ plugin, vm: vm.name });
  const outcome = await bound(
    { limitMs: reconfigureLimitMs, expired: () => timedOut(`${name} of ${vm.name}`, reconfigureLimitMs) },
    (signal) => fn(vm, change, { vm, signal, log, reason: 'stop' }));
  if (outcome.kind === 'returned') return;
  throw isBangerError(outcome.error) ? outcome.error : pluginFailed(plugin, name, outcome.error);
}
