// Disks: wiring.
import { Exec, HostInfo, Images, VmRecovery, definePlugin } from '../../core/plugin-api.ts';
import type { Drive, SpecSection } from '../../core/plugin-api.ts';
import { DiskFiles } from './capability.ts';
import { diskChecks } from './checks.ts';
import { growDisks, rootPath, rootStep, spaceStep, workPath, workStep } from './disks.ts';
import { createDiskFiles } from './files.ts';
import { createRecovery } from './recover.ts';
import { disksConfig, disksSection } from './schema.ts';

const spec: SpecSection<typeof disksSection> = {
  schema: disksSection,
  flags: [
    { name: 'root-size', key: 'rootSize', type: 'string', summary: 'Size of the root disk (default 8G)', placeholder: '<size>', verbs: ['run', 'create', 'set'] },
    { name: 'disk-size', key: 'workSize', type: 'string', summary: 'Size of the work disk at /root (default 8G)', placeholder: '<size>', verbs: ['run', 'create', 'set'] },
  ],
  columns: [{ header: 'DISK', key: 'workSize' }],
  show: (_vm, section) => ({ rootSize: section.rootSize, workSize: section.workSize }),
};

export default definePlugin({
  name: 'disks', version: '0.1.0', apiVersion: 1, summary: 'Root overlay over the image, and the work disk at /root.',
  requires: [Exec, HostInfo, Images], provides: [DiskFiles, VmRecovery], config: disksConfig, spec, checks: diskChecks,
  setup(ctx) {
    const parts = { exec: ctx.use(Exec), host: ctx.use(HostInfo), images: ctx.use(Images) };
    ctx.provide(DiskFiles, createDiskFiles());
    ctx.provide(VmRecovery, createRecovery(parts));
    ctx.step(spaceStep(ctx.config.min_free_mib));
    ctx.step(rootStep(parts));
    ctx.step(workStep(parts));
    ctx.contribute('machine', 'disks.drives', (machine, { vm }) => {
      const root: Drive = { id: 'root', path: rootPath(vm), format: 'qcow2', readonly: false };
      const work: Drive = { id: 'work', path: workPath(vm), format: 'raw', readonly: false };
      return { ...machine, drives: [root, work, ...machine.drives] };
    });
    ctx.contribute('guest', 'disks.work', (guest) => ({
      ...guest, mounts: [{ drive: 'work', target: '/root', fstype: 'ext4', seedFromImage: true }, ...guest.mounts],
    }));
    ctx.reconfigure('disks.grow', (vm, change, undo) => growDisks(parts, vm, change, undo));
  },
});
