// Whole commands against a scripted daemon: arguments in, calls, output and exit codes out.
import { describe, expect, test } from 'vitest';
import { eachDaemon } from './testing/each-daemon.ts';
import { type FakeDaemon, FakeError, fakeVm } from './testing/fake-daemon.ts';
import { runCli, startCli, startInTerminal, bangerProgram, until } from './testing/run-cli.ts';

let daemon: FakeDaemon;
const banger = eachDaemon((made) => {
  daemon = made;
});

describe('help and bad usage', () => {
  test.each([[[]], [['--help']], [['help']], [['-h']]])('%j shows the commands', async (words) => {
    const { code, out } = await banger(...words);
    expect(code).toBe(0);
    expect(out).toMatchSnapshot();
  });
  test.each([[['vm']], [['vm', '--help']], [['help', 'vm']]])('%j shows the group', async (words) => {
    const { code, out } = await banger(...words);
    expect(code).toBe(0);
    expect(out).toMatchSnapshot();
  });
  test('help of a command has the flags of plugins', async () => {
    daemon.options = { methods: { 'plugin.cli': () => ({ commands: [], flags: [{ section: 'usernet', name: 'publish', key: 'publish', type: 'list', summary: 'Publish a port', placeholder: 'host:guest', verbs: ['run'] }, { section: 'disks', name: 'disk-size', key: 'size', type: 'string', summary: 'Size', placeholder: '<size>', verbs: ['run'] }] }) } };
    const { code, out } = await banger('vm', 'run', '--help');
    expect(code).toBe(0);
    expect(out).toMatchSnapshot();
    expect((await banger('vm', 'create', '--help')).out).not.toContain('--publish');
  });
  test.each([
    [['vm', 'lsit'], 'banger: Unknown command banger vm lsit\n  hint: did you mean banger vm list?\n'],
    [['vn', 'list'], 'banger: Unknown command banger vn\n  hint: did you mean banger vm?\n'],
    [['fly'], 'banger: Unknown command banger fly\n  hint: banger --help lists the commands\n'],
    [['--colour'], 'banger: Unknown flag --colour\n  hint: banger --help lists the commands\n'],
    [['vm', 'list', '--jsno'], 'banger: Unknown flag --jsno for banger vm list\n  hint: did you mean --json?\n'],
    [['vm', 'show'], 'banger: banger vm show needs <ref>\n  hint: banger vm show --help shows how it is used\n'],
    [['vm', 'run', '-d', '--rm'], 'banger: --detach and --rm exclude each other\n  hint: a detached VM stays until banger vm delete\n'],
    [['vm', 'run', '-d', '--', 'true'], 'banger: --detach (-d) takes no command\n  hint: banger vm run -d, then banger vm exec <name> -- <command>\n'],
    [['vm', 'run', '--memory', 'lots', '--', 'true'], 'banger: Invalid flag: --memory: wants MiB or a size such as 2G, got lots\n'],
    [['vm', 'run', '--init', 'systemd'], 'banger: Invalid flag: --init: wants auto, image or agent, got systemd\n'],
    [['vm', 'exec', 'devbox', '-t', '--', 'top'], 'banger: -t needs a terminal on stdin and stdout\n  hint: leave -t out: the command then gets pipes\n'],
    [['vm', 'create', '--env', 'NOT_SET_HERE'], 'banger: --env NOT_SET_HERE: it is not set here\n  hint: --env NOT_SET_HERE=value gives it one\n'],
    [['vm', 'set', 'devbox'], 'banger: banger vm set needs something to set\n  hint: banger vm set --help lists the flags\n'],
    [['rpc', 'ping', '[1]'], 'banger: The parameters are no JSON object\n  hint: such as \'{"ref":"devbox"}\'\n'],
    [['vm', 'prune'], 'banger: banger vm prune asks first, and stdin is no terminal\n  hint: banger vm prune -f does not ask\n'],
  ])('%j exits 2 with one sentence', async (words, text) => {
    const { code, err, out } = await banger(...words);
    expect([err, code, out]).toEqual([text, 2, '']);
    expect(daemon.calls.filter((call) => !['rpc.hello', 'plugin.cli', 'vm.list'].includes(call.method))).toEqual([]);
  });
});

