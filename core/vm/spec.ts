// From the params of a creation to a VM spec: everything that can be refused is refused before anything is made.
import { availableParallelism, totalmem } from 'node:os';
import type { VmCreateParams } from '../api.ts';
import type { EnsureContext, Image, Kernel } from '../capabilities.ts';
import { maxVcpu, minMemoryMiB } from '../config/schema.ts';
import { didYouMean } from '../config/suggest.ts';
import { badRequest, cancelled, isBangerError, missingRequirement } from '../errors.ts';
import type { Issue } from '../errors.ts';
import { nameIssues } from '../names.ts';
import type { VmSpec } from '../plugin-api.ts';
import type { VmContext } from './context.ts';
import { parseSections } from './sections.ts';

/** Guests may have more CPUs than the host, within reason: tests of parallel programs want that. */
const vcpuFactor = 4;

/** Everything but what image, kernel and driver become. */
export type CheckedSpec = Omit<VmSpec, 'image' | 'imageName' | 'kernel' | 'driver'>;

export interface HostLimits { readonly vcpu: number; readonly memoryMiB: number }

export function hostLimits(): HostLimits {
  return { vcpu: Math.min(maxVcpu, Math.max(8, availableParallelism() * vcpuFactor)), memoryMiB: Math.floor(totalmem() / 1024 ** 2) };
}

/** What is wrong with CPU count and memory. */
export function sizeIssues(size: { readonly vcpu?: number | undefined; readonly memoryMiB?: number | undefined }, limits: HostLimits = hostLimits()): Issue[] {
  const issues: Issue[] = [];
  const check = (path: string, value: number | undefined, range: { readonly min: number; readonly max: number }): void => {
    if (value === undefined) return;
    if (!Number.isInteger(value)) issues.push({ path, message: `must be a whole number, is ${value}` });
    else if (value < range.min || value > range.max) issues.push({ path, message: `must be ${range.min} to ${range.max} on this host, is ${value}` });
  };
  check('vcpu', size.vcpu, { min: 1, max: limits.vcpu });
  check('memoryMiB', size.memoryMiB, { min: minMemoryMiB, max: limits.memoryMiB });
  return issues;
}

/**
 * Validates params and fills in defaults.
 *
 * @throws bad_request with every wrong field
 */
export function checkSpec(ctx: VmContext, params: VmCreateParams): CheckedSpec {
  const vcpu = params.vcpu ?? ctx.defaults.vcpu;
  const memoryMiB = params.memoryMiB ?? ctx.defaults.memoryMiB;
  const { sections, issues: sectionIssues } = parseSections(ctx.sections, params.sections ?? {});
  const env = params.env ?? {};
  const drivers = [...ctx.drivers().keys()];
  const issues: Issue[] = [
    ...(params.name === undefined ? [] : nameIssues(params.name)),
    ...sizeIssues({ vcpu, memoryMiB }),
    ...envIssues(env),
    ...(params.driver !== undefined && !drivers.includes(params.driver)
      ? [{ path: 'driver', message: `no plugin drives ${params.driver}${didYouMean(params.driver, drivers)}` }] : []),
    ...sectionIssues,
  ];
  if (issues.length > 0) throw badRequest(issues, 'VM');
  return { vcpu, memoryMiB, init: params.init ?? ctx.defaults.init, env, sections };
}

function envIssues(env: Readonly<Record<string, string>>): Issue[] {
  return Object.entries(env).flatMap(([name, value]) => {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return [{ path: `env.${name}`, message: 'is not a name for an environment variable' }];
    return value.includes('\0') ? [{ path: `env.${name}`, message: 'must not hold a zero byte' }] : [];
  });
}

/**
 * The driver asked for, or the best that works here.
 *
 * @throws missing_requirement with each driver's reason
 */
export async function chooseDriver(ctx: VmContext, wanted: string | undefined): Promise<string> {
  const drivers = [...ctx.drivers()].filter(([name]) => wanted === undefined || name === wanted);
  const answers = await Promise.all(drivers.map(async ([name, driver]) => ({ name, ...await driver.available() })));
  const best = answers.filter(({ ok }) => ok).sort((a, b) => b.preference - a.preference)[0];
  if (best !== undefined) return best.name;
  const reasons = answers.map(({ name, reason }) => `${name}: ${reason ?? 'not available'}`).join('; ') || wanted || 'no driver is active';
  throw missingRequirement(`No VMM can run on this host (${reasons})`, 'banger doctor shows what is missing');
}

/** Image and kernel, local or made now. Takes no lock: a pull may last minutes. */
export async function ensureParts(ctx: VmContext, params: VmCreateParams, call: EnsureContext): Promise<{ readonly image: Image; readonly kernel: Kernel }> {
  const image = await ctx.images().ensure(params.image ?? ctx.defaults.image, call);
  const kernel = await ctx.kernels().ensure(params.kernel ?? ctx.defaults.kernel, call);
  return { image, kernel };
}

/**
 * Image and kernel as `ensureParts` would give, without making anything.
 *
 * @throws not_found; missing_requirement when one would have to be made first
 */
export async function findParts(ctx: VmContext, params: VmCreateParams): Promise<{ readonly image: Image; readonly kernel: Kernel }> {
  const imageRef = params.image ?? ctx.defaults.image;
  const kernelRef = params.kernel ?? ctx.defaults.kernel;
  const image = await findLocal(ctx.images(), imageRef);
  if (image === undefined) throw notHereYet('image', imageRef);
  const kernel = await findLocal(ctx.kernels(), kernelRef);
  if (kernel === undefined) throw notHereYet('kernel', kernelRef);
  return { image, kernel };
}

interface Local<T> {
  ensure(ref: string | undefined, ctx: EnsureContext): Promise<T>;
  find?(ref: string | undefined): Promise<T | undefined>;
}

async function findLocal<T>(parts: Local<T>, ref: string | undefined): Promise<T | undefined> {
  if (parts.find !== undefined) return parts.find(ref);
  try {
    // An `ensure` that was cancelled beforehand gives what is there and begins nothing.
    return await parts.ensure(ref, { opId: 'op-plan', signal: AbortSignal.abort(cancelled('Making a plan')), stage: () => undefined });
  } catch (error) {
    if (isBangerError(error) && error.code === 'cancelled') return undefined;
    throw error;
  }
}

function notHereYet(what: string, ref: string | undefined): Error {
  return missingRequirement(`The ${what} ${ref ?? 'of new VMs'} is not on this host yet, and a plan makes nothing`, `banger ${what} pull${ref === undefined ? '' : ` ${ref}`}`);
}
