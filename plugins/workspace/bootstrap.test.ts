import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bootstrapScript, needsNetworkRefusal } from './bootstrap.ts';
import type { BootstrapOptions, BootstrapPlan } from './bootstrap.ts';

let dir: string;
let work: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-bootstrap-'));
  work = join(dir, "it's $(a) checkout");
  mkdirSync(work);
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});
const base: BootstrapPlan = { tools: [], mise: false, needsNetwork: true, files: ['.tool-versions'], summary: [] };

/** A mise that writes down how it was called, with an exit code of its own. */
function withMise(code = 0): void {
  mkdirSync(join(dir, '.local/bin'), { recursive: true });
  writeFileSync(join(dir, '.local/bin/mise'), `#!/bin/sh\nprintf '<%s>' "$PWD" "$@" >>'${join(dir, 'calls')}'\necho >>'${join(dir, 'calls')}'\necho from mise\nexit ${code}\n`, { mode: 0o755 });
}
const calls = (): string[] => (existsSync(join(dir, 'calls')) ? readFileSync(join(dir, 'calls'), 'utf8').split('\n').slice(0, -1).map((line) => line.replace(`<${work}>`, '')) : []);

interface Ran { readonly code: number | null; readonly out: string; readonly log: string }
function run(plan: Partial<BootstrapPlan>, options: Partial<BootstrapOptions> = {}): Ran {
  const script = bootstrapScript({ ...base, ...plan }, { guestPath: work, ...options });
  const ran = spawnSync('sh', ['-c', script], { env: { HOME: dir, PATH: '/usr/bin:/bin' }, encoding: 'utf8', timeout: 30_000 });
  const log = join(dir, '.cache/banger/bootstrap.log');
  return { code: ran.status, out: ran.stdout + ran.stderr, log: existsSync(log) ? readFileSync(log, 'utf8') : '' };
}

describe('mise', () => {
  test('is told to trust, to install, and to use what is pinned elsewhere, in the checkout', () => {
    withMise();
    expect(run({ mise: true, tools: [{ name: 'go', version: '1.22', from: 'go.mod' }] })).toMatchObject({ code: 0, out: '' });
    expect(calls()).toEqual(['<trust><--quiet><--all>', '<install>', '<use><-g><go@1.22>']);
  });
  test('is only used when there are no files of it', () => {
    withMise();
    run({ tools: [{ name: 'rust', version: 'stable', from: 'rust-toolchain' }] });
    expect(calls()).toEqual(['<use><-g><rust@stable>']);
  });
  test('may be missing: one line, no failure', () => {
    expect(run({ mise: true, tools: [{ name: 'go', version: '1.22', from: 'go.mod' }] }))
      .toEqual({ code: 0, out: '', log: 'banger: this image has no mise: the tools that the repository asks for are not installed\n' });
  });
  test('that fails is told, and the rest is done', () => {
    withMise(3);
    const { code, log } = run({ mise: true, postCreate: 'echo after' });
    expect([code, log]).toEqual([1, '+ mise trust --quiet --all\nfrom mise\nbanger: it exited 3\n+ mise install\nfrom mise\nbanger: it exited 3\n+ sh -c echo after\nafter\n']);
  });
  test('gets no pins without a network', () => {
    withMise();
    const { code, log } = run({ tools: [{ name: 'go', version: '1.22', from: 'go.mod' }] }, { hasNetwork: false });
    expect([code, log, calls()]).toEqual([0, 'banger: not installed without a network: go 1.22\n', []]);
  });
  test.each(["1'; touch hacked; '", '$(touch hacked)', '`touch hacked`', '1\ntouch hacked\n', '"; touch hacked #', '1 --yes', '\\', '*'])('gets the version %j as one word', (version) => {
    withMise();
    run({ tools: [{ name: 'node', version, from: '.nvmrc' }] });
    expect(calls().join('\n')).toBe(`<use><-g><node@${version}>`);
    expect([...readdirSync(work), ...readdirSync(dir)]).not.toContain('hacked');
  });
});

describe('postCreateCommand', () => {
  test('as a text goes to a shell in the checkout', () => {
    expect(run({ postCreate: 'echo "$PWD" && cat && echo ${containerWorkspaceFolderBasename} >made; exit 5' }).code).toBe(1);
    expect(run({ postCreate: "pwd; cat; echo 'x'" })).toMatchObject({ code: 0, log: `+ sh -c pwd; cat; echo 'x'\n${work}\nx\n` });
  });
  test('as a list is run without a shell', () => {
    expect(run({ postCreate: ['printf', '<%s>', '$HOME', "it's", '${containerWorkspaceFolder}/x'] }).log).toContain(`\n<$HOME><it's><${work}/x>`);
  });
  test('as an object runs all at once and tells which failed', () => {
    // Each waits for what the other makes: one after the other they would never end.
    const wait = (name: string): string => `touch ${name}; until [ -e a ] && [ -e b ]; do :; done; echo ${name} is done`;
    const { code, log } = run({ postCreate: { one: wait('a'), "two'": wait('b'), 'three\n$(touch hacked)': ['sh', '-c', 'exit 4'] } });
    expect(code).toBe(1);
    for (const line of ['+ one', "+ two'", 'a is done', 'b is done', 'banger: three\\x0a$(touch hacked) exited 4']) expect(log.split('\n')).toContain(line);
    expect(readdirSync(work).toSorted()).toEqual(['a', 'b']);
  });
});

test('a checkout that is not there fails, and nothing is run elsewhere', () => {
  expect(run({ postCreate: 'touch made' }, { guestPath: join(dir, 'gone') }).code).toBe(1);
  expect(existsSync('made')).toBe(false);
});

test('lines go to stdout too when asked, with the exit code kept', () => {
  expect(run({ postCreate: 'echo out; echo err >&2; exit 7' }, { tee: true })).toEqual({ code: 1, out: '+ sh -c echo out; echo err >&2; exit 7\nout\nerr\nbanger: it exited 7\n', log: '+ sh -c echo out; echo err >&2; exit 7\nout\nerr\nbanger: it exited 7\n' });
  expect(run({ postCreate: ['true'] }, { tee: true }).code).toBe(0);
});

test('a set-up that needs a network is refused in a VM without one', () => {
  const refusal = needsNetworkRefusal(base, false);
  expect(refusal).toMatchObject({ code: 'bad_request', message: '.tool-versions asks for tools that come over a network, and the VM has none' });
  expect(refusal?.hint).toContain('--no-bootstrap');
  expect([needsNetworkRefusal(base, true), needsNetworkRefusal(undefined, false), needsNetworkRefusal({ ...base, needsNetwork: false }, false)]).toEqual([undefined, undefined, undefined]);
});
