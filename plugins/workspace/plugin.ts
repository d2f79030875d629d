// Workspaces: wiring.
import { basename, dirname } from 'node:path';
import { Activity, Exec, GuestAgent, HostInfo, Vms, createKeyedLock, definePlugin, removeTree } from '../../core/plugin-api.ts';
import { GuestFiles } from '../copy/capability.ts';
import { workspaceChecks } from './checks.ts';
import type { CheckRuntime } from './checks.ts';
import type { WorkspaceJobPlan } from './deps.ts';
import { exportMethod, prepareMethod, pullMethod, statusMethod } from './methods.ts';
import { createRecords, removeStaging } from './record.ts';
import { workspaceConfig, workspaceSection } from './schema.ts';

const records = createRecords();
const runtime: CheckRuntime = {};

export default definePlugin({
  name: 'workspace',
  version: '0.1.0',
  apiVersion: 1,
  summary: "Puts git repositories of the host into VMs, and brings the guest's work back as refs of its own.",
  requires: [Activity, Exec, GuestAgent, GuestFiles, HostInfo, Vms],
  config: workspaceConfig,
  spec: {
    schema: workspaceSection, flags: [],
    columns: [{ header: 'WORKSPACE', key: 'workspace' }],
    show: (vm) => {
      const record = records.find(vm);
      return record === undefined ? {} : { workspace: record.guestPath, from: record.hostPath, ...(record.head === undefined ? {} : { head: record.head }) };
    },
  },
  checks: workspaceChecks(runtime),
  setup(ctx) {
    const exec = ctx.use(Exec);
    runtime.exec = exec;
    const vms = ctx.use(Vms);
    ctx.onDispose(vms.onChange(({ kind, vm }) => { if (kind === 'deleted') records.forget(vm.id); }));
    const runJob = ctx.job<WorkspaceJobPlan>({
      name: 'workspace.sync',
      async undo({ vmDir, purpose, quarantine }) {
        await removeStaging({ dir: vmDir }, purpose);
        // git's own housekeeping knows the name too.
        if (quarantine !== undefined && basename(quarantine).startsWith('tmp_objdir-banger-')) await removeTree(quarantine, { within: dirname(quarantine) });
      },
    });
    const deps = {
      exec, vms, runJob, records, agent: ctx.use(GuestAgent), files: ctx.use(GuestFiles), activity: ctx.use(Activity), host: ctx.use(HostInfo),
      locks: createKeyedLock(), config: ctx.config, log: ctx.log,
    };
    ctx.rpc('vm.workspace.prepare', prepareMethod(deps));
    ctx.rpc('vm.workspace.status', statusMethod(deps));
    ctx.rpc('vm.workspace.export', exportMethod(deps));
    ctx.rpc('vm.workspace.pull', pullMethod(deps));
  },
});
