// What a dry run shows: everything that would go into the VM.
import { describePlan, escapeName } from '../../plugins/workspace/shared.ts';
import type { BootstrapPlan, HostPlan } from '../../plugins/workspace/shared.ts';

/** `bootstrap`: what would be set up, for a run that does so. */
export interface Shown { readonly plan: HostPlan; readonly bootstrap?: BootstrapPlan | undefined }

/** A line each: what goes where, every file, notices, what is set up. */
export function planText({ plan, bootstrap }: Shown): string {
  return [...describePlan(plan), ...(bootstrap?.summary ?? []).map((line) => `set up: ${line}`)].map((line) => `${line}\n`).join('');
}

/** The same as data. */
export function planData({ plan, bootstrap }: Shown): object {
  const untracked = new Set(plan.untracked);
  return {
    mode: plan.options.mode, hostPath: plan.repo.root, guestPath: plan.guestPath,
    ...(plan.headBranch === undefined ? {} : { branch: plan.headBranch }), ...(plan.headCommit === undefined ? {} : { head: plan.headCommit }),
    files: plan.files.map(({ path, kind, mode, size }) => ({
      ...nameData(path), kind, mode: mode.toString(8).padStart(4, '0'), size, ...(untracked.has(path) ? { untracked: true } : {}),
    })),
    submodules: plan.submodules.map(({ path }) => nameData(path)), notices: plan.notices, ...(bootstrap === undefined ? {} : { bootstrap: bootstrap.summary }),
  };
}

/** The name itself where it is UTF-8, else one to read, with its bytes beside it. `bytes`: latin1. */
export function nameData(bytes: string): { readonly path: string; readonly pathBase64?: string } {
  const raw = Buffer.from(bytes, 'latin1');
  const text = raw.toString('utf8');
  return raw.equals(Buffer.from(text, 'utf8')) ? { path: text } : { path: escapeName(bytes), pathBase64: raw.toString('base64') };
}
