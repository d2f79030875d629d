// Everything a start will do, decided before anything is done.
import { isBangerError, pluginFailed } from '../errors.ts';
import type { Contributions, GuestPatch, MachineSpec, Plan, Vm } from '../plugin-api.ts';
import type { Json, Logger } from '../plugin-api.ts';
import { inStartOrder } from './phases.ts';
import type { ContributionRegistration, StepRegistration } from './registrations.ts';

export interface PlannedStep { readonly registration: StepRegistration; readonly plan: Plan<Json> }
export interface StartPlan {
  readonly machine: MachineSpec;
  readonly guest: GuestPatch;
  /** Steps with something to do, in start order. */
  readonly steps: readonly PlannedStep[];
}
export interface PlannerDeps {
  readonly steps: readonly StepRegistration[];
  readonly contributions: readonly ContributionRegistration[];
  /** Machine and guest before any plugin added to them. */
  readonly base: (vm: Vm) => Promise<Contributions>;
  readonly log: Logger;
}

/**
 * Asks every step for its plan and folds all contributions. Touches nothing.
 *
 * @throws plugin_failed when a plugin's plan fails with anything but a BangerError, or when not exactly one step would start the VMM.
 */
export async function planStart(deps: PlannerDeps, vm: Vm): Promise<StartPlan> {
  const steps: PlannedStep[] = [];
  for (const registration of inStartOrder(deps.steps)) {
    const { plugin, step } = registration;
    const plan = await guard(plugin, `plan of ${step.name}`,
      () => step.plan({ vm, log: deps.log.child({ plugin, vm: vm.name }) }));
    if (plan !== undefined) steps.push({ registration, plan });
  }
  const lifelines = steps.filter(({ registration }) => registration.step.lifeline === true);
  if (lifelines.length !== 1) {
    const names = lifelines.map(({ registration }) => registration.step.name).join(', ') || 'none does';
    throw pluginFailed(vm.spec.driver, `exactly one step must start VM ${vm.name} (${names})`);
  }
  return { ...await fold(deps, vm), steps };
}

async function fold(deps: PlannerDeps, vm: Vm): Promise<Contributions> {
  const value = { ...await deps.base(vm) };
  for (const contribution of deps.contributions) {
    const { plugin, name } = contribution;
    const ctx = { vm, log: deps.log.child({ plugin, vm: vm.name }) };
    await guard(plugin, `contribution ${name}`, async () => {
      if (contribution.to === 'machine') value.machine = await contribution.fn(value.machine, ctx);
      else value.guest = await contribution.fn(value.guest, ctx);
    });
  }
  return value;
}

async function guard<T>(plugin: string, what: string, fn: () => Promise<T> | T): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    // A BangerError was meant for the person: a port taken twice, a missing tool.
    throw isBangerError(error) ? error : pluginFailed(plugin, what, error);
  }
}
