// `--plan`: what a creation would do, without a row, a file or a process.
import type { VmCreateParams, VmPlanResult } from '../api.ts';
import { alreadyExists } from '../errors.ts';
import { createVmId } from '../ids.ts';
import { generateName } from '../names.ts';
import { nowIso } from './context.ts';
import type { VmContext } from './context.ts';
import { checkSpec, chooseDriver, findParts } from './spec.ts';

/** @throws as a creation would before it makes anything; missing_requirement when image or kernel are not on this host */
export async function planVm(ctx: VmContext, params: VmCreateParams): Promise<VmPlanResult> {
  const checked = checkSpec(ctx, params);
  const isTaken = (name: string): boolean => ctx.store.vms.getByName(name) !== undefined;
  const name = params.name ?? generateName(isTaken);
  if (isTaken(name)) throw alreadyExists('VM', name);
  const driver = await chooseDriver(ctx, params.driver ?? ctx.defaults.driver);
  const { image, kernel } = await findParts(ctx, params);
  const { steps } = await ctx.lifecycle.plan(ctx.toVm({
    id: createVmId(), name, slot: ctx.store.vms.freeSlot(), createdAt: nowIso(ctx), lease: false, published: false, reboots: 0,
    spec: { ...checked, image: image.id, imageName: image.name, kernel: kernel.id, driver },
  }));
  return {
    vm: { name },
    steps: steps.map(({ registration: { plugin, step }, plan }) => ({
      name: step.name, plugin, phase: step.phase, makes: plan.makes, ...(plan.needsRoot === undefined ? {} : { needsRoot: plan.needsRoot }),
    })),
  };
}
