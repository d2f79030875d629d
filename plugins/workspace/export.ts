// vm.workspace.export: what the guest has beyond a commit, as a binary patch.
import { BangerError, serveGuestProcess, timedOut } from '../../core/plugin-api.ts';
import type { CallContext, GuestProcess } from '../../core/plugin-api.ts';
import { exportScript, probeScript } from './guest/scripts.ts';
import { endWhenSilent } from './guest/silence.ts';
import { runScript, scriptCode, scriptFailure, scriptRequest } from './guest/script.ts';
import { requireRecord } from './pull.ts';
import { silenceLimitMs, stateLimitMs } from './deps.ts';
import type { WorkspaceDeps } from './deps.ts';
import type { ExportParams } from './schema.ts';

/** `$2` commit to begin at, or nothing. */
const probeBase = `[ -z "$2" ] || git cat-file -e "$2^{commit}" 2>/dev/null || exit ${scriptCode.badBase}\n`;

/** Offers the patch as a stream. @throws not_found; not_running; workspace.no_git; operation_failed */
export async function exportWorkspace(deps: WorkspaceDeps, params: ExportParams, call: CallContext): Promise<{ readonly ticket: string }> {
  const vm = await deps.vms.running(params.ref, call.signal);
  const guestPath = params.guestPath ?? requireRecord(deps, vm, undefined).guestPath;
  const log = deps.log.child({ opId: call.opId, vm: vm.name });
  // The refusals that a stream could only tell by its exit code.
  const { baseCommit = '' } = params;
  const probe = await runScript({ agent: deps.agent, vm, signal: call.signal }, { script: `${probeScript}${probeBase}`, args: [guestPath, baseCommit], idleLimitMs: stateLimitMs(deps) });
  if (probe.code === scriptCode.badBase) throw new BangerError('not_found', `The guest of ${vm.name} has no commit ${baseCommit}`);
  if (probe.code !== 0) throw scriptFailure(probe, { vm, guestPath, what: 'Exporting the work' });
  const release = deps.activity.hold(`workspace export ${vm.name}`);
  const limitMs = silenceLimitMs(deps);
  const request = { ...scriptRequest(exportScript, [guestPath, call.opId, baseCommit]), stdin: false };
  const start = async (signal: AbortSignal): Promise<GuestProcess> => endWhenSilent(await deps.agent.exec(vm, request, signal), { limitMs, expired: () => timedOut(`the guest of ${vm.name}, which said nothing of its patch`, limitMs) });
  const ticket = call.peer.offerStream(
    (stream) => { void serveGuestProcess(stream, { start, opId: call.opId, log }).finally(release); },
    release);
  return { ticket };
}
