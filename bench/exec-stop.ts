// exec of `true` on a running VM (p50, p99), stop and delete (p50), as whole commands.
import { report, repeat, summarize, timed } from './stats.ts';
import { makeHost } from '../test/support/host.ts';

const host = await makeHost();
try {
  await host.ok(['vm', 'run', '--name', 'bench', '-d']);
  const exec = await repeat(100, async () => { await host.ok(['vm', 'exec', 'bench', '--', 'true']); });
  const stop: number[] = [];
  const remove: number[] = [];
  for (let n = 0; n < 7; n += 1) {
    stop.push(await timed(async () => { await host.ok(['vm', 'stop', 'bench']); }));
    await host.ok(['vm', 'start', 'bench']);
    remove.push(await timed(async () => { await host.ok(['vm', 'delete', 'bench']); }));
    await host.ok(['vm', 'run', '--name', 'bench', '-d']);
  }
  report('exec-stop', { execTrue: exec, stop: summarize(stop), deleteRunning: summarize(remove) });
} finally {
  await host.dispose();
}
