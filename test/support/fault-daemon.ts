// A composition root of the tests: the real daemon with a fault injected at one point of one step. The product has no such hook.
import { appendFileSync } from 'node:fs';
import { startDaemon } from '../../core/daemon.ts';
import { operationFailed } from '../../core/errors.ts';
import { builtinPlugins } from '../../plugins/index.ts';
import { fakeDriverPlugins } from './fake-driver.ts';

interface Fault { readonly action: 'throw' | 'kill'; readonly point: string; readonly step: string; readonly times: number }

const fault = JSON.parse(process.env['BANGER_TEST_FAULT'] ?? 'null') as Fault | null;
const trace = process.env['BANGER_TEST_FAULT_TRACE'];
let left = fault?.times ?? 0;

function at(point: string, step: string): void {
  if (trace !== undefined) appendFileSync(trace, `${point} ${step}\n`);
  if (fault === null || point !== fault.point || step !== fault.step || left <= 0) return;
  left -= 1;
  if (fault.action === 'kill') process.kill(process.pid, 'SIGKILL');
  throw operationFailed(`injected fault at ${point} of ${step}`);
}

const plugins = process.env['BANGER_TEST_DRIVER'] === 'fake' ? fakeDriverPlugins() : builtinPlugins;
await startDaemon({ plugins, faults: { at } });
