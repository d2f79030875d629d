// What the user network needs of the host, each with what to do about it.
import { accessSync, constants, readFileSync } from 'node:fs';
import type { DoctorCheck, Exec } from '../../core/plugin-api.ts';
import type { UsernetConfig } from './schema.ts';

export interface Finding { readonly what: string; readonly hint: string }
/** Where to look; tests point elsewhere. */
export interface NetworkHost { readonly uid: number; readonly tunPath: string; readonly sysctlDir: string }

export const networkHost: NetworkHost = { uid: process.getuid?.() ?? 0, tunPath: '/dev/net/tun', sysctlDir: '/proc/sys' };

/** Why user namespaces are closed to us; undefined when they are open. Root needs none. */
export function findNamespaceProblem(host: NetworkHost): Finding | undefined {
  if (host.uid === 0) return undefined;
  if (readSysctl(host, 'user/max_user_namespaces') === '0') {
    return { what: 'user namespaces are switched off', hint: 'sysctl user.max_user_namespaces=15000 (as root)' };
  }
  if (readSysctl(host, 'kernel/unprivileged_userns_clone') === '0') {
    return { what: 'user namespaces are closed to ordinary users', hint: 'sysctl kernel.unprivileged_userns_clone=1 (as root)' };
  }
  if (readSysctl(host, 'kernel/apparmor_restrict_unprivileged_userns') === '1') {
    return { what: 'AppArmor restricts user namespaces', hint: 'sysctl kernel.apparmor_restrict_unprivileged_userns=0 (as root)' };
  }
  return undefined;
}

/** Why /dev/net/tun is unusable; undefined when it opens. */
export function findTunProblem(host: NetworkHost): Finding | undefined {
  try {
    accessSync(host.tunPath, constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { what: `${host.tunPath} does not exist`, hint: 'modprobe tun (as root)' };
    return { what: `${host.tunPath} is not open to this user`, hint: `chmod 0666 ${host.tunPath} (as root), the usual mode` };
  }
}

/** Why slirp4netns cannot be run; undefined when it is there. */
export async function findSlirpProblem(exec: Exec, program: string): Promise<Finding | undefined> {
  if (await exec.find(program) !== undefined) return undefined;
  return { what: `${program} is not found`, hint: 'install the package slirp4netns' };
}

/** Everything missing for `--network user`. */
export async function findProblems(exec: Exec, config: UsernetConfig, host: NetworkHost): Promise<Finding[]> {
  const findings = [findNamespaceProblem(host), findTunProblem(host), await findSlirpProblem(exec, config.slirp4netns)];
  return findings.filter((finding) => finding !== undefined);
}

/** Its text; undefined for a kernel without it. */
export function readSysctl(host: NetworkHost, name: string): string | undefined {
  try {
    return readFileSync(`${host.sysctlDir}/${name}`, 'utf8').trim();
  } catch {
    // A kernel without the switch has nothing to say against it.
    return undefined;
  }
}

/** What a check needs of the running plugin; filled by `setup`. */
export interface CheckRuntime { exec?: Exec }

export function usernetChecks(runtime: CheckRuntime, host: NetworkHost): readonly DoctorCheck<UsernetConfig>[] {
  const check = (name: string, good: string, find: (config: UsernetConfig) => Promise<Finding | undefined> | Finding | undefined): DoctorCheck<UsernetConfig> => ({
    name,
    async run({ config }) {
      const problem = await find(config);
      if (!problem) return { level: 'pass', detail: [good] };
      return { level: 'warn', detail: [`${problem.what}; VMs start with --network none only`], hint: problem.hint };
    },
  });
  return [
    check('user namespaces', host.uid === 0 ? 'not needed as root' : 'open to this user', () => findNamespaceProblem(host)),
    check('/dev/net/tun', 'opens', () => findTunProblem(host)),
    check('slirp4netns', 'found', (config) => runtime.exec && findSlirpProblem(runtime.exec, config.slirp4netns)),
  ];
}
