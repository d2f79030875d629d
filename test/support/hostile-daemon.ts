// A composition root of the tests: the real daemon with every plugin that needs no real guest, and VMs whose agent is whatever listens on
// `$BANGER_TEST_AGENTS/<vm name>.sock` (hostile-agent.ts).
import { join } from 'node:path';
import { startDaemon } from '../../core/daemon.ts';
import { builtinPlugins } from '../../plugins/index.ts';
import { fakeDriverPlugins } from './fake-driver.ts';

const agents = process.env['BANGER_TEST_AGENTS'];
if (agents === undefined) throw new Error('BANGER_TEST_AGENTS names no directory');

/** The fake driver stands for these. */
const replaced = new Set(['disks', 'images', 'kernels', 'qemu', 'usernet', 'operations']);
const plugins = builtinPlugins.filter(({ name }) => !replaced.has(name));
await startDaemon({ plugins: [...plugins, ...fakeDriverPlugins({ agentSocket: (vm) => join(agents, `${vm.name}.sock`) })] });
