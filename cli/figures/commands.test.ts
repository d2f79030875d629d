// vm stats, vm top, vm health, vm ping and metrics as commands, against a scripted daemon.
import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeDaemon, FakeError } from '../testing/fake-daemon.ts';
import { bangerProgram, runCli, startCli, startInTerminal, type CliResult, type RunningCli } from '../testing/run-cli.ts';
import { waitFor } from '../../test/support/wait.ts';
import { entry } from '../testing/figures.ts';

let daemon: FakeDaemon;
beforeEach(async () => {
  daemon = await new FakeDaemon().listen();
  daemon.options = { methods: { 'vm.stats': () => ({ stats: [entry('devbox'), entry('builder', { state: 'stopped', stale: true })] }) } };
});
afterEach(async () => { await daemon.dispose(); });
const banger = (...words: string[]): Promise<CliResult> => runCli(words, { env: daemon.env });

const tableText = 'NAME     STATE    CPU%  MEM/LIMIT  RSS   DISK  NET RX/TX  UPTIME\n'
  + 'devbox   running  12.3  120M/512M  310M  1.2G  6.5M/900B  3h12m\n'
  + 'builder  stopped  12.3  120M/512M  310M  1.2G  6.5M/900B  3h12m\n';
const note = 'note: not running, the last figures known: builder\n';

describe('vm stats', () => {
  test('every VM, with what is old said on stderr', async () => {
    expect(await banger('vm', 'stats')).toMatchObject({ code: 0, out: tableText, err: note });
    expect(daemon.called('vm.stats')).toEqual([{}]);
  });
  test('those named, each once; one that is not there is told and the others are shown', async () => {
    expect(await banger('vm', 'stats', 'devbox', 'aaaa', 'nobody', '--json')).toMatchObject({ code: 1, err: 'banger: No VM matches nobody\n  hint: banger vm list shows what there is\n' });
    expect(daemon.called('vm.stats')).toEqual([{ refs: ['aaaaaaaaaaaa'] }]);
    expect(await banger('vm', 'stats', 'nobody')).toMatchObject({ code: 1, out: '' });
    expect(daemon.called('vm.stats')).toHaveLength(1);
  });
  test('--json is the result', async () => {
    expect(JSON.parse((await banger('vm', 'stats', '--json')).out)).toEqual(JSON.parse(JSON.stringify({ stats: [entry('devbox'), entry('builder', { state: 'stopped', stale: true })] })));
  });
  test('--watch goes on, waits for guests the first time only, and ends with its reader', async () => {
    const running = startCli(['vm', 'stats', '--watch', '--json'], { env: daemon.env });
    await waitFor('two frames', () => running.out().split('\n').length >= 3);
    expect(running.out().trim().split('\n').map((line) => (JSON.parse(line) as { stats: object[] }).stats.length)).toContain(2);
    expect(daemon.called('vm.stats').slice(0, 2)).toEqual([{}, { wait: false }]);
    running.child.stdout!.destroy();
    expect((await running.result).code).toBe(141);
  });
  test('what a guest had a hand in does not reach the terminal as it is', async () => {
    daemon.options = { methods: { 'vm.stats': () => ({ stats: [entry('devbox', { problem: 'x\u001b[2J\u0007' })] }) } };
    expect((await banger('vm', 'stats')).err).toBe('note: devbox: x?[2J?\n');
  });
});

describe('vm health, vm ping and metrics', () => {
  const vm = (name: string) => ({ id: name, name });
  test('health: a table, and exit code 1 when one is not healthy', async () => {
    daemon.options = { methods: { 'vm.health': () => ({ health: [
      { vm: vm('devbox'), state: 'running', healthy: true, answeredMs: 12, warnings: ["the guest's file system / is 99 % full"] },
      { vm: vm('silent'), state: 'running', healthy: false, reason: 'its guest agent did not answer within 2 s', warnings: [] },
    ] }) } };
    expect(await banger('vm', 'health')).toMatchObject({ code: 1, err: '', out:
      'NAME    STATE    HEALTHY  ANSWERED  NOTES\n'
      + "devbox  running  yes      12 ms     the guest's file system / is 99 % full\n"
      + 'silent  running  no       -         its guest agent did not answer within 2 s\n' });
    daemon.options = { methods: { 'vm.health': () => ({ health: [] }) } };
    expect((await banger('vm', 'health', '--json')).code).toBe(0);
  });
  test('ping: a line each', async () => {
    daemon.options = { methods: { 'vm.ping': () => ({ pings: [{ vm: vm('devbox'), alive: true, answeredMs: 12 }, { vm: vm('devil'), alive: false, reason: 'it is paused' }] }) } };
    expect(await banger('vm', 'ping', 'devbox', 'devil')).toMatchObject({ code: 1, out: 'devbox answered in 12 ms\ndevil did not answer: it is paused\n' });
    expect(daemon.called('vm.ping')).toEqual([{ refs: ['aaaaaaaaaaaa', 'cccccccccccc'] }]);
    expect((await banger('vm', 'ping')).code).toBe(2);
  });
  test('metrics: the text as it is', async () => {
    daemon.options = { methods: { 'stats.metrics': () => ({ text: '# TYPE a gauge\na 1\n# EOF\n' }) } };
    expect((await banger('metrics')).out).toBe('# TYPE a gauge\na 1\n# EOF\n');
  });
});

