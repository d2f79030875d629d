import { notRunning } from '../../core/plugin-api.ts';
import type { StopStep } from '../../core/plugin-api.ts';
import { qemuDriverName } from './capability.ts';
import type { Watcher } from './watch.ts';

const powerdownMs = 5000;
const answerMs = 2000;

/** Presses the power button. Serves guests whose agent did not answer; one without ACPI handling ignores it and is ended after the limit. */
export function powerdownStep(watcher: Watcher, slowdown: number): StopStep {
  return {
    name: 'qemu.powerdown',
    timeoutMs: powerdownMs * slowdown,
    async run({ vm }) {
      if (vm.spec.driver !== qemuDriverName) return;
      const client = watcher.client(vm.id);
      if (!client) throw notRunning(vm.name, 'no control connection');
      await client.execute('system_powerdown', {}, { timeoutMs: answerMs });
    },
  };
}
