// vm ssh, vm ssh-config and ssh-config against a scripted daemon, with a program of ours as `ssh`.
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeDaemon, FakeError, fakeVm } from '../testing/fake-daemon.ts';
import { bangerProgram, runCli, startCli, startInTerminal, until, type CliResult } from '../testing/run-cli.ts';

let daemon: FakeDaemon;
let env: NodeJS.ProcessEnv;
beforeEach(async () => {
  daemon = await new FakeDaemon().listen();
  env = { ...daemon.env, PATH: `${join(daemon.dir, 'bin')}${delimiter}${daemon.env['PATH']}` };
  const way = { host: 'devbox.vm', configFile: '/state/config', user: 'root', identityFile: '/i', knownHostsFile: '/k', stanza: 'Host devbox.vm devbox\n', running: true };
  daemon.options = { methods: {
    'vm.ssh': ({ params }) => {
      if (params['ref'] === 'devbox') return way;
      throw new FakeError('not_found', `No VM matches ${String(params['ref'])}`);
    },
    'ssh.config': () => ({ configFile: '/state/config', include: 'Include /state/config' }),
    'vm.show': () => ({ vm: daemon.vms[0] }),
  } };
});
afterEach(() => daemon.dispose());

const fakeSsh = (script: string): void => {
  mkdirSync(join(daemon.dir, 'bin'));
  writeFileSync(join(daemon.dir, 'bin', 'ssh'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
};
const banger = (...words: string[]): Promise<CliResult> => runCli(words, { env });
const usual = ['-F', '/state/config', '-o', 'IgnoreUnknown=WarnWeakCrypto', '-o', 'WarnWeakCrypto=no-pq-kex'];

describe('vm ssh', () => {
  test.each([
    [['devbox'], ['devbox.vm']],
    [['devbox', '--', 'make', 'a b'], ['devbox.vm', '--', "'make' 'a b'"]],
    [['-A', '-t', '-u', 'ann', 'devbox'], ['-A', '-t', '-l', 'ann', 'devbox.vm']],
    [['-N', '-L', '80:a:80', '-L', '81:b:81', '-R', '9:c:9', '-D', '1080', 'devbox'], ['-L', '80:a:80', '-L', '81:b:81', '-R', '9:c:9', '-D', '1080', '-N', 'devbox.vm']],
  ])('%j', async (words, expected) => {
    fakeSsh(`printf '%s\\n' "$@"`);
    const { code, out, err } = await banger('vm', 'ssh', ...words);
    expect([code, err]).toEqual([0, '']);
    expect(out.trimEnd().split('\n')).toEqual([...usual, ...expected]);
    expect(daemon.called('vm.ssh')).toEqual([{ ref: 'devbox' }]);
  });

  test.each([['exit 42', 42], ['exit 255', 255], ['kill -KILL $$', 137], ['kill -TERM $$', 143]])('answers with the code of ssh: %s is %i', async (script, expected) => {
    fakeSsh(script);
    expect((await banger('vm', 'ssh', 'devbox', '--', 'x')).code).toBe(expected);
  });

  test('gives ssh its own descriptors', async () => {
    fakeSsh('cat; echo err >&2');
    const { out, err } = await runCli(['vm', 'ssh', 'devbox', '--', 'x'], { env, input: 'in' });
    expect([out, err]).toEqual(['in', 'err\n']);
  });

  test.each([['TERM', 143], ['INT', 130], ['HUP', 129]] as const)('hands on %s, and waits for what ssh makes of it', async (name, expected) => {
    fakeSsh(`trap 'echo got ${name}; trap - ${name}; kill -${name} $$' ${name}; echo up; while :; do sleep 0.02; done`);
    const cli = startCli(['vm', 'ssh', 'devbox', '--', 'x'], { env });
    await until('ssh', () => cli.out().includes('up'));
    cli.child.kill(`SIG${name}`);
    const { code, out } = await cli.result;
    expect([code, out]).toEqual([expected, `up\ngot ${name}\n`]);
  });

  test('an unknown VM is told before ssh is run, like anything that is not ssh', async () => {
    fakeSsh('echo never');
    expect(await banger('vm', 'ssh', 'nosuch')).toMatchObject({ code: 125, out: '', err: expect.stringContaining('No VM matches nosuch') as string });
    expect(await banger('vm', 'ssh', '-N', 'devbox', '--', 'x')).toMatchObject({ code: 2, out: '' });
  });

  describe('afterwards', () => {
    const inTerminal = async (words: string): Promise<string> => (await startInTerminal(`${bangerProgram()} ${words}`, env).result).out.replaceAll('\r', '');
    const reminder = 'VM devbox still runs: banger vm stop devbox\n';
    test.each([
      ['vm ssh devbox', 'exit 3', true], ['vm ssh -q devbox', 'exit 0', false], ['vm ssh devbox -- sh', 'exit 0', false],
      ['vm ssh -N devbox', 'exit 0', false], ['vm ssh devbox', 'exit 255', false], ['vm ssh devbox </dev/null', 'exit 0', false],
    ])('%s, %s: says that the VM still runs: %s', async (words, script, expected) => {
      fakeSsh(script);
      expect(await inTerminal(words)).toBe(expected ? reminder : '');
    });
    test('says nothing of a VM that has stopped', async () => {
      fakeSsh('exit 0');
      daemon.vms = [fakeVm('aaaaaaaaaaaa', 'devbox', { state: 'stopped' })];
      expect(await inTerminal('vm ssh devbox')).toBe('');
    });
  });

  describe('without ssh in PATH', () => {
    const note = "note: there is no ssh in PATH; this is the guest agent's own terminal\n";
    beforeEach(() => {
      env = { ...env, PATH: join(daemon.dir, 'nothing') };
    });
    test("runs the command through the guest agent, and says so", async () => {
      daemon.options = { ...daemon.options, exec: async (stream) => {
        await stream.send(16, 'hello\n');
        stream.exit({ code: 6 });
      } };
      expect(await banger('vm', 'ssh', '-u', 'ann', 'devbox', '--', 'make', 'a b')).toMatchObject({ code: 6, out: 'hello\n', err: note });
      expect(daemon.called('vm.exec')).toEqual([{ ref: 'devbox', command: ['make', 'a b'], stdin: true, user: 'ann' }]);
    });
    test.each(['-A', '-N', '-L=1:a:1', '-R=1:a:1', '-D=1'])('refuses %s', async (flag) => {
      const { code, err } = await banger('vm', 'ssh', flag, 'devbox');
      expect([code, err]).toEqual([125, expect.stringMatching(/^banger: There is no ssh in PATH, and --[a-z-]+ needs it\n {2}hint: install openssh-client\n/) as string]);
      expect(daemon.called('vm.exec')).toEqual([]);
    });
  });
});

test('vm ssh-config prints the stanza, of a stopped VM too', async () => {
  expect(await banger('vm', 'ssh-config', 'devbox')).toMatchObject({ code: 0, out: 'Host devbox.vm devbox\n', err: '' });
  expect(daemon.called('vm.ssh')).toEqual([{ ref: 'devbox', stopped: true }]);
  expect((await banger('vm', 'ssh-config', 'nosuch')).code).toBe(1);
});

describe('ssh-config', () => {
  const file = (): string => join(daemon.dir, '.ssh', 'config');
  const note = /^note: ssh goes by the list of users and not by HOME/;

  test('shows where things are and changes nothing', async () => {
    const { code, out, err } = await banger('ssh-config');
    expect([code, err]).toEqual([0, expect.stringMatching(note) as string]);
    expect(out).toBe(`config     /state/config\ninclude    Include /state/config\ninstalled  no: banger ssh-config --install puts the line at the top of ${file()}\n`);
    expect(JSON.parse((await banger('ssh-config', '--json')).out)).toEqual({ configFile: '/state/config', include: 'Include /state/config', userConfigFile: file(), installed: false });
    expect(existsSync(join(daemon.dir, '.ssh'))).toBe(false);
  });

  test('puts the line in, once, and takes it out', async () => {
    mkdirSync(join(daemon.dir, '.ssh'));
    writeFileSync(file(), 'Host a\r\n  User b', { mode: 0o644 });
    expect((await banger('ssh-config', '--install')).out).toBe(`${file()} includes /state/config now: ssh <name>.vm works\n`);
    const installed = readFileSync(file(), 'latin1');
    expect(installed).toMatch(/^# >>> banger.*\nInclude \/state\/config\n# <<< banger <<<\nHost a\r\n {2}User b$/);
    expect((await banger('ssh-config', '--install')).out).toBe(`${file()} has it already: ssh <name>.vm works\n`);
    expect(readFileSync(file(), 'latin1')).toBe(installed);
    expect((await banger('ssh-config', '--json')).out).toContain('"installed": true');
    await daemon.close(); // taking it out needs no daemon
    expect((await banger('ssh-config', '--uninstall')).out).toBe(`${file()} is as it was before banger ssh-config --install\n`);
    expect([readFileSync(file(), 'latin1'), statSync(file()).mode & 0o777]).toEqual(['Host a\r\n  User b', 0o644]);
    expect((await banger('ssh-config', '--uninstall')).out).toBe(`${file()} has nothing of banger\n`);
  });

  test('makes the file where there is none, and takes it away again', async () => {
    await banger('ssh-config', '--install');
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    await banger('ssh-config', '--uninstall');
    expect(existsSync(file())).toBe(false);
  });

  test('refuses what makes no sense, and a path that clients read differently', async () => {
    expect((await banger('ssh-config', '--install', '--uninstall')).code).toBe(2);
    expect((await banger('ssh-config', '--install', '--json')).code).toBe(2);
    daemon.options = { methods: { 'ssh.config': () => ({ configFile: '/st%te/config', include: null }) } };
    expect(await banger('ssh-config', '--install')).toMatchObject({ code: 1, err: expect.stringContaining('/st%te/config cannot be included') as string });
    expect((await banger('ssh-config')).out).toContain('not possible');
    expect(existsSync(join(daemon.dir, '.ssh'))).toBe(false);
  });
});
