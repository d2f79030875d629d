// A plan in words, for --dry-run.
import { toBytes } from './bytes.ts';
import { escapeName } from './escape.ts';
import type { HostPlan } from './types.ts';

/** Lines of a plan: what goes where, then every file, then the notices. All of it is safe to print. */
export function describePlan(plan: HostPlan): readonly string[] {
  const bytes = plan.files.reduce((sum, file) => sum + file.size, 0);
  const count = `${plan.files.length} ${plan.files.length === 1 ? 'file' : 'files'}, ${bytes} ${bytes === 1 ? 'byte' : 'bytes'}`;
  const text = (value: string): string => escapeName(toBytes(value));
  return [
    `repository  ${text(plan.repo.root)}`,
    `guest path  ${text(plan.guestPath)}`,
    `mode        ${plan.options.mode}`,
    `head        ${plan.headCommit ?? 'no commit yet'}`,
    `branch      ${plan.headBranch === undefined ? 'none, HEAD is detached' : text(plan.headBranch)}`,
    ...plan.submodules.map(({ path, repo }) => `submodule   ${escapeName(path)} at ${repo.head.commit ?? 'no commit yet'}`),
    `files       ${count}`,
    ...plan.files.map(({ path }) => `  ${escapeName(path)}`),
    ...plan.notices.map((notice) => `notice: ${notice}`),
  ];
}
