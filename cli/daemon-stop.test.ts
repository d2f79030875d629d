// `daemon stop` waits for the process, also for its last thread: until then its files and locks are held.
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { startLingering } from '../test/support/lingering.ts';
import { FakeDaemon } from './testing/fake-daemon.ts';
import { runCli, until } from './testing/run-cli.ts';

test('a process whose first thread is over is waited for until the last one is', async () => {
  const process = await startLingering();
  const ended = once(process, 'exit');
  const daemon = await new FakeDaemon().listen();
  const order: string[] = [];
  try {
    daemon.options = {
      methods: {
        shutdown: () => {
          setImmediate(() => void daemon.close());
          return { pid: process.pid };
        },
      },
    };
    const stop = runCli(['daemon', 'stop'], { env: daemon.env }).then((result) => {
      order.push('stop');
      return result;
    });
    await until('the daemon to be asked', () => daemon.called('shutdown').length > 0);
    // As long as a stop takes that waits for nothing.
    expect((await runCli(['daemon', 'status'], { env: daemon.env })).code).toBe(1);
    order.push('end');
    process.stdin!.end();
    expect(await stop).toMatchObject({ code: 0, out: 'The daemon has stopped; running VMs go on\n' });
    expect(order).toEqual(['end', 'stop']);
    await ended;
  } finally {
    process.kill('SIGKILL');
    await daemon.dispose();
  }
});
