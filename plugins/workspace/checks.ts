// Doctor: git on this host.
import type { DoctorCheck, Exec } from '../../core/plugin-api.ts';

/** Filled when the plugin is set up. */
export interface CheckRuntime { exec?: Pick<Exec, 'run'> }

/** `git merge-tree --write-tree`, which `vm workspace apply` needs. */
const wantedVersion = [2, 38] as const;

export function workspaceChecks(runtime: CheckRuntime): readonly DoctorCheck[] {
  return [{
    name: 'git',
    async run({ signal }) {
      const hint = 'apt-get install git';
      if (runtime.exec === undefined) return { level: 'warn', detail: ['the plugin is not active'] };
      try {
        const { stdout } = await runtime.exec.run('git', ['--version'], { signal, timeoutMs: 5000 });
        const match = /(\d+)\.(\d+)/.exec(stdout);
        const [major, minor] = [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)];
        const isNew = major > wantedVersion[0] || (major === wantedVersion[0] && minor >= wantedVersion[1]);
        if (isNew) return { level: 'pass', detail: [stdout.trim()] };
        return { level: 'warn', detail: [`${stdout.trim()}: vm workspace apply needs ${wantedVersion.join('.')}`], hint };
      } catch {
        return { level: 'warn', detail: ['git is not found: vm run with a path and vm workspace need it'], hint };
      }
    },
  }];
}
