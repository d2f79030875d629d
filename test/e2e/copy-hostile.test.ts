// Guests whose agent answers wrongly, with the real daemon and the real command line: every verb ends, says why, and nobody else notices.
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { HostileAgent, type HostileStream } from '../support/hostile-agent.ts';
import { mute, protocolBreakers, stallers, type Script } from '../support/hostile-scripts.ts';
import { makeHost, type Host, type RunResult } from '../support/host.ts';
import { makeTar, type TarEntry } from '../support/tar.ts';

/** Far above what any of it takes; a verb that runs into it hangs. */
const deadlineMs = 60_000;

let host: Host;
let agents: string;
let evil: HostileAgent;
let good: HostileAgent;
const everyAgent: HostileAgent[] = [];
let rounds = 0;
/** Where copies go: a directory in one of which nothing but they may change. */
let box: string;
let target: string;

/** Well-behaved: commands end at once. */
const behave: Script = (stream) => {
  stream.opened();
  stream.data('fine\n');
  stream.eof();
  stream.eof(1);
  stream.exit(0);
};

beforeAll(async () => {
  host = await makeHost({ bare: true, daemonEntry: 'test/support/hostile-daemon.ts', config: '[vm_defaults]\nvcpu = 1\nmemory_mib = 512\n[plugins.copy]\nstall_timeout_seconds = 2\n' });
  agents = join(host.dir, 'agents');
  mkdirSync(agents);
  await host.startDaemon({ BANGER_TEST_AGENTS: agents });
  [evil, good] = [await makeVm('evil'), await makeVm('good')];
  good.options = { onOpen: behave };
});
afterAll(async () => {
  await host.dispose();
  for (const agent of everyAgent) await agent.close();
});

/** A VM with an agent of ours. The daemon greets one that broke the protocol ever later, so each way to break it gets one. */
async function makeVm(name: string): Promise<HostileAgent> {
  const agent = await new HostileAgent(join(agents, `${name}.sock`)).listen();
  everyAgent.push(agent);
  await host.ok(['vm', 'create', '--name', name]);
  return agent;
}
beforeEach(() => {
  rounds += 1;
  box = join(host.dir, `box${rounds}`);
  target = join(box, 'target');
  mkdirSync(target, { recursive: true });
  writeFileSync(join(box, 'outside'), 'untouched');
});
afterEach(async () => {
  expect(everyAgent.flatMap(({ failures }) => failures)).toEqual([]);
  // Another VM answers, and the daemon is the same.
  expect((await host.ok(['vm', 'exec', 'good', '--', 'true'])).out).toBe('fine\n');
});

const bad = (onOpen: Script): void => { evil.options = { onOpen }; };
const banger = async (...words: string[]): Promise<RunResult> => {
  const result = await host.banger(words, { timeoutMs: deadlineMs });
  expect(result.signal, `${words.join(' ')} had to be killed\n${result.err}`).toBe(null);
  return result;
};
const sourceFile = (): string => {
  const path = join(box, 'source');
  // More than all windows and buffers on the way hold.
  writeFileSync(path, Buffer.alloc(4 * 1024 * 1024, 'x'));
  return path;
};
const leftovers = (): string[] => readdirSync(target).filter((name) => name.startsWith('.banger-copy-'));

test.each(Object.entries(protocolBreakers).map(([what, script], i) => ({ what, script, name: `breaker${i}` })))('a guest that sends $what is told of by every verb', async ({ script, name }) => {
  (await makeVm(name)).options = { onOpen: script };
  for (const words of [['exec', name, '--', 'true'], ['cp', `${name}:/x`, target], ['cp', sourceFile(), `${name}:/x`], ['cp', `${name}:/x`, '-']]) {
    const result = await banger('vm', ...words);
    expect([words[0], result.code, result.err]).toEqual([words[0], words[0] === 'exec' ? 125 : 1, expect.stringContaining(`lost contact with guest agent of ${name}`)]);
  }
  expect(readdirSync(target)).toEqual([]);
});

describe.each(Object.entries(stallers))('a guest that sends %s', (_what, script) => {
  test.each(['in', 'out'] as const)('ends a copy %s with the reason', async (direction) => {
    bad(script);
    const result = await banger('vm', 'cp', ...(direction === 'in' ? [sourceFile(), 'evil:/x'] : ['evil:/x', target]));
    expect([result.code, result.err]).toEqual([1, expect.stringMatching(/Gave up waiting for the guest of evil to (take more for|send more of) \/x after 2 s/)]);
    expect(result.err).not.toContain('\u001b');
    expect(readdirSync(target)).toEqual([]);
  });
});

test('a guest that never answers is given up', async () => {
  bad(mute);
  const both = await Promise.all([banger('vm', 'cp', 'evil:/x', target), banger('vm', 'exec', 'evil', '--', 'true')]);
  for (const { err } of both) expect(err).toContain('Gave up waiting for the guest of evil to begin');
  expect(both.map(({ code }) => code)).toEqual([1, 125]);
});

