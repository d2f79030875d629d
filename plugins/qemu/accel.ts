// Which accelerator works here. A /dev/kvm that opens is not enough: without vmx or svm in /proc/cpuinfo (a host that is itself
// a guest without nesting) firmware runs and stock kernels hang at boot.
import { accessSync, constants, readFileSync, statSync } from 'node:fs';

export type AccelChoice = 'auto' | 'kvm' | 'tcg';
export interface Accelerator {
  readonly name: 'kvm' | 'tcg';
  /** Why this one, for people. */
  readonly reason: string;
  /** Group that a VMM of an unprivileged uid needs to open /dev/kvm. */
  readonly group?: number;
}
/** Where to look; tests point elsewhere. */
export interface AccelHost {
  readonly kvmPath: string;
  readonly cpuinfoPath: string;
  /** Our uid: as root the VMM has another one, and /dev/kvm must open for that. */
  readonly uid: number;
}

interface KvmDevice { readonly ok: boolean; readonly reason: string; readonly group?: number }

/** Chooses the accelerator. `kvm` insists: nothing is looked at but whether the device opens; when it does not, the result is tcg with the reason. */
export function chooseAccelerator(choice: AccelChoice, host: AccelHost): Accelerator {
  if (choice === 'tcg') return { name: 'tcg', reason: 'software emulation chosen in the configuration' };
  const device = inspectKvm(host);
  if (!device.ok) return { name: 'tcg', reason: `software emulation: ${device.reason}` };
  if (choice === 'auto' && !hasVirtualisation(host.cpuinfoPath)) {
    return { name: 'tcg', reason: `software emulation: ${host.kvmPath} opens, but the CPU shows neither vmx nor svm` };
  }
  const reason = choice === 'kvm' ? 'hardware acceleration, as the configuration insists' : 'hardware acceleration';
  return { name: 'kvm', reason, ...(device.group === undefined ? {} : { group: device.group }) };
}

function inspectKvm(host: AccelHost): KvmDevice {
  try {
    const info = statSync(host.kvmPath);
    accessSync(host.kvmPath, constants.R_OK | constants.W_OK);
    if (host.uid !== 0 || (info.mode & 0o006) === 0o006) return { ok: true, reason: '' };
    if ((info.mode & 0o060) === 0o060 && info.gid !== 0) return { ok: true, reason: '', group: info.gid };
    return { ok: false, reason: `${host.kvmPath} opens for root only, and VMMs never run as root` };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'error';
    return { ok: false, reason: `${host.kvmPath} does not open (${code})` };
  }
}

function hasVirtualisation(cpuinfoPath: string): boolean {
  try {
    return /^flags\s*:.*\b(vmx|svm)\b/m.test(readFileSync(cpuinfoPath, 'utf8'));
  } catch {
    // Without /proc there is no way to know, and guessing kvm hangs guests.
    return false;
  }
}
