// Makes a VM startable again, or says what is lost. Idempotent: what is right already is left alone.
import { stat } from 'node:fs/promises';
import type { VmRecoverResult } from '../api.ts';
import type { RecoveryContext, RecoveryFinding, VmEnd, VmRecovery } from '../capabilities.ts';
import { badRequest, isBangerError, isExpected, timedOut, wrongState } from '../errors.ts';
import { bound } from '../lifecycle/deadline.ts';
import { isOfOneRun } from '../lifecycle/settle.ts';
import type { CallContext, Vm } from '../plugin-api.ts';
import type { VmRecord } from '../store/vms.ts';
import { liveProcess, underLock } from './context.ts';
import type { VmContext } from './context.ts';
import { foundEnd } from './end.ts';
import { viewOf } from './view.ts';

/** A check reads a whole disk; a disk may have terabytes. */
const pluginLimitMs = 15 * 60_000;

/** Finishes what a teardown left, looks at everything a start needs, and forgets the last error when nothing is in its way. @throws wrong_state while it runs */
export async function recoverVm(
  ctx: VmContext, params: { readonly ref: string; readonly reset?: readonly string[] | undefined }, call: CallContext): Promise<VmRecoverResult> {
  const reset = params.reset ?? [];
  requireResets(ctx, reset);
  return underLock(ctx, { ref: params.ref, verb: 'vm.recover', call }, async (record) => {
    if (liveProcess(ctx, record.id) !== undefined) throw wrongState(record.name, viewOf(ctx, record).state, 'stopped');
    const vm = ctx.toVm(record);
    const findings = [...await finishTeardown(ctx, record, call), ...await checkParts(ctx, vm), ...await askPlugins(ctx, { vm, reset }, call)];
    const startable = findings.every(({ state }) => state !== 'broken');
    if (startable) ctx.store.vms.update(record.id, { lastError: undefined });
    return { vm: viewOf(ctx, ctx.store.vms.get(record.id) ?? record), startable, findings };
  });
}

/** @throws bad_request naming what can be asked for */
function requireResets(ctx: VmContext, reset: readonly string[]): void {
  const known = [...ctx.recoveries().values()].flatMap(({ resets }) => Object.entries(resets));
  const issues = reset.flatMap((word, index) => known.some(([name]) => name === word) ? [] : [{
    path: `reset[${index}]`, message: `must be one of ${known.map(([name, lost]) => `${name} (loses ${lost})`).join(', ') || 'nothing: no plugin has any'}, is ${JSON.stringify(word)}`,
  }]);
  if (issues.length > 0) throw badRequest(issues, 'recover');
}

/** What `reclaim` does, for one VM; and what the watcher does about one whose process is gone. */
async function finishTeardown(ctx: VmContext, record: VmRecord, call: CallContext): Promise<RecoveryFinding[]> {
  const rows = ctx.store.ledger.byOwner(`vm:${record.id}`).filter(isOfOneRun);
  if (rows.length === 0 && record.activity === undefined && !record.published) return [];
  call.stage('undo', `undoing what is left of ${record.name}`);
  const endReason = (): VmEnd => foundEnd(record, ctx.registry.takeEnd(record.id), 'vmm-died');
  const problems = await ctx.lifecycle.stop(record, { reason: 'reclaim', opId: call.opId, log: call.log, endReason });
  if (problems.length === 0) return [{ subject: 'teardown', state: 'repaired', text: `was not finished: undone now: ${rows.map(({ step }) => step).join(', ') || 'nothing was left'}` }];
  return problems.map(({ step, message }) => ({
    subject: 'teardown', state: 'broken', text: `${step} cannot be undone: ${message}`, hint: 'banger doctor --leaks names what is left; then recover again',
  }));
}

/** Image and kernel as the VM was made from them: no other will do. */
async function checkParts(ctx: VmContext, { name, spec }: Vm): Promise<RecoveryFinding[]> {
  return [
    await checkPart({
      subject: 'image', text: `${spec.imageName} (${spec.image})`, files: async () => [(await ctx.images().get(spec.image)).rootfsPath],
      hint: `banger image pull ${spec.imageName} gets it where its source still has this very one; else banger vm delete ${name}, and make it anew`,
    }),
    await checkPart({
      subject: 'kernel', text: spec.kernel,
      files: async () => { const kernel = await ctx.kernels().get(spec.kernel); return [kernel.kernelPath, kernel.initrdPath]; },
      hint: 'banger kernel pull gets it where its source still has this very one; banger kernel list shows those that are here',
    }),
  ];
}

interface Part { readonly subject: string; readonly text: string; readonly hint: string; readonly files: () => Promise<readonly string[]> }

async function checkPart({ subject, text, hint, files }: Part): Promise<RecoveryFinding> {
  try {
    for (const path of await files()) await stat(path);
    return { subject, state: 'ok', text };
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT' ? (error as NodeJS.ErrnoException).path : undefined;
    return { subject, state: 'broken', text: missing === undefined ? `${text}: ${messageOf(error)}` : `${text}: ${missing} is gone`, hint };
  }
}

async function askPlugins(ctx: VmContext, { vm, reset }: { vm: Vm; reset: readonly string[] }, call: CallContext): Promise<RecoveryFinding[]> {
  const made = ctx.store.ledger.byOwner(`vm:${vm.id}`).filter(({ lifetime, state }) => lifetime === 'vm' && state === 'done').map(({ step }) => step);
  const findings: RecoveryFinding[] = [];
  for (const [plugin, recovery] of ctx.recoveries()) {
    call.stage(plugin, `looking at what ${plugin} keeps of ${vm.name}`);
    const outcome = await bound(
      { limitMs: pluginLimitMs, signal: call.signal, expired: () => timedOut(`${plugin} to look after ${vm.name}`, pluginLimitMs) },
      (signal) => askPlugin(recovery, { vm, reset }, { made, signal, log: call.log.child({ plugin, vm: vm.name }) }));
    if (call.signal.aborted) throw call.signal.reason;
    if (outcome.kind === 'returned') findings.push(...outcome.value);
    else {
      call.log.error({ err: outcome.error, plugin, vm: vm.name }, 'looking after a VM failed');
      findings.push({ subject: plugin, state: reset.some((word) => word in recovery.resets) ? 'broken' : 'unknown', text: messageOf(outcome.error) });
    }
  }
  return findings;
}

async function askPlugin(recovery: VmRecovery, { vm, reset }: { vm: Vm; reset: readonly string[] }, ctx: RecoveryContext): Promise<readonly RecoveryFinding[]> {
  const own = reset.filter((word) => word in recovery.resets);
  const found = own.length > 0 ? [] : await recovery.check(vm, ctx);
  return own.length === 0 && found.every(({ state }) => state === 'ok') ? found : recovery.repair(vm, { reset: own }, ctx);
}

function messageOf(error: unknown): string {
  return isBangerError(error) && isExpected(error.code) ? error.message : 'internal error; the daemon\'s log says more';
}
