// vm.workspace.export: what the guest has beyond a commit, as a binary patch.
import { serveGuestProcess, timedOut } from '../../core/plugin-api.ts';
import type { CallContext, GuestProcess } from '../../core/plugin-api.ts';
import { readGuestGit } from './guest-state.ts';
import { exportScript } from './guest/scripts.ts';
import { endWhenSilent } from './guest/silence.ts';
import { scriptCode, scriptFailure } from './guest/script.ts';
import { requireRecord } from './pull.ts';
import type { WorkspaceDeps } from './deps.ts';
import type { ExportParams } from './schema.ts';

/** How long the guest may take to tell its state. */
const stateLimitMs = 60_000;

/** Offers the patch as a stream. @throws not_found; not_running; workspace.no_git; operation_failed */
export async function exportWorkspace(deps: WorkspaceDeps, params: ExportParams, call: CallContext): Promise<{ readonly ticket: string }> {
  const vm = await deps.vms.running(params.ref, call.signal);
  const guestPath = params.guestPath ?? requireRecord(deps, vm, undefined).guestPath;
  const log = deps.log.child({ opId: call.opId, vm: vm.name });
  // The refusals that a stream could only tell by its exit code.
  const git = await readGuestGit({ agent: deps.agent, vm, signal: call.signal, guestPath, opId: call.opId, limitMs: stateLimitMs * deps.host.slowdown });
  if (git === undefined) {
    throw scriptFailure({ code: scriptCode.noGit, stdout: Buffer.alloc(0), said: [] }, { vm, guestPath, what: 'Exporting the work' });
  }
  const release = deps.activity.hold(`workspace export ${vm.name}`);
  const limitMs = deps.config.pull_timeout_seconds * 1000 * deps.host.slowdown;
  const start = async (signal: AbortSignal): Promise<GuestProcess> => endWhenSilent(await deps.agent.exec(vm, {
    command: ['sh', '-c', exportScript, 'banger', guestPath, call.opId, params.baseCommit ?? ''], env: { LC_ALL: 'C' }, cwd: '/', stdin: false,
  }, signal), { limitMs, expired: () => timedOut(`the guest of ${vm.name}, which said nothing of its patch`, limitMs) });
  const ticket = call.peer.offerStream(
    (stream) => { void serveGuestProcess(stream, { start, opId: call.opId, log }).finally(release); },
    release);
  return { ticket };
}
