// What is left of a VM's disks. The overlay's tables were written by the VMM, the work disk's file system by the guest: neither is trusted.
import { open, stat, truncate } from 'node:fs/promises';
import { isBangerError } from '../../core/plugin-api.ts';
import type { RecoveryContext, RecoveryFinding, Vm, VmRecovery } from '../../core/plugin-api.ts';
import { formatWorkDisk, planRoot, planWork, replaceDisk, rootPath, workPath } from './disks.ts';
import type { DisksParts } from './disks.ts';
import { createOverlay, readOverlayHeader } from './qcow2.ts';
import { formatSize } from './size.ts';

const checkTimeoutMs = 5 * 60_000;
/** qemu-img holds the reference counts in memory: 2 bytes for each 64 KiB of the overlay's file. */
const checkMemoryBytes = 2 * 2 ** 30;
const root = 'root disk';
const work = 'work disk';

/** Recovery of root and work disk; it needs `setpriv` and `prlimit` (util-linux) to have an overlay checked. */
export function createRecovery(parts: DisksParts): VmRecovery {
  return {
    resets: { root: 'what the guest changed outside of /root', work: 'everything below /root' },
    check: async (vm, ctx) => [
      await guarded({ subject: root, failed: 'unknown', ctx }, () => checkRoot(parts, vm, ctx)),
      await guarded({ subject: work, failed: 'unknown', ctx }, () => checkWork(vm, ctx)),
    ],
    async repair(vm, { reset }, ctx) {
      const one = (subject: string, isReset: boolean, look: () => Promise<RecoveryFinding>): Promise<RecoveryFinding> =>
        guarded({ subject, failed: isReset ? 'broken' : 'unknown', ctx }, look);
      const [isRoot, isWork] = [reset.includes('root'), reset.includes('work')];
      return [
        await one(root, isRoot, () => isRoot ? resetRoot(parts, vm, ctx) : repairRoot(parts, vm, ctx)),
        await one(work, isWork, () => isWork ? resetWork(parts, vm, ctx) : repairWork(vm, ctx)),
      ];
    },
  };
}

interface Guarded { readonly subject: string; readonly failed: RecoveryFinding['state']; readonly ctx: RecoveryContext }

/** What fails on one disk keeps nobody from the other. */
async function guarded({ subject, failed, ctx }: Guarded, look: () => Promise<RecoveryFinding>): Promise<RecoveryFinding> {
  try {
    return await look();
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    ctx.log.error({ err: error, subject }, 'looking after a disk failed');
    return { subject, state: failed, text: isBangerError(error) ? error.message : 'it could not be looked after; the daemon\'s log says why' };
  }
}

const resetHint = (vm: Vm, word: string, lost: string): string => `banger vm recover ${vm.name} --reset-${word} makes a fresh one; ${lost} is lost then`;
const rootHint = (vm: Vm): string => resetHint(vm, 'root', 'what the guest changed outside of /root');
const notMade = (subject: string): RecoveryFinding => ({ subject, state: 'ok', text: 'not made yet: the first start does' });

interface OverlayState { readonly finding: RecoveryFinding; readonly leaks: boolean }

async function checkRoot(parts: DisksParts, vm: Vm, ctx: RecoveryContext): Promise<RecoveryFinding> {
  return (await lookAtRoot(parts, vm, ctx)).finding;
}

async function lookAtRoot(parts: DisksParts, vm: Vm, ctx: RecoveryContext): Promise<OverlayState> {
  const path = rootPath(vm);
  const answer = (state: RecoveryFinding['state'], text: string, hint?: string): OverlayState => (
    { leaks: false, finding: { subject: root, state, text, ...(hint === undefined ? {} : { hint }) } });
  const size = await fileSize(path);
  if (size === undefined) {
    if (!ctx.made.includes('disks.root')) return { leaks: false, finding: notMade(root) };
    return answer('broken', 'root.qcow2 is gone: what the guest changed outside of /root is lost', rootHint(vm));
  }
  const header = await readOverlayHeader(path);
  const { backingPath } = await planRoot(parts, vm);
  // Read by ourselves first: qemu-img would open whatever file or address a VMM that was taken over has written there.
  if ('problem' in header) return answer('broken', `root.qcow2 is damaged: ${header.problem}`, rootHint(vm));
  if (header.backingPath !== backingPath) return answer('broken', 'root.qcow2 is damaged: it names another image than the VM\'s', rootHint(vm));
  return checkTables(parts, { vm, size }, ctx);
}

async function checkTables(parts: DisksParts, { vm, size }: { vm: Vm; size: number }, ctx: RecoveryContext): Promise<OverlayState> {
  const path = rootPath(vm);
  const answer = (state: RecoveryFinding['state'], text: string, hint?: string): OverlayState => (
    { leaks: false, finding: { subject: root, state, text, ...(hint === undefined ? {} : { hint }) } });
  try {
    const result = await runConfined(parts, vm, { words: ['qemu-img', 'check', '--output=json', '-f', 'qcow2', path], okCodes: [0, 2, 3], ctx });
    const counts = JSON.parse(result) as { corruptions?: unknown; leaks?: unknown };
    const corruptions = Number(counts.corruptions ?? 0);
    if (corruptions > 0) {
      return answer('broken', `root.qcow2 is damaged: ${corruptions} errors in its tables, so parts of what the guest changed outside of /root are lost or wrong`,
        `${rootHint(vm)}; qemu-img check -r all ${path} keeps what it can, and may mix up the rest`);
    }
    const leaks = Number(counts.leaks ?? 0) > 0;
    return { leaks, finding: { subject: root, state: leaks ? 'damaged' : 'ok', text: leaks ? 'root.qcow2 holds space that nothing uses any more; nothing is lost' : `root.qcow2, ${formatSize(size)} on the host` } };
  } catch (error) {
    ctx.log.warn({ err: error }, 'an overlay could not be checked');
    return answer('unknown', `root.qcow2 is there, and could not be checked: ${isBangerError(error) ? error.message : 'qemu-img gave no answer that is one'}`);
  }
}