describe('a tar stream from a guest', () => {
  const sends = (entries: readonly TarEntry[], end = true): Script => async (stream: HostileStream) => {
    stream.opened();
    await stream.flow(makeTar(entries, { end }));
    stream.eof();
    stream.eof(1);
    stream.exit(0);
  };
  const copy = (entries: readonly TarEntry[], source = 'evil:/data/.'): Promise<RunResult> => {
    bad(sends(entries));
    return banger('vm', 'cp', source, target);
  };
  afterEach(() => {
    expect(readFileSync(join(box, 'outside'), 'utf8')).toBe('untouched');
    expect(readdirSync(box).filter((name) => !['outside', 'target', 'source'].includes(name))).toEqual([]);
    expect(leftovers()).toEqual([]);
  });

  test.each([
    ['..', [{ name: '../outside', content: 'evil' }]],
    ['.. in the middle', [{ name: 'a/', type: '5' }, { name: 'a/../../outside', content: 'evil' }]],
    ['a hard link to outside', [{ name: 'link', type: '1', link: '../outside' }]],
    ['a bad checksum', [{ name: 'a', content: 'evil', corrupt: true }]],
  ] as const)('with %s is refused', async (_what, entries) => {
    const result = await copy(entries);
    expect([result.code, result.err]).toEqual([1, expect.stringMatching(/^banger: host: .*(put in place)/)]);
    expect(readdirSync(target).filter((name) => name !== 'a')).toEqual([]);
  });

  test('with absolute names stays below the destination', async () => {
    await copy([{ name: join(box, 'outside'), content: 'evil' }]);
    expect(existsSync(join(target, box, 'outside'))).toBe(true);
  });

  test('with a link to outside and a file through it writes nothing there', async () => {
    const result = await copy([{ name: 'a', type: '2', link: '..' }, { name: 'a/outside', content: 'evil' }, { name: 'b', content: 'fine' }]);
    expect(result.code).toBe(1);
    expect(result.err).toContain('host: a/outside is left out');
    expect([readlinkSync(join(target, 'a')), readFileSync(join(target, 'b'), 'utf8')]).toEqual(['..', 'fine']);
  });

  test('does not go through a link that is there', async () => {
    symlinkSync('..', join(target, 'x'));
    await copy([{ name: 'x/outside', content: 'evil' }]);
    await copy([{ name: 'x/', type: '5' }, { name: 'x/outside', content: 'evil' }], 'evil:/data/x');
    expect(lstatSync(join(target, 'x')).isSymbolicLink()).toBe(true);
  });

  test('cannot choose the name of what was asked for', async () => {
    writeFileSync(join(target, '.bashrc'), 'mine');
    const file = await copy([{ name: '.bashrc', content: 'evil' }], 'evil:/etc/motd');
    expect([file.code, readFileSync(join(target, '.bashrc'), 'utf8'), readFileSync(join(target, 'motd'), 'utf8')]).toEqual([0, 'mine', 'evil']);
    const two = await copy([{ name: 'motd', content: 'more' }, { name: '.bashrc', content: 'evil' }], 'evil:/etc/motd');
    expect([two.code, readFileSync(join(target, '.bashrc'), 'utf8'), readFileSync(join(target, 'motd'), 'utf8')]).toEqual([1, 'mine', 'evil']);
  });

  test('brings no device nodes', async () => {
    const result = await copy([{ name: 'disk', type: '4', mode: 0o666 }, { name: 'b', content: 'fine' }]);
    expect([result.code, readdirSync(target)]).toEqual([1, ['b']]);
    expect(result.err).toContain('disk');
  });

  test('that ends early puts nothing half-written in place', async () => {
    bad(sends([{ name: 'x/', type: '5' }, { name: 'x/whole', content: 'whole' }, { name: 'x/half', content: 'half', size: 100_000 }], false));
    const result = await banger('vm', 'cp', 'evil:/data/x', target);
    expect([result.code, result.err, readdirSync(target)]).toEqual([1, expect.stringContaining('nothing was put in place'), []]);
  });

  test('with lines to the terminal in its names and on stderr shows none of them', async () => {
    bad(async (stream) => {
      stream.opened();
      stream.data('\u001b]0;evil\u0007 copy: \u001b[2J\n'.repeat(300), 1);
      await stream.flow(makeTar([{ name: '../\u001b[2J', content: 'evil' }]));
      stream.eof();
      stream.eof(1);
      stream.exit(1);
    });
    const result = await banger('vm', 'cp', 'evil:/data/.', target);
    expect(result.code).toBe(1);
    // oxlint-disable-next-line no-control-regex -- control characters are the point
    expect(result.err).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
    expect(result.err.split('\n').length).toBeLessThan(250);
  });
});
