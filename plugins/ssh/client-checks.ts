// doctor: whether plain `ssh devbox.vm` works, too. It is a convenience, so its absence is no warning.
import { readFile } from 'node:fs/promises';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { DoctorCheck } from '../../core/plugin-api.ts';
import type { SshConfig } from './schema.ts';
import { includeLine } from './ssh-config.ts';

/** What the check needs of the running plugin; filled by `setup`. */
export interface ClientCheckRuntime { configFile?: string }

/** A uid without an entry in the list of users, as in containers, has HOME only. */
function listedHome(): string {
  try {
    return userInfo().homedir;
  } catch {
    return homedir();
  }
}

/** ssh takes the home from the system's list of users, whatever HOME says. */
export function clientCheck(runtime: ClientCheckRuntime, home: () => string = listedHome): DoctorCheck<SshConfig> {
  return {
    name: 'ssh shortcut',
    async run() {
      const { configFile } = runtime;
      if (configFile === undefined) return { level: 'pass', detail: ['the plugin is not active'] };
      const file = join(home(), '.ssh', 'config');
      const text = await readFile(file, 'utf8').catch(() => ''); // absent or closed to us: not included
      const line = includeLine(configFile);
      const isIncluded = line !== undefined && text.split(/\r?\n/).some((own) => own.trim() === line);
      if (isIncluded) return { level: 'pass', detail: [`${file} includes ${configFile}: ssh <name>.vm works`] };
      return { level: 'pass', detail: [`${file} does not include ${configFile}: banger vm ssh works, plain ssh <name>.vm does not; banger ssh-config --install adds it`] };
    },
  };
}
