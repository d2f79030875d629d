// Steps `usernet.preflight` and `usernet.netns`: the namespace a VMM runs in, with slirp4netns as its only way out.
//
// Plain QEMU user networking gives a guest the host's loopback. Inside this namespace that loopback is an empty one that is
// down, and slirp4netns refuses to carry packets to the host's.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { missingRequirement, operationFailed } from '../../core/plugin-api.ts';
import type { Exec, HostInfo, Plan, ProcessIdentity, Processes, Step, Vm } from '../../core/plugin-api.ts';
import { netnsPidFile, netnsStatusFile } from './address.ts';
import { findProblems } from './requirements.ts';
import type { NetworkHost } from './requirements.ts';
import { sectionOf } from './schema.ts';
import type { UsernetConfig } from './schema.ts';

export interface NetnsDeps {
  readonly exec: Exec;
  readonly processes: Processes;
  readonly host: HostInfo;
  readonly network: NetworkHost;
  readonly config: UsernetConfig;
}
export type NetnsPlan = {
  readonly mark: string;
  readonly pidFile: string;
  readonly statusFile: string;
  readonly logFile: string;
};
/** A mapped copy: an interface is not assignable to `Json`, a type alias is. */
export type NetnsHandle = { readonly process: Pick<ProcessIdentity, keyof ProcessIdentity> };

const stepName = 'usernet.netns';
const readyTimeoutMs = 10_000;
const noNetworkHint = 'or start the VM with --network none';

/** Says before anything is made that this host cannot give a VM a user network. */
export function preflightStep({ exec, network, config }: NetnsDeps): Step<Record<string, never>, null> {
  return {
    name: 'usernet.preflight', phase: 'preflight', timeoutMs: 5000,
    plan: ({ vm }) => sectionOf(vm.spec.sections).network === 'user' ? { data: {}, makes: [] } : undefined,
    async run() {
      const problems = await findProblems(exec, config, network);
      if (problems.length === 0) return null;
      throw missingRequirement(
        `The user network cannot work here: ${problems.map((problem) => problem.what).join('; ')}`,
        [...problems.map((problem) => problem.hint), noNetworkHint].join('; '));
    },
  };
}

export function netnsStep(deps: NetnsDeps): Step<NetnsPlan, NetnsHandle> {
  return {
    name: stepName, phase: 'network', timeoutMs: 15_000,
    plan: ({ vm }) => sectionOf(vm.spec.sections).network === 'user' ? planNetns(vm) : undefined,
    async run(ctx, plan) {
      ctx.waitingFor(`network namespace of ${ctx.vm.name}`);
      const process = await startNetns(plan, deps);
      await ctx.touched();
      return { process };
    },
    // Safe twice: the dead stay dead, missing files are no error; slirp4netns dies with its holder and bears the mark too.
    async undo(_ctx, plan, handle) {
      if (handle) await deps.processes.end(handle.process, { graceMs: 0 });
      for (const { process } of deps.processes.findByMark(plan.mark)) await deps.processes.end(process, { graceMs: 0 });
      for (const path of [plan.pidFile, `${plan.pidFile}.tmp`, plan.statusFile, `${plan.statusFile}.tmp`, plan.logFile]) await rm(path, { force: true });
    },
  };
}

function planNetns(vm: Vm): Plan<NetnsPlan> {
  const data = {
    mark: `${vm.mark}/${stepName}`, pidFile: netnsPidFile(vm),
    statusFile: netnsStatusFile(vm), logFile: join(vm.dir, 'netns.log'),
  };
  return { data, makes: ['network namespace', 'process slirp4netns', `file ${data.pidFile}`, `file ${data.statusFile}`, `file ${data.logFile}`] };
}

async function startNetns(plan: NetnsPlan, { exec, host, network, config }: NetnsDeps): Promise<ProcessIdentity> {
  const slirp = await exec.find(config.slirp4netns);
  if (slirp === undefined) throw missingRequirement(`${config.slirp4netns} is not found`, `install the package slirp4netns, ${noNetworkHint}`);
  const started = await exec.spawnDetached(join(host.nativeDir, 'shim'), [
    'netns', '--mark', plan.mark, '--pid-file', plan.pidFile, '--status-file', plan.statusFile, '--slirp', slirp, '--tun-path', network.tunPath,
  ], { mark: plan.mark, logFile: plan.logFile, readyLine: { timeoutMs: readyTimeoutMs } });
  if (/^ready \d+$/.test(started.line ?? '')) return started.process;
  throw operationFailed(`The network namespace does not start: ${(started.line ?? '').replace(/^error /, '')}`, {
    hint: `banger doctor shows what the user network needs, ${noNetworkHint}`,
  });
}
