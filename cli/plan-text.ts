import type { VmPlanResult } from '../core/api.ts';
import { printable } from './render/table.ts';

/** Steps in order, what each would make on this host, and which need root. */
export function planText({ vm, steps }: VmPlanResult): string {
  const lines = [`${vm.name} would be made in ${steps.length} steps:`];
  let phase = '';
  for (const step of steps) {
    if (step.phase !== phase) lines.push(`${step.phase}`);
    phase = step.phase;
    lines.push(`  ${step.name}${step.needsRoot === undefined ? '' : `  needs root: ${step.needsRoot}`}`, ...step.makes.map((object) => `    ${printable(object)}`));
  }
  return `${lines.join('\n')}\nNothing was made.\n`;
}
