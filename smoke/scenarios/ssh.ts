import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, must, type Scenario } from '../scenario.ts';

export const vmSsh: Scenario = {
  name: 'vm_ssh', kind: 'pure', summary: 'vm ssh runs a command, hands on its words, input and exit code; vm ssh-config names the VM',
  async run(banger) {
    const name = 'smoke-ssh';
    await must(banger, 'vm', 'run', '-d', '--name', name);
    const out = await must(banger, 'vm', 'ssh', name, '--', 'printf', '<%s>', 'a b', "it's", '$HOME');
    expect(out === "<a b><it's><$HOME>", `unexpected output ${JSON.stringify(out)}`);
    const outcome = await banger('vm', 'ssh', name, '--', 'sh', '-c', 'exit 42');
    expect(outcome.code === 42, 'exit code is not 42', outcome);
    expect((await must(banger, 'vm', 'ssh-config', name)).startsWith(`Host ${name}.vm ${name}\n`), 'the stanza is not for the VM');
    await must(banger, 'vm', 'delete', name);
    const gone = await banger('vm', 'ssh', name, '--', 'true');
    expect(gone.code === 125 && gone.err.includes(`No VM matches ${name}`), 'a VM that is gone is not told', gone);
  },
};

export const sshConfig: Scenario = {
  name: 'ssh_config', kind: 'pure', summary: 'ssh-config --install and --uninstall in a home of their own leave the file as it was',
  async run(given) {
    const home = mkdtempSync(join(tmpdir(), 'banger-smoke-'));
    // The daemon stays the same one: only ~/.ssh is elsewhere.
    const own = given.env['HOME'] ?? homedir();
    const isRoot = process.getuid?.() === 0;
    const keep = isRoot ? {} : { XDG_STATE_HOME: join(own, '.local/state'), XDG_CACHE_HOME: join(own, '.cache'), XDG_CONFIG_HOME: join(own, '.config') };
    const banger = given.with({ ...keep, ...given.env, HOME: home });
    try {
      const file = join(home, '.ssh', 'config');
      const before = 'Host *\n\tUser me\r\n# no newline at the end';
      mkdirSync(join(home, '.ssh'), { mode: 0o700 });
      writeFileSync(file, before, { mode: 0o600 });
      await must(banger, 'ssh-config', '--install');
      const installed = readFileSync(file, 'utf8');
      expect(installed.endsWith(before) && installed.includes('\nInclude '), `unexpected file ${JSON.stringify(installed)}`);
      await must(banger, 'ssh-config', '--install');
      expect(readFileSync(file, 'utf8') === installed, 'a second install changed the file');
      expect((await must(banger, 'ssh-config')).includes('yes, in '), 'ssh-config does not see it');
      await must(banger, 'ssh-config', '--uninstall');
      expect(readFileSync(file, 'utf8') === before, 'uninstall left another file');
    } finally {
      rmSync(home, { recursive: true });
    }
  },
};
