// OpenMetrics text, version 1.0.0 of the format: each family once with all of its samples, and `# EOF` at the end.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { families, labelText } from './families.ts';
import type { Add, VmMetrics } from './families.ts';

export const contentType = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/** Text is made for this long before other work of the daemon has its turn. */
const turnMs = 5;
/** VMs between two looks at the clock. */
const batch = 32;

/** The text for these VMs. Other work of the event loop goes on meanwhile. */
export async function metricsText(vms: readonly VmMetrics[]): Promise<string> {
  const named = vms.map((vm) => ({ vm, labels: `{${labelText('vm', vm.vm.name)}` }));
  const parts: string[] = [];
  let turnBegan = performance.now();
  for (const { name, type, unit, help, samples } of families) {
    parts.push(`# TYPE ${name} ${type}\n${unit === undefined ? '' : `# UNIT ${name} ${unit}\n`}# HELP ${name} ${help}\n`);
    const fullName = name + (type === 'counter' ? '_total' : type === 'info' ? '_info' : '');
    let [text, vmLabels] = ['', ''];
    const add: Add = (value, labels) => {
      if (value !== undefined && Number.isFinite(value)) text += `${fullName}${vmLabels}${labels === undefined ? '' : `,${labels}`}} ${value}\n`;
    };
    for (const [n, { vm, labels }] of named.entries()) {
      vmLabels = labels;
      samples(vm, add);
      if (n % batch !== batch - 1 || performance.now() - turnBegan < turnMs) continue;
      await nextTurn();
      turnBegan = performance.now();
    }
    parts.push(text);
  }
  parts.push('# EOF\n');
  return parts.join('');
}

/** Makes a text at most once at a time and once in `forMs`: who asks meanwhile gets the same, however many they are. */
export function sharedText(make: () => Promise<string>, forMs = 1000): () => Promise<string> {
  let text: Promise<string> | undefined;
  return () => {
    if (text === undefined) {
      text = make();
      const forget = (): void => { text = undefined; };
      text.then(() => { setTimeout(forget, forMs).unref(); }, forget);
    }
    return text;
  };
}