/** Gives back space that nothing uses: the one repair that loses nothing. */
async function repairRoot(parts: DisksParts, vm: Vm, ctx: RecoveryContext): Promise<RecoveryFinding> {
  const { leaks, finding } = await lookAtRoot(parts, vm, ctx);
  if (!leaks) return finding;
  await runConfined(parts, vm, { words: ['qemu-img', 'check', '-q', '-r', 'leaks', '-f', 'qcow2', rootPath(vm)], okCodes: [0], ctx });
  return { subject: root, state: 'repaired', text: 'root.qcow2 held space that nothing used; nothing is lost' };
}

/** By rename, so that there is a whole disk at every moment. */
async function resetRoot(parts: DisksParts, vm: Vm, ctx: RecoveryContext): Promise<RecoveryFinding> {
  if (!ctx.made.includes('disks.root')) return notMade(root);
  const plan = await planRoot(parts, vm);
  await replaceDisk(parts, vm, { path: plan.path, write: (draft) => createOverlay(draft, plan) });
  return { subject: root, state: 'repaired', text: 'made anew from the image; what the guest had changed outside of /root is lost' };
}

async function checkWork(vm: Vm, ctx: RecoveryContext): Promise<RecoveryFinding> {
  const size = await fileSize(workPath(vm));
  if (size === undefined) {
    if (!ctx.made.includes('disks.work')) return notMade(work);
    return { subject: work, state: 'broken', text: 'work.img is gone: everything below /root is lost', hint: resetHint(vm, 'work', 'everything below /root') };
  }
  const { sizeBytes } = planWork(vm);
  if (size < sizeBytes) return { subject: work, state: 'damaged', text: shortText(sizeBytes - size), hint: 'banger vm recover lengthens it, so that what is left can be read' };
  if (!await hasExt4(workPath(vm))) {
    return {
      subject: work, state: 'damaged', text: 'work.img does not begin with an ext4 file system: the guest will start without /root',
      hint: `in the guest, e2fsck -b 32768 /dev/vdb may find it again; ${resetHint(vm, 'work', 'everything below /root')}`,
    };
  }
  return { subject: work, state: 'ok', text: `work.img, ${formatSize(size)}; its file system is the guest's to check` };
}

const shortText = (bytes: number): string => `work.img is ${bytes} bytes short: files below /root that lay there are lost`;

/** A file system does not mount on a disk that is shorter than it; what was cut off reads as zeros. */
async function repairWork(vm: Vm, ctx: RecoveryContext): Promise<RecoveryFinding> {
  const size = await fileSize(workPath(vm));
  const { sizeBytes } = planWork(vm);
  if (size === undefined || size >= sizeBytes) return checkWork(vm, ctx);
  await truncate(workPath(vm), sizeBytes);
  const now = await checkWork(vm, ctx);
  return now.state !== 'ok' ? now : {
    subject: work, state: 'repaired', text: `${shortText(sizeBytes - size)}; it has its length again`,
    hint: 'in the guest: umount /root, e2fsck -f /dev/vdb, then banger vm restart',
  };
}

async function resetWork(parts: DisksParts, vm: Vm, ctx: RecoveryContext): Promise<RecoveryFinding> {
  if (!ctx.made.includes('disks.work')) return notMade(work);
  const { path, sizeBytes } = planWork(vm);
  await replaceDisk(parts, vm, { path, write: (draft) => formatWorkDisk(parts.exec, draft, { sizeBytes, signal: ctx.signal, mark: `${vm.mark}/disks.work` }) });
  return { subject: work, state: 'repaired', text: 'made anew and empty; everything that was below /root is lost, the guest seeds it from the image' };
}

/** Undefined when there is no file of that name; whatever else keeps us from it is no loss. */
async function fileSize(path: string): Promise<number | undefined> {
  return stat(path).then((file) => file.isFile() ? file.size : undefined, (error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}

/** The magic of the superblock (ext4(5): 0xEF53 at byte 1080), and nothing more of what the guest wrote. */
async function hasExt4(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(2), 0, 2, 1080);
    return bytesRead === 2 && buffer.readUInt16LE(0) === 0xef53;
  } finally {
    await file.close();
  }
}

interface Confined { readonly words: readonly string[]; readonly okCodes: readonly number[]; readonly ctx: RecoveryContext }

/** Runs a program that reads what the VMM wrote, with bounded memory and time, as root with the rights of the VM's own uid and no more. */
async function runConfined(parts: DisksParts, vm: Vm, { words, okCodes, ctx }: Confined): Promise<string> {
  const uid = parts.host.vmUid(vm);
  const identity = uid === undefined ? [] : [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--inh-caps=-all', '--bounding-set=-all'];
  const result = await parts.exec.run(
    'prlimit', [`--as=${checkMemoryBytes}`, `--cpu=${checkTimeoutMs / 1000}`, '--core=0', 'setpriv', '--no-new-privs', ...identity, ...words],
    { timeoutMs: checkTimeoutMs, signal: ctx.signal, mark: `${vm.mark}/disks.recover`, okCodes });
  return result.stdout;
}
