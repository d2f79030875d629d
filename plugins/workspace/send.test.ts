// Sending with a receiver that is a test: what is listed in which order, and what becomes of files that change meanwhile.
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nullLog } from '../../core/log.ts';
import type { GuestFiles } from '../copy/capability.ts';
import type { ManifestEntry } from './manifest.ts';
import { sendParts } from './send.ts';
import { testVm } from './testing/host-agent.ts';

let dir: string;
let tree: string;
let work: string;
const lists: string[][] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-send-'));
  [tree, work] = [join(dir, 'tree'), join(dir, 'work')];
  for (const each of [tree, work]) mkdirSync(each);
  lists.length = 0;
});
afterEach(() => rmSync(dir, { recursive: true }));

function entryOf(name: string): ManifestEntry {
  const stat = lstatSync(join(work, name), { bigint: true });
  return { kind: 'file', mode: Number(stat.mode & 0o7777n), size: Number(stat.size), mtimeNs: stat.mtimeNs, ctimeNs: stat.ctimeNs, ino: stat.ino };
}
/** `onSend` stands for what happens on the host while the files are on their way. */
function send(names: readonly string[], onSend: (round: number) => void = () => undefined, partial: { readonly host?: boolean; readonly guest?: boolean } = {}): ReturnType<typeof sendParts> {
  const files: GuestFiles = {
    async send(_vm, { listFile }, { onProgress }) {
      lists.push(readFileSync(listFile, 'latin1').split('\0').slice(0, -1));
      onSend(lists.length);
      onProgress?.(10, 'x');
      return { notes: [], hostPartial: partial.host === true, guestPartial: partial.guest === true };
    },
  };
  return sendParts(
    { files, vm: testVm, guestPath: '/root/x', dir, bases: [tree, work], opId: 'op-1', signal: new AbortController().signal, log: nullLog, onProgress: () => undefined },
    { first: ['.git/objects/pack/p.pack'], work: new Map(names.map((name) => [name, entryOf(name)])), last: ['.git/index', '.git/HEAD'] });
}

test('objects go first, then files, then what makes them count', async () => {
  for (const name of ['a', 'b']) writeFileSync(join(work, name), name);
  const { bytes, work: sent } = await send(['a', 'b']);
  expect(lists).toEqual([['0/.git/objects/pack/p.pack', '1/a', '1/b', '0/.git/index', '0/.git/HEAD']]);
  expect([bytes, [...sent.keys()]]).toEqual([10, ['a', 'b']]);
});

test('a file that changed meanwhile is sent again, one that vanished is not', async () => {
  for (const name of ['a', 'b', 'c']) writeFileSync(join(work, name), name);
  const { work: sent, bytes } = await send(['a', 'b', 'c'], (round) => {
    if (round > 1) return;
    writeFileSync(join(work, 'b'), 'longer');
    rmSync(join(work, 'c'));
  });
  expect(lists.slice(1)).toEqual([['1/b']]);
  expect([...sent]).toEqual([['a', entryOf('a')], ['b', entryOf('b')]]);
  expect(bytes).toBe(20);
});

test('files that never rest are refused', async () => {
  writeFileSync(join(work, 'log'), 'x');
  await expect(send(['log'], (round) => writeFileSync(join(work, 'log'), 'x'.repeat(round + 1)))).rejects.toMatchObject({ code: 'workspace.changed' });
  expect(lists.length).toBe(3);
});

test('what is left out is an error, unless the file is gone', async () => {
  writeFileSync(join(work, 'a'), 'a');
  await expect(send(['a'], undefined, { guest: true })).rejects.toMatchObject({ code: 'operation_failed' });
  await expect(send(['a'], undefined, { host: true })).rejects.toMatchObject({ code: 'operation_failed' });
  const { work: sent } = await send(['a'], () => rmSync(join(work, 'a')), { host: true });
  expect(sent.size).toBe(0);
});
