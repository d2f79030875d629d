// The `HostInfo` capability: which daemon this is and where its things lie.
import type { HostInfo } from '../capabilities.ts';
import { nativeDir } from '../paths.ts';
import type { Paths } from '../paths.ts';

/** First uid of VMs when the daemon is root: far above those of accounts and of subuid ranges, so it owns nothing else. */
const firstVmUid = 2_000_000_000;

export function createHostInfo(paths: Paths, installId: string): HostInfo {
  return {
    installId,
    stateDir: paths.stateDir,
    cacheDir: paths.cacheDir,
    nativeDir: nativeDir(),
    uid: paths.uid,
    socketPath: (vmId, name) => paths.socketPath(vmId, name),
    vmUid: (vm) => (paths.uid === 0 ? firstVmUid + vm.slot : undefined),
    slowdown: 1,
  };
}