describe('lists', () => {
  test('vm list: table, ids, JSON; ps is the same', async () => {
    daemon.vms = [fakeVm('aaaaaaaaaaaa', 'devbox', { createdAt: new Date().toISOString(), sections: { usernet: { address: '127.1.0.1' } } })];
    daemon.options = { methods: { 'vm.list': () => ({ vms: daemon.vms, columns: [{ header: 'Address', section: 'usernet', key: 'address' }] }) } };
    const expected = 'ID            NAME    STATE    IMAGE            VCPU  MEM      ADDRESS    CREATED\n'
      + 'aaaaaaaaaaaa  devbox  running  debian-bookworm  1     512 MiB  127.1.0.1  just now\n';
    expect((await banger('vm', 'list')).out).toBe(expected);
    expect((await banger('ps')).out).toBe(expected);
    expect((await banger('vm', 'list', '-q')).out).toBe('aaaaaaaaaaaa\n');
    expect(JSON.parse((await banger('vm', 'list', '--json')).out)).toMatchObject({ vms: [{ id: 'aaaaaaaaaaaa' }], columns: [{}] });
  });
  test('says hello first, with protocol and build, in the same connection', async () => {
    await banger('vm', 'list');
    expect(daemon.calls.map((call) => call.method)).toEqual(['rpc.hello', 'vm.list']);
    expect(daemon.calls[0]!.params).toMatchObject({ protocol: '1.0', build: expect.stringMatching(/^\d{8}T\d{6}Z-[0-9a-f]{12}$/) as string });
  });
});

describe('many references', () => {
  test('are resolved from one list, merged, run at once, shown in order; a failure lets the others go on', async () => {
    let running = 0;
    let most = 0;
    const all = Promise.withResolvers<void>();
    daemon.options = { methods: { 'vm.stop': async ({ params }) => {
      running += 1;
      most = Math.max(most, running);
      if (running === 2) all.resolve();
      await all.promise; // ends only when both are under way
      if (params['ref'] === 'cccccccccccc') throw new FakeError('wrong_state', 'VM devil is starting, not running');
      return { vm: daemon.vms[0] };
    } } };
    const { code, out, err } = await banger('vm', 'stop', 'nobody', 'devil', 'devbox', 'aaaaaaaaaaaa', 'aaa', 'de');
    expect(code).toBe(1);
    expect(out).toBe('devbox stopped\n');
    expect(err).toBe('banger: No VM matches nobody\n  hint: banger vm list shows what there is\n'
      + 'banger: VM devil is starting, not running\n(op-fake01)\nbanger: VM reference de fits 2: devbox, devil\n  hint: type more of the id or name\n');
    expect(most).toBe(2);
    expect(daemon.called('vm.list')).toHaveLength(1);
    expect(daemon.called('vm.stop').map((params) => params['ref']).sort()).toEqual(['aaaaaaaaaaaa', 'cccccccccccc']);
  });
  test('an exact name wins over the beginning of others', async () => {
    daemon.vms = [fakeVm('111111111111', 'dev'), fakeVm('222222222222', 'devbox')];
    expect((await banger('vm', 'delete', 'dev')).out).toBe('dev deleted\n');
    expect(daemon.called('vm.delete')).toEqual([{ ref: '111111111111' }]);
  });
  test('show: one gives {vm}, several {vms}, a missing one exits 1', async () => {
    expect(JSON.parse((await banger('vm', 'show', 'devbox', '--json')).out)).toMatchObject({ vm: { name: 'devbox' } });
    expect(JSON.parse((await banger('vm', 'show', 'devbox', 'builder', '--json')).out)).toMatchObject({ vms: [{ name: 'devbox' }, { name: 'builder' }] });
    expect(await banger('vm', 'show', 'nobody', '--json')).toMatchObject({ code: 1, out: '' });
    expect((await banger('vm', 'show', 'devbox')).out).toContain('state    running\n');
  });
  test('kill takes a signal by name, with or without SIG', async () => {
    daemon.options = { methods: { 'vm.kill': () => ({ vm: daemon.vms[0] }) } };
    expect((await banger('vm', 'kill', 'devbox', '--signal', 'sigterm')).code).toBe(0);
    expect((await banger('vm', 'kill', 'devbox')).code).toBe(0);
    expect(daemon.called('vm.kill')).toEqual([{ ref: 'aaaaaaaaaaaa', signal: 'TERM' }, { ref: 'aaaaaaaaaaaa' }]);
  });
  test.each(['pause', 'resume'])('%s works on many', async (verb) => {
    daemon.options = { methods: { [`vm.${verb}`]: () => ({ vm: daemon.vms[0] }) } };
    expect(await banger('vm', verb, 'devbox', 'devil')).toMatchObject({ code: 0, out: `devbox ${verb}d\ndevil ${verb}d\n`, err: '' });
    expect(daemon.called(`vm.${verb}`)).toEqual([{ ref: 'aaaaaaaaaaaa' }, { ref: 'cccccccccccc' }]);
  });
  test('a paused VM is not pruned, and its size counts from the next start, too', async () => {
    daemon.vms = [fakeVm('aaaaaaaaaaaa', 'devbox', { state: 'paused' })];
    expect(await banger('vm', 'prune', '-f')).toMatchObject({ code: 0, out: 'Nothing to prune\n' });
    daemon.options = { methods: { 'vm.set': () => ({ vm: daemon.vms[0] }) } };
    expect((await banger('vm', 'set', 'devbox', '--vcpu', '2')).out).toBe('devbox set; size counts from the next start\n');
  });
  test('prune -f deletes what does not run, and nothing else', async () => {
    expect(await banger('vm', 'prune', '-f')).toMatchObject({ code: 0, out: 'builder deleted\n' });
    expect(daemon.called('vm.delete')).toEqual([{ ref: 'abbbbbbbbbbb' }]);
  });
});

