// Step `file-sync.copy`: the entries of the configuration, and git's identity, copied into the guest at each start.
import type { Exec, Step, Vm, Vms } from '../../core/plugin-api.ts';
import { isBangerError } from '../../core/plugin-api.ts';
import type { Logger } from '../../core/plugin-api.ts';
import { readGitIdentity, renderGitConfig } from './git-identity.ts';
import { exists, unpack } from './guest-copy.ts';
import type { Agent, Target } from './guest-copy.ts';
import { newBudget, readEntry } from './host-files.ts';
import type { FileSyncConfig } from './schema.ts';
import { guestHome } from './schema.ts';
import { tarEntry } from './tar.ts';

export interface SyncDeps {
  readonly config: FileSyncConfig;
  readonly agent: Agent;
  readonly exec: Pick<Exec, 'run'>;
  readonly log: Logger;
  /** Home of whoever runs the daemon. */
  readonly home: string;
  /** Told once per start with warnings, which do not stop it. */
  readonly onWarnings: (vm: Vm, warnings: readonly string[]) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The protocol that runs the agent's own programs. */
const neededProtocol = 2;
/** 64 MiB through an emulated guest take a few seconds. */
const stepLimitMs = 60_000;

export function syncStep(deps: SyncDeps): Step<null, null> {
  const { config: { entries, git_identity: wantsGit } } = deps;
  return {
    name: 'file-sync.copy', phase: 'ready', timeoutMs: stepLimitMs,
    plan({ vm }) {
      if (entries.length === 0 && !wantsGit) return undefined;
      const makes = entries.map((entry) => `copy of ${entry.host} at ${guestHome}/${entry.guest} in the guest of ${vm.name}`);
      return { data: null, makes: wantsGit ? [...makes, `git identity in the guest of ${vm.name}`] : makes };
    },
    async run(ctx) {
      ctx.waitingFor(`files to be copied into ${ctx.vm.name}`);
      await ctx.touched();
      const warnings: string[] = [];
      const warn = (text: string): void => {
        warnings.push(text);
        deps.log.warn({ vm: ctx.vm.name, opId: ctx.opId }, text);
      };
      await sync(deps, { agent: deps.agent, vm: ctx.vm, signal: ctx.signal }, warn);
      deps.onWarnings(ctx.vm, warnings);
      return null;
    },
    // Nothing to undo: what was copied is on the VM's own disk, and the next start copies again.
  };
}

async function sync(deps: SyncDeps, target: Target, warn: (text: string) => void): Promise<void> {
  const { protocol } = await deps.agent.info(target.vm, { signal: target.signal });
  if (protocol < neededProtocol) return warn('no files were copied: the guest agent of this VM is too old; a restart of the VM brings the new one');
  for (const line of await unpack(target, blocksOf(deps, target, warn))) warn(`left out by the guest: ${line}`);
  if (deps.config.git_identity) await copyIdentity(deps, target, warn);
}

async function* blocksOf({ config, home }: SyncDeps, { signal }: Target, warn: (text: string) => void): AsyncGenerator<Buffer> {
  const budget = newBudget();
  for (const [index, entry] of config.entries.entries()) {
    const name = `file_sync[${index}]`;
    let found = false;
    for await (const block of readEntry(entry, home, { name, budget, signal })) {
      found = true;
      yield block;
    }
    if (!found) warn(`${name} was skipped: ${entry.host} is not there`);
  }
}

/** Where git looks for a user's configuration. */
const gitConfigs = [`${guestHome}/.gitconfig`, `${guestHome}/.config/git/config`];

/** After the entries, which may have brought a configuration of their own. */
async function copyIdentity({ exec, env }: SyncDeps, target: Target, warn: (text: string) => void): Promise<void> {
  for (const path of gitConfigs) if (await exists(target, path)) return;
  let identity;
  try {
    identity = await readGitIdentity(exec, env);
  } catch (error) {
    if (!isBangerError(error)) throw error;
    return warn(`no git identity was copied: ${error.message}`);
  }
  if (identity === undefined) return warn('no git identity was copied: git on this host has no global user.name and user.email');
  const file = tarEntry({ path: '.gitconfig', type: 'file', mode: 0o644, mtimeSeconds: Date.now() / 1000 }, Buffer.from(renderGitConfig(identity)));
  for (const line of await unpack(target, only(file))) warn(`left out by the guest: ${line}`);
}

async function* only(block: Buffer): AsyncGenerator<Buffer> {
  yield block;
}

/** Shows a start's warnings as the VM's note: notes begin anew when a VM has started, so they are kept until then. */
export function createWarningNotes(vms: Pick<Vms, 'note' | 'onChange'>): { readonly keep: SyncDeps['onWarnings']; readonly close: () => void } {
  const kept = new Map<string, string>();
  const close = vms.onChange(({ kind, vm }) => {
    const text = kept.get(vm.id);
    kept.delete(vm.id);
    if (kind === 'started' && text !== undefined) vms.note(vm.id, text);
  });
  return {
    close,
    keep(vm, warnings) {
      kept.delete(vm.id);
      const [first, ...others] = warnings;
      if (first !== undefined) kept.set(vm.id, `file sync: ${first}${others.length > 0 ? ` (and ${others.length} more, see banger daemon logs)` : ''}`);
    },
  };
}
