// File sync: wiring.
import { homedir } from 'node:os';
import { definePlugin, Exec, GuestAgent, Vms } from '../../core/plugin-api.ts';
import { fileSyncConfig } from './schema.ts';
import { createWarningNotes, syncStep } from './sync.ts';

export default definePlugin({
  name: 'file-sync',
  version: '0.1.0',
  apiVersion: 1,
  summary: "Copies files and directories of the host's user, and the git identity, into every VM at each start.",
  requires: [Exec, GuestAgent, Vms],
  config: fileSyncConfig,
  configKey: 'file_sync',
  setup(ctx) {
    const notes = createWarningNotes(ctx.use(Vms));
    ctx.onDispose(notes.close);
    ctx.step(syncStep({
      config: ctx.config, agent: ctx.use(GuestAgent), exec: ctx.use(Exec), log: ctx.log, home: homedir(), env: process.env, onWarnings: notes.keep,
    }));
  },
});