describe('vm top', () => {
  test('without a terminal it prints once, sorted, and waits for no guest', async () => {
    expect(await banger('vm', 'top', '--sort', 'n')).toMatchObject({ code: 0, out: tableText.replace(/(devbox.*\n)(builder.*\n)/, '$2$1'), err: note });
    expect(daemon.called('vm.stats')).toEqual([{ wait: false }]);
    expect(await banger('vm', 'top', '--sort', 'size')).toMatchObject({ code: 2, err: 'banger: --sort: wants cpu, mem, name, disk or uptime, got size\n' });
  });

  /** In a terminal of 80 columns whose settings are told before and after. */
  function top(rows = 24): RunningCli {
    return startInTerminal(`tty; stty cols 80 rows ${rows}; stty -g; '${bangerProgram()}' vm top; echo "code=$?"; stty -g; echo over`, daemon.env);
  }
  const entered = '\u001b[?1049h\u001b[?25l';
  const left = '\u001b[?25h\u001b[?1049l';
  const painted = (running: RunningCli, text: string): Promise<unknown> => waitFor(`${text} on the screen`, () => running.out().includes(text));
  /** Nothing of the screen is left, and the terminal is set as it was. */
  async function expectRestored(running: RunningCli, code: number): Promise<void> {
    await waitFor('the shell to have the terminal back', () => /over\r?\n/.test(running.out()));
    const out = running.out();
    expect(out.split(entered)).toHaveLength(2);
    expect(out.split(left)).toHaveLength(2);
    expect(out.lastIndexOf(left)).toBeGreaterThan(out.lastIndexOf('\u001b[H'));
    expect(out).toContain(`code=${code}\r\n`);
    const settings = out.match(/^[0-9a-f]+(?::[0-9a-f]+){10,}\r?$/gm);
    expect(settings).toHaveLength(2);
    expect(settings![1]).toBe(settings![0]);
    running.child.stdin!.end();
    await running.result;
  }

  test('keys sort, q ends it', async () => {
    const running = top();
    await painted(running, 'by cpu');
    running.child.stdin!.write('n');
    await painted(running, 'by name');
    running.child.stdin!.write('\u001b[A');
    running.child.stdin!.write('x');
    running.child.stdin!.write('d');
    await painted(running, 'by disk');
    running.child.stdin!.write('q');
    await expectRestored(running, 0);
  });
  test('Ctrl-C ends it', async () => {
    const running = top();
    await painted(running, 'by cpu');
    running.child.stdin!.write('\u0003');
    await expectRestored(running, 0);
  });
  test.each([['TERM', 143], ['INT', 130], ['HUP', 129]] as const)('%s ends it with %i', async (signal, code) => {
    const running = top();
    await painted(running, 'by cpu');
    process.kill(pidOfTop(running), `SIG${signal}`);
    await expectRestored(running, code);
  });
  test('the end of the daemon ends it, with the reason after the screen', async () => {
    const running = top();
    await painted(running, 'by cpu');
    await daemon.close();
    await expectRestored(running, 1);
    expect(running.out().slice(running.out().lastIndexOf(left))).toContain('banger: The daemon closed the connection');
  });
  test('a failure of the daemon ends it, too', async () => {
    let calls = 0;
    daemon.options = { methods: { 'vm.stats': () => {
      calls += 1;
      if (calls > 1) throw new FakeError('plugin_failed', 'Plugin stats failed');
      return { stats: [entry('devbox')] };
    } } };
    await expectRestored(top(), 1);
  });
  test('another size of the window is drawn at once', async () => {
    daemon.options = { methods: { 'vm.stats': () => ({ stats: Array.from({ length: 30 }, (_, n) => entry(`vm${n}`)) }) } };
    const running = top(12);
    await painted(running, '22 more: a higher window shows them');
    const [tty] = /\/dev\/pts\/\d+/.exec(running.out())!;
    execFileSync('stty', ['-F', tty, 'cols', '40', 'rows', '40']);
    await waitFor('all of them', () => running.out().slice(running.out().lastIndexOf('\u001b[H')).includes('vm29'));
    const frame = running.out().slice(running.out().lastIndexOf('\u001b[H') + 3).replaceAll('\u001b[K', '').split('\u001b[J')[0]!;
    expect(frame.split(/\r*\n/).filter((line) => line.length > 40)).toEqual([]);
    running.child.stdin!.write('q');
    await expectRestored(running, 0);
  });
});

/** The process whose parent is the terminal's shell: banger itself, by its name in /proc. */
function pidOfTop(running: RunningCli): number {
  const found = execFileSync('ps', ['-e', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' }).split('\n').map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line)).filter((match) => match !== null)
    .map(([, pid, parent, args]) => ({ pid: Number(pid), parent: Number(parent), args: args! }));
  const below = (pid: number): typeof found => found.filter((one) => one.parent === pid).flatMap((one) => [one, ...below(one.pid)]);
  return below(running.child.pid!).find(({ args }) => args.includes('main.cjs') && args.endsWith('vm top'))!.pid;
}
