// The repository that `vm run` and `vm workspace prepare` are told of: looked at here, before any VM is made for it.
import { statSync } from 'node:fs';
import type { WorkspacePrepareParams } from '../../core/api.ts';
import type { BootstrapPlan, HostPlan } from '../../plugins/workspace/shared.ts';
import type { CommandContext } from '../command.ts';
import { usageError } from '../parse.ts';
import { jsonText } from '../render/json.ts';
import { absolutePath, prepareParams, workspaceOptions } from './options.ts';

export interface Source {
  readonly plan: HostPlan;
  /** What is to be set up in the guest; absent when there is nothing, or it is not wished. */
  readonly bootstrap: BootstrapPlan | undefined;
  params(ref: string): WorkspacePrepareParams;
}

/** @throws bad_request and others for what cannot go into a VM */
export async function planSource({ flags }: CommandContext, word: string, wish: { readonly bootstrap: boolean }): Promise<Source> {
  const options = workspaceOptions(flags);
  const path = absolutePath(word);
  if (statSync(path, { throwIfNoEntry: false }) === undefined) throw usageError(`Path ${word} does not exist`, 'a command comes after --');
  const host = await import('./host.ts');
  const plan = await host.planWorkspace(host.exec, path, options);
  const bootstrap = wish.bootstrap ? await host.planBootstrap(plan.repo.root, plan.files.map((file) => file.path)) : undefined;
  const refusal = host.needsNetworkRefusal(bootstrap, flags.value('network') !== 'none');
  if (refusal) throw refusal;
  return { plan, bootstrap, params: (ref) => prepareParams(ref, path, options) };
}

/** What a dry run prints; answers the exit code. */
export async function showSource({ flags, io }: CommandContext, source: Source): Promise<number> {
  const { planData, planText } = await import('./host.ts');
  io.out(flags.on('json') ? jsonText(planData(source)) : planText(source));
  return 0;
}
