import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Vm, Vms } from '../../core/plugin-api.ts';
import { watchUplinks } from './uplink-watch.ts';

test('notes a running VM once whose slirp4netns has died, and no other', async () => {
  const dirs = ['dead', 'well', 'offline'].map((name) => mkdtempSync(join(tmpdir(), `banger-uplink-${name}-`)));
  const vms = ['dead', 'well', 'offline'].map((name, n) => ({
    id: name, name, dir: dirs[n], spec: { sections: { usernet: { network: name === 'offline' ? 'none' : 'user', publish: [] } } },
  }) as unknown as Vm);
  writeFileSync(join(dirs[0]!, 'netns.status'), 'slirp-died\n');
  writeFileSync(join(dirs[1]!, 'netns.status'), 'slirp-ready\n');
  const control = new AbortController();
  const notes: [string, string][] = [];
  let rounds = 0;
  const registry = {
    list: () => {
      rounds += 1;
      if (rounds > 3) control.abort();
      return vms;
    },
    isRunning: () => true,
    note: (id: string, text: string) => notes.push([id, text]),
  } as unknown as Vms;
  await watchUplinks(registry, control.signal, 1);
  expect(notes).toEqual([['dead', expect.stringContaining('network is down')]]);
  for (const dir of dirs) rmSync(dir, { recursive: true });
});