describe('flags become parameters', () => {
  test('text stays text, sizes become MiB, env comes from the caller, plugin flags go to their section', async () => {
    daemon.options = { methods: { 'plugin.cli': () => ({ commands: [], flags: [
      { section: 'usernet', name: 'publish', key: 'publish', type: 'list', summary: '', verbs: ['create'] },
      { section: 'disks', name: 'disk-size', key: 'diskSize', type: 'string', summary: '', verbs: ['create', 'run'] },
      { section: 'ports', name: 'no-auto-ports', key: 'auto', type: 'boolean', value: false, summary: '', verbs: ['create'] },
    ] }) } };
    const result = await runCli(['vm', 'create', '--name', '007', '--vcpu', '-1', '--memory', '2G', '-e', 'A=1=2', '-e', 'FROM_ME', '--publish', '80:80', '--publish=1e3:5', '--disk-size', '08', '--no-auto-ports', '--no-start'],
      { env: { ...daemon.env, FROM_ME: 'mine' } });
    expect(result).toMatchObject({ code: 0, out: '007\n' });
    expect(daemon.called('vm.create')).toEqual([{
      name: '007', vcpu: -1, memoryMiB: 2048, env: { A: '1=2', FROM_ME: 'mine' }, start: false,
      sections: { usernet: { publish: ['80:80', '1e3:5'] }, disks: { diskSize: '08' }, ports: { auto: false } },
    }]);
  });
  test('a plugin flag of another verb is unknown', async () => {
    daemon.options = { methods: { 'plugin.cli': () => ({ commands: [], flags: [{ section: 'x', name: 'x', key: 'x', type: 'string', summary: '', verbs: ['set'] }] }) } };
    expect(await banger('vm', 'create', '--x', '1')).toMatchObject({ code: 2 });
  });
  test('--plan shows steps and makes nothing', async () => {
    daemon.options = { methods: { 'vm.plan': () => ({ vm: { name: 'p' }, steps: [{ name: 'disks.root', plugin: 'disks', phase: 'storage', makes: ['file /x'], needsRoot: 'because' }] }) } };
    expect((await banger('vm', 'run', '--plan')).out).toBe('p would be made in 1 steps:\nstorage\n  disks.root  needs root: because\n    file /x\nNothing was made.\n');
    expect(daemon.called('vm.create')).toEqual([]);
  });
  test('commands of plugins are built from data', async () => {
    daemon.options = { methods: {
      'plugin.cli': () => ({ flags: [], commands: [{ plugin: 'hello', path: ['hello', 'greet'], summary: 'Greet', method: 'hello.greet', args: [{ name: 'who', required: true }], flags: { loudLevel: { summary: '', type: 'integer' } }, render: 'keyvalue' }] }),
      'hello.greet': ({ params }) => ({ text: `hello ${params['who'] as string}`, level: params['loudLevel'] }),
    } };
    expect(await banger('hello', 'greet', '007', '--loud-level', '3')).toMatchObject({ code: 0, out: 'text   hello 007\nlevel  3\n' });
    expect(await banger('hello', 'greet', '--lod-level', '3')).toMatchObject({ code: 2 });
    expect((await banger('hello')).out).toContain('hello greet  Greet');
  });
});

