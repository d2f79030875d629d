// `ssh <vm> true` through the daemon against the same guest's own sshd, cold connections; and which of the two answers first after
// `vm create`. `vm exec` of `true` beside them.
import { describeGuest, firstSuccess, imageWithKeys, run, standaloneSshd } from './sshd-guest.ts';
import { pairs, repeat, report, summarize } from './stats.ts';
import { makeHost } from '../test/support/host.ts';

const count = Number(process.env['BENCH_RUNS'] ?? 20);
const creations = Number(process.env['BENCH_CREATIONS'] ?? 3);
const port = 2222;
const limitMs = 180_000;
const host = await makeHost();
const image = imageWithKeys(host);
try {
  await host.ok(['image', 'pull', image.path]);
  const daemonFirst: number[] = [];
  const sshdFirst: number[] = [];
  for (let n = 0; n < creations; n += 1) {
    // The name is known beforehand, so that both are asked from the same moment on.
    const name = `bench${n}`;
    const began = performance.now();
    await host.ok(['vm', 'create', '--name', name, '--image', image.path, '--init', 'image', '--publish', `${port}:22`]);
    const guest = await describeGuest(host, { name, dir: image.dir, port });
    const [daemonMs, sshdMs] = await Promise.all([firstSuccess([...guest.daemon, 'true'], began, limitMs), firstSuccess([...guest.sshd, 'true'], began, limitMs)]);
    daemonFirst.push(daemonMs);
    sshdFirst.push(sshdMs);
    if (n < creations - 1) await host.ok(['vm', 'delete', name]);
  }
  const guest = await describeGuest(host, { name: `bench${creations - 1}`, dir: image.dir, port });
  await standaloneSshd(host, guest.name);
  const cold = await pairs(count, () => run([...guest.daemon, 'true']), () => run([...guest.sshd, 'true']));
  const exec = await repeat(100, async () => { await host.ok(['vm', 'exec', guest.name, '--', 'true']); });
  const ratios = daemonFirst.map((ms, n) => sshdFirst[n]! / ms);
  report('ssh', {
    baseline: "the image's own sshd under systemd, through a published port",
    sshTrue: { ...cold, timesFaster: Math.round(100 / cold.ratio) / 100 },
    firstAnswerAfterCreate: { daemon: summarize(daemonFirst), sshd: summarize(sshdFirst), timesSooner: ratios.map((ratio) => Math.round(ratio * 100) / 100) },
    vmExecTrue: exec,
  });
} finally {
  await host.dispose();
  (await import('node:fs')).rmSync(image.dir, { recursive: true, force: true });
}
