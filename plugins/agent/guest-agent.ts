// The `GuestAgent` capability: one link per running VM.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { notRunning, operationFailed, timedOut, vmPaused } from '../../core/plugin-api.ts';
import type { AgentInfo, GuestAgent, GuestExecRequest, GuestProcess, HostInfo, Logger, Vm, VmmDriver, Vms, VmUse } from '../../core/plugin-api.ts';
import { openDial, requestShutdown } from './dial-stream.ts';
import { openExec } from './exec-stream.ts';
import { tokenBytes } from './guest-config.ts';
import { closeOf, heldWhile } from './held.ts';
import { openLink } from './link.ts';
import type { Link } from './link.ts';
import { openListener } from './listen-stream.ts';
import type { BootInfo } from './session.ts';
import { targetText } from './targets.ts';

/** Files in the VM's directory. */
export const agentFiles = {
  initrd: 'initrd.img',
  /** Session token, raw bytes, 0600. */
  token: 'agent-token',
  /** Boot id of the guest as last seen, so that a reboot is counted once though the daemon restarts. */
  bootId: 'agent-boot-id',
} as const;

export interface AgentDeps {
  readonly vms: Vms;
  readonly use: Pick<VmUse, 'hold'>;
  readonly host: Pick<HostInfo, 'slowdown'>;
  readonly log: Logger;
  driver(vm: Vm): VmmDriver | undefined;
  /** How long the guest may take to begin a command or connection, before `slowdown`. @default 15000 */
  readonly openLimitMs?: number;
}

export interface AgentLinks extends GuestAgent {
  /** Opens the link (again) and waits for the agent. @throws timeout; cancelled; operation_failed for a guest whose boot had problems */
  ready(vm: Vm, signal: AbortSignal): Promise<BootInfo>;
  /** Opens the link and does not wait. `bootId`: as known from before. */
  attach(vm: Vm, bootId: string): Promise<void>;
  close(vmId: string): void;
  closeAll(): void;
}

/** Waits are bounded by the caller's signal; this is for callers that set no limit of their own. */
const defaultWaitMs = 30_000;
const defaultOpenMs = 15_000;
const never = new AbortController().signal;

export async function readToken(vm: Vm): Promise<Buffer> {
  const token = await readFile(join(vm.dir, agentFiles.token));
  if (token.length !== tokenBytes) throw operationFailed(`the agent token of ${vm.name} is damaged`, { hint: `banger vm restart ${vm.name}` });
  return token;
}

export function createGuestAgent(deps: AgentDeps): AgentLinks {
  const links = new Map<string, Link>();

  const connect = (vm: Vm, signal: AbortSignal) => {
    const driver = deps.driver(vm);
    if (driver === undefined) throw notRunning(vm.name, `driver ${vm.spec.driver} is not active`);
    return driver.connectAgent(vm, signal);
  };
  const rebooted = (vm: Vm, bootId: string): void => {
    deps.vms.rebooted(vm.id);
    void rememberBoot(vm, bootId, deps.log);
  };
  const close = (vmId: string): void => {
    links.get(vmId)?.close();
    links.delete(vmId);
  };
  const open = async (vm: Vm, bootId?: string): Promise<Link> => {
    const token = await readToken(vm);
    close(vm.id);
    const link = openLink({ log: deps.log, isPaused: () => deps.vms.isPaused(vm.id), connect: async (target, signal) => connect(target, signal), rebooted }, { vm, token, bootId });
    links.set(vm.id, link);
    return link;
  };
  /** At once for a paused VM: nobody there can answer. */
  const session = async (vm: Vm, signal: AbortSignal = never, timeoutMs = defaultWaitMs * deps.host.slowdown) => {
    if (deps.vms.isPaused(vm.id)) throw vmPaused(vm.name);
    const link = links.get(vm.id);
    if (link === undefined) throw notRunning(vm.name, 'there is no session with its guest agent');
    return link.session({ signal, timeoutMs });
  };

  /** A frozen guest neither opens a stream nor refuses it. */
  const openWithin = async <T>(what: string, signal: AbortSignal, open: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    const limitMs = (deps.openLimitMs ?? defaultOpenMs) * deps.host.slowdown;
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), limitMs);
    try {
      return await open(AbortSignal.any([signal, limit.signal]));
    } catch (error) {
      throw limit.signal.aborted && !signal.aborted ? timedOut(what, limitMs) : error;
    } finally {
      clearTimeout(timer);
    }
  };

  return {
    async ready(vm, signal) {
      const link = await open(vm);
      // The step's own limit ends this wait, with its own words.
      const { info } = await link.session({ signal, timeoutMs: 2 ** 31 - 1 });
      await rememberBoot(vm, info.bootId, deps.log);
      if (info.problems.length > 0) throw operationFailed(`the guest of ${vm.name} could not start properly: ${info.problems.join('; ')}`);
      return info;
    },
    async attach(vm, bootId) {
      const remembered = await readFile(join(vm.dir, agentFiles.bootId), 'utf8').catch(() => bootId);
      await open(vm, remembered.trim());
    },
    close,
    closeAll() {
      for (const id of links.keys()) close(id);
    },
    async info(vm, options = {}): Promise<AgentInfo> {
      const { info } = await session(vm, options.signal, options.timeoutMs);
      return { version: info.version, protocol: info.protocol, bootId: info.bootId, init: info.init };
    },
    async exec(vm, request, signal) {
      const found = await session(vm, signal);
      const release = request.background === true ? () => undefined : deps.use.hold(vm.id, nameOf(request));
      const begin = async (opening: AbortSignal): Promise<GuestProcess> => {
        // Who asks again and again would pile up in a frozen guest what it then does all at once.
        if (request.background === true) await found.session.caughtUp(opening);
        return openExec(found.session, request, { subject: vm.name, signal: opening });
      };
      return heldWhile(release, () => openWithin(`the guest of ${vm.name} to begin the command`, signal, begin), ({ exit }) => exit);
    },
    async dial(vm, target, signal) {
      const found = await session(vm, signal);
      const where = targetText(target);
      const begin = (opening: AbortSignal) => openDial(found.session, target, { subject: vm.name, signal: opening });
      return heldWhile(deps.use.hold(vm.id, `connection to ${where}`), () => openWithin(`the guest of ${vm.name} to connect to ${where}`, signal, begin), closeOf);
    },
    async listen(vm, target, { signal, onConnection }) {
      const found = await session(vm, signal);
      const take: typeof onConnection = (connection, from) => {
        connection.once('close', deps.use.hold(vm.id, `connection to ${targetText(target)} of the guest`));
        onConnection(connection, from);
      };
      return openWithin(`the guest of ${vm.name} to listen on ${targetText(target)}`, signal, (opening) =>
        openListener(found.session, target, { subject: vm.name, signal: opening, onConnection: take }));
    },
    bulkSocket: (vm) => deps.driver(vm)?.bulkSocket?.(vm),
    async shutdown(vm, how, signal) {
      const found = await session(vm, signal);
      await requestShutdown(found.session, how, { subject: vm.name, signal });
    },
  };
}

/** For people. The words of a command may hold what is nobody's business. */
function nameOf({ builtin, command }: GuestExecRequest): string {
  return builtin === true ? command[0] ?? 'command' : 'command';
}

async function rememberBoot(vm: Vm, bootId: string, log: Logger): Promise<void> {
  try {
    await writeFile(join(vm.dir, agentFiles.bootId), bootId, { mode: 0o600 });
  } catch (error) {
    log.warn({ vm: vm.name, err: error }, 'cannot remember the boot id of the guest');
  }
}
