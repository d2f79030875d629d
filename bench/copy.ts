// `vm cp` against `rsync -a` over ssh to the same guest's own sshd: 2,000 files and 200 MB, both directions, trees compared. Then one file
// of 1 GB with the daemon's memory and its longest silence.
import { createHash, randomFillSync } from 'node:crypto';
import { closeSync, lstatSync, mkdirSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describeGuest, imageWithKeys, run, standaloneSshd, type SshdGuest } from './sshd-guest.ts';
import { pairs, report, timed } from './stats.ts';
import { makeHost } from '../test/support/host.ts';

const count = Number(process.env['BENCH_RUNS'] ?? 3);
const files = 2000;
const totalBytes = 200 * 2 ** 20;
const bigBytes = 2 ** 30;
const port = 2222;

function makeTree(dir: string): void {
  const block = Buffer.alloc(totalBytes / files);
  for (let n = 0; n < files; n += 1) {
    const folder = join(dir, `d${n % 40}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `f${n}`), randomFillSync(block));
  }
}

/** Hash over names, kinds, modes, times to the second and contents. */
function treeHash(dir: string): string {
  const hash = createHash('sha256');
  const visit = (path: string, name: string): void => {
    const stat = lstatSync(path);
    hash.update(`${name}\0${stat.mode}\0${stat.isFile() ? stat.size : ''}\0${Math.floor(stat.mtimeMs / 1000)}\n`);
    if (stat.isFile()) hash.update(readFileSync(path));
    else for (const child of readdirSync(path).toSorted()) visit(join(path, child), `${name}/${child}`);
  };
  visit(dir, '.');
  return hash.digest('hex');
}

function makeBigFile(path: string): void {
  const fd = openSync(path, 'w');
  const block = Buffer.alloc(2 ** 20);
  for (let at = 0; at < bigBytes; at += block.length) writeSync(fd, randomFillSync(block));
  closeSync(fd);
}

const rssMiB = (pid: number): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

/** The daemon's resident memory and the slowest answer to a ping while `work` runs; a ping is sent as soon as the last one is answered. */
async function watched(pid: number, work: () => Promise<void>): Promise<Record<string, number>> {
  const client = await host.rpc();
  const before = rssMiB(pid);
  let most = before;
  let slowest = 0;
  let done = false;
  const watch = (async () => {
    while (!done) {
      slowest = Math.max(slowest, await timed(async () => { await client.call('ping', {}); }));
      most = Math.max(most, rssMiB(pid));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  const ms = await timed(work);
  done = true;
  await watch;
  client.close();
  return { ms: Math.round(ms), mibPerSecond: Math.round(bigBytes / 2 ** 20 / (ms / 1000)), rssBeforeMiB: Math.round(before), rssMostMiB: Math.round(most), rssAfterMiB: Math.round(rssMiB(pid)), slowestPingMs: Math.round(slowest * 10) / 10 };
}

async function directions(guest: SshdGuest, dir: string): Promise<Record<string, unknown>> {
  const tree = join(dir, 'tree');
  const back = join(dir, 'back');
  mkdirSync(tree);
  makeTree(tree);
  const wanted = treeHash(tree);
  const ssh = ['ssh', ...guest.sshdOptions].join(' ');
  const remote = guest.sshd.at(-1)!;
  const clearGuest = (): Promise<unknown> => host.ok(['vm', 'exec', guest.name, '--', 'rm', '-rf', '/var/tmp/tree']);
  const clearHost = (): void => rmSync(back, { recursive: true, force: true });
  const differing: string[] = [];
  const checked = (what: string): void => {
    if (treeHash(back) !== wanted) differing.push(what);
  };
  const banger = async (args: readonly string[]): Promise<number> => timed(async () => { await host.ok(args, { timeoutMs: 300_000 }); });
  const rsync = async (from: string, to: string): Promise<number> => timed(() => run(['rsync', '-a', '-e', ssh, from, to]));
  const into = await pairs(count, async () => {
    await clearGuest();
    return banger(['vm', 'cp', '-q', tree, `${guest.name}:/var/tmp/tree`]);
  }, async () => {
    await clearGuest();
    return rsync(`${tree}/`, `${remote}:/var/tmp/tree/`);
  });
  const out = await pairs(count, async () => {
    clearHost();
    const ms = await banger(['vm', 'cp', '-q', `${guest.name}:/var/tmp/tree`, back]);
    checked('vm cp');
    return ms;
  }, async () => {
    clearHost();
    const ms = await rsync(`${remote}:/var/tmp/tree/`, `${back}/`);
    checked('rsync');
    return ms;
  });
  // What vm cp put in, read back by the other way out.
  await clearGuest();
  await host.ok(['vm', 'cp', '-q', tree, `${guest.name}:/var/tmp/tree`]);
  clearHost();
  await rsync(`${remote}:/var/tmp/tree/`, `${back}/`);
  checked('vm cp in, rsync out');
  clearHost();
  await clearGuest();
  if (differing.length > 0) throw new Error(`the trees differ after: ${differing.join(', ')}`);
  const faster = (ratio: number): number => Math.round(100 / ratio) / 100;
  return { into: { ...into, timesFaster: faster(into.ratio) }, out: { ...out, timesFaster: faster(out.ratio) }, treesEqual: true };
}

// What a user gets who configures nothing: the tests' own VMs are smaller.
const host = await makeHost({ config: '' });
const image = imageWithKeys(host);
try {
  await host.ok(['image', 'pull', image.path]);
  await host.ok(['vm', 'create', '--name', 'bench', '--image', image.path, '--init', 'image', '--publish', `${port}:22`]);
  const guest = await describeGuest(host, { name: 'bench', dir: image.dir, port });
  await standaloneSshd(host, 'bench');
  const both = await directions(guest, image.dir);
  const big = join(image.dir, 'big');
  makeBigFile(big);
  const pid = (await host.daemonPid())!;
  const bigIn = await watched(pid, async () => { await host.ok(['vm', 'cp', '-q', big, 'bench:/var/tmp/big'], { timeoutMs: 300_000 }); });
  const bigOut = await watched(pid, async () => { await host.ok(['vm', 'cp', '-q', 'bench:/var/tmp/big', join(image.dir, 'big-back')], { timeoutMs: 300_000 }); });
  report('copy', { baseline: "rsync -a over ssh to the image's own sshd, through a published port", files, totalBytes, ...both, oneGigabyte: { into: bigIn, out: bigOut } });
} finally {
  await host.dispose();
  rmSync(image.dir, { recursive: true, force: true });
}