describe('errors and colour', () => {
  test('a daemon error: sentence, hint, op id, exit code by its code', async () => {
    daemon.options = { methods: { 'vm.create': () => {
      throw new FakeError('already_exists', 'VM x already exists', 'choose another name');
    } } };
    expect(await banger('vm', 'create', '-q')).toMatchObject({ code: 1, err: 'banger: VM x already exists\n  hint: choose another name\n(op-fake01)\n' });
    expect(await banger('vm', 'run', '-q', '--', 'true')).toMatchObject({ code: 125 });
    daemon.options = { methods: { 'vm.create': () => {
      throw new FakeError('bad_request', 'Invalid request: vcpu: must be positive');
    } } };
    expect(await banger('vm', 'run', '-q', '--vcpu', '0', '--', 'true')).toMatchObject({ code: 2 });
  });
  test('colours on a terminal, none with NO_COLOR', async () => {
    const command = `${bangerProgram()} vm stop nobody/x; ${bangerProgram()} image list`;
    const colored = await startInTerminal(command, daemon.env).result;
    expect(colored.out).toContain('\u001b[2m(op-fake01)\u001b[0m');
    const plain = await startInTerminal(command, { ...daemon.env, NO_COLOR: '1' }).result;
    expect(plain.out).not.toContain('\u001b[');
    expect(plain.out).toContain('(op-fake01)');
  });
  test('stages are lines where there is no terminal', async () => {
    daemon.options = { methods: { 'vm.create': ({ progress }) => {
      progress('boot', 'waiting for guest agent');
      return { vm: fakeVm('dddddddddddd', 'fresh') };
    } } };
    const { err, out } = await banger('vm', 'create', '--image', 'tiny', '--vcpu', '2');
    expect(out).toBe('fresh\n');
    expect(err).toMatch(/^spec: tiny \| 2 vcpu\n {2}boot: waiting for guest agent\nfresh ready in [\d.]+ m?s \(1 vcpu \| 512 MiB \| debian-bookworm\)\n$/);
  });
  test('Ctrl-C while a VM is made cancels the operation and exits 130', async () => {
    daemon.options = { methods: { 'vm.create': async ({ cancelled }) => {
      await cancelled;
      throw new FakeError('cancelled', 'Operation was cancelled');
    } } };
    const cli = startCli(['vm', 'run', '--rm', '--', 'true'], { env: daemon.env });
    await until('the create call', () => daemon.called('vm.create').length === 1);
    cli.child.kill('SIGINT');
    expect(await cli.result).toMatchObject({ code: 130, err: '' });
  });
  test('a closed stdout ends quietly with 141', async () => {
    daemon.vms = Array.from({ length: 20_000 }, (_, i) => fakeVm(String(i).padStart(12, '0'), `vm-${i}`));
    const cli = startCli(['vm', 'list', '--json'], { env: daemon.env });
    cli.child.stdout!.once('data', () => cli.child.stdout!.destroy());
    expect(await cli.result).toMatchObject({ code: 141, err: '' });
  });
});

test('version: several lines, one line, and no daemon asked', async () => {
  expect((await banger('version')).out).toMatch(/^version {3}\d+\.\d+\.\d+\ncommit {4}\S+\nbuilt_at {2}\S+\nbuild {5}\S+\n$/);
  expect((await banger('--version')).out).toMatch(/^banger \d+\.\d+\.\d+ \(commit \S+, built \S+\)\n$/);
  expect(JSON.parse((await banger('version', '--json')).out)).toHaveProperty('build');
  expect(daemon.calls).toEqual([]);
});
