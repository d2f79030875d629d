// The host's end with a program of the test in place of the real one.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HostEnd } from './host-end.ts';

let dir: string;
beforeAll(() => { dir = mkdtempSync(join(tmpdir(), 'banger-end-')); });
afterAll(() => { rmSync(dir, { recursive: true, force: true }); });

const said: string[] = [];
const names: string[] = [];
function start(verb: string, script: string): HostEnd {
  const program = join(dir, `p${Math.random()}`);
  writeFileSync(program, `#!/bin/sh\n${script}\n`);
  chmodSync(program, 0o755);
  return new HostEnd([verb, '--', 'x'], {
    say: (line) => said.push(line), onReport: (report) => { if (report.kind === 'progress') names.push(report.name); }, program,
  });
}

test('a sender has ended when the last piece of its stream was taken, however late', async () => {
  const end = start('send', 'head -c 1000000 /dev/zero');
  let taken = 0;
  let ended = false;
  end.pump(async (bytes) => {
    // The program has long ended by the last of these.
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(ended).toBe(false);
    taken += bytes.length;
  });
  const result = await end.ended;
  ended = true;
  expect([result, taken]).toEqual([{ code: 0 }, 1_000_000]);
});

test('a receiver that ends early takes the rest as nothing, and its lines and names are told', async () => {
  const end = start('receive', 'head -c 10 >/dev/null; echo "10 1 a/b" >&3; echo "copy: note: one" >&2; echo "copy: two" >&2; exit 3');
  for (let i = 0; i < 100; i += 1) await end.write(Buffer.alloc(65_536));
  end.finish();
  expect([await end.ended, end.lines.takeLast(), said, names]).toEqual([{ code: 3 }, 'two', ['note: one'], ['a/b']]);
  await end.write(Buffer.alloc(10));
});

test('one that is stopped, or is not there, says so', async () => {
  const end = start('receive', 'exec sleep 60');
  end.stop();
  expect(await end.ended).toMatchObject({ error: { code: 'operation_failed' } });
  const missing = new HostEnd(['receive', '--', 'x'], { say: () => undefined, onReport: () => undefined, program: join(dir, 'none') });
  expect(await missing.ended).toMatchObject({ error: { code: 'missing_requirement' } });
  missing.stop();
});
