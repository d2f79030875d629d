import { serveGuestProcess } from '../../core/plugin-api.ts';
import type { Activity, GuestAgent, GuestExecRequest, HostInfo, Logger, RpcMethod, Vms } from '../../core/plugin-api.ts';
import type { DirectCopies } from './direct.ts';
import { guardProcess } from './guard.ts';
import { copyParams, copyResult } from './schema.ts';
import type { CopyConfig, CopyParams } from './schema.ts';
import { floorBytesPerSecond } from './stall.ts';

export interface CopyDeps {
  readonly vms: Pick<Vms, 'running'>;
  readonly agent: Pick<GuestAgent, 'exec'>;
  readonly copies: DirectCopies;
  readonly host: Pick<HostInfo, 'slowdown'>;
  readonly activity: Activity;
  readonly config: CopyConfig;
  readonly log: Logger;
  /** The daemon closes. */
  readonly signal: AbortSignal;
}

/** The agent kills what it hung up after 5 s; the rest is for the way there and back. */
export const hangupMs = 10_000;

/** The guest's end: the agent's own program, so that the image needs none. */
export function copyRequest(params: CopyParams): GuestExecRequest {
  const flags = params.direction === 'out'
    ? ['send', ...option('--base', params.base), ...(params.contents === true ? ['--contents'] : [])]
    : [
      'receive', ...option('--name', params.name), ...(params.place === undefined ? [] : [`--${params.place}`]),
      ...(params.owners === false ? [] : ['--owners']), ...(params.devices === true ? ['--devices'] : []), ...(params.sync === true ? ['--sync'] : []),
    ];
  return {
    command: ['copy', ...flags, '--', params.path], builtin: true, env: {}, stdin: params.direction === 'in',
    ...(params.user === undefined ? {} : { user: params.user }),
  };
}

const option = (name: string, value: string | undefined): string[] => (value === undefined ? [] : [name, value]);

/** `vm.copy`: offers the guest's end of a copy as a byte stream, or the way to it. The tar stream passes through; nothing here looks into it. */
export function copyMethod(deps: CopyDeps): RpcMethod<typeof copyParams, typeof copyResult> {
  const stallLimitMs = deps.config.stall_timeout_seconds * 1000 * deps.host.slowdown;
  return {
    summary: 'Begins one end of a copy: a tar stream into the guest or out of it.',
    effect: 'write', params: copyParams, result: copyResult, errors: ['not_found', 'ambiguous_ref', 'not_running', 'timeout', 'unsupported'],
    async handler(params, call) {
      const vm = await deps.vms.running(params.ref, call.signal);
      const log = deps.log.child({ opId: call.opId, vm: vm.name });
      const request = copyRequest(params);
      const direct = params.direct === true ? await deps.copies.begin(vm, request, { signal: call.signal, log }) : undefined;
      const release = deps.activity.hold(`copy ${params.direction} ${vm.name}`);
      const start = async (signal: AbortSignal) => guardProcess(direct?.process ?? await deps.agent.exec(vm, request, signal), {
        subject: vm.name, direction: params.direction, path: params.path, signal: deps.signal,
        limitMs: stallLimitMs, hangupMs: hangupMs * deps.host.slowdown, direct: direct !== undefined,
      });
      const giveUp = (): void => {
        release();
        direct?.process.hangup();
      };
      try {
        const ticket = call.peer.offerStream(
          (stream) => { void serveGuestProcess(stream, { start, opId: call.opId, log }).finally(release); },
          () => {
            giveUp();
            log.debug('the client of a copy never attached');
          });
        return direct === undefined ? { ticket } : { ticket, direct: { socket: direct.socket, hello: direct.hello, stallLimitMs, floorBytesPerSecond } };
      } catch (error) {
        giveUp();
        throw error;
      }
    },
  };
}
