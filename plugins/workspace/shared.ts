// What the command line uses of this plugin without a daemon.
export { createGit } from './host/git.ts';
export { describePlan } from './host/describe.ts';
export { escapeName } from './host/escape.ts';
export { openRepository } from './host/repository.ts';
export { planWorkspace } from './host/plan.ts';
export type { HostPlan, PlanOptions, WorkFile } from './host/plan.ts';
export type { Repository } from './host/repository.ts';
export { bootstrapLog, bootstrapScript, needsNetworkRefusal, planBootstrap } from './bootstrap.ts';
export type { BootstrapPlan } from './bootstrap.ts';
export { applyWork } from './back/apply.ts';
export type { Applied } from './back/apply.ts';
export { diffArgs } from './back/diff.ts';
export { dropWork } from './back/drop.ts';
export { listWork, resolveWork } from './back/list.ts';
export type { KeptWork } from './back/list.ts';
