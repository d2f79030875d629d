// OpenMetrics text, version 1.0.0 of the format: each family once with all of its samples, and `# EOF` at the end.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { families } from './families.ts';
import type { VmMetrics } from './families.ts';

export const contentType = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/** Text is made for this long before other work of the daemon has its turn. */
const turnMs = 5;

/** Label values may hold anything but these three as they are. */
export function escapeLabel(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', String.raw`\"`).replaceAll('\n', String.raw`\n`);
}

/** The text for these VMs. Other work of the event loop goes on meanwhile. */
export async function metricsText(vms: readonly VmMetrics[]): Promise<string> {
  const named = vms.map((vm) => ({ vm, labels: `vm="${escapeLabel(vm.vm.name)}",vm_id="${escapeLabel(vm.vm.id)}"` }));
  const parts: string[] = [];
  let turnBegan = performance.now();
  for (const { name, type, unit, help, samples } of families) {
    parts.push(`# TYPE ${name} ${type}\n${unit === undefined ? '' : `# UNIT ${name} ${unit}\n`}# HELP ${name} ${help}\n`);
    const suffix = type === 'counter' ? '_total' : type === 'info' ? '_info' : '';
    for (const { vm, labels } of named) {
      for (const [more, value] of samples(vm)) {
        if (!Number.isFinite(value)) continue;
        let line = `${name}${suffix}{${labels}`;
        for (const key in more) line += `,${key}="${escapeLabel(more[key]!)}"`;
        parts.push(`${line}} ${value}\n`);
      }
      if (performance.now() - turnBegan > turnMs) {
        await nextTurn();
        turnBegan = performance.now();
      }
    }
  }
  parts.push('# EOF\n');
  return parts.join('');
}
