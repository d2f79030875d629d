// Applies the graph to the plugins: rules out what cannot run, and gives the rest in boot order.
import { BangerError } from '../errors.ts';
import { bootOrder, findConflicts, findUnsatisfied, formatCycle } from './graph.ts';
import type { AbsentNode } from './graph.ts';
import { rule, stateVerb, toNode } from './status.ts';
import type { PluginRecord } from './status.ts';

/** @throws internal for a conflict or cycle of built-in plugins alone */
export function sortPlugins(records: readonly PluginRecord[], core: ReadonlySet<string>): PluginRecord[] {
  const ready = (): PluginRecord[] => records.filter((record) => record.state === 'ready');
  const byName = (name: string): PluginRecord => ready().find((record) => record.name === name) as PluginRecord;
  for (const [name, reason] of findConflicts({ nodes: ready().map(toNode), core })) blame(byName(name), reason);
  for (;;) {
    const unsatisfied = findUnsatisfied({ nodes: ready().map(toNode), absent: absentNodes(records), core });
    for (const [name, reason] of unsatisfied) rule(byName(name), 'skipped', reason);
    const result = bootOrder(ready().map(toNode));
    if ('order' in result) return result.order.map(byName);
    // Without its third-party members there may be another cycle, or somebody may miss what they provide: once more.
    const members = [...new Set(result.cycle)].map(byName);
    const reason = `plugins need each other: ${formatCycle(result.cycle)}`;
    const foreign = members.filter((member) => member.thirdParty);
    if (foreign.length === 0) throw new BangerError('internal', `Built-in ${reason}`);
    for (const member of foreign) rule(member, 'failed', reason);
  }
}

/** Plugins that are known and will not run. */
export function absentNodes(records: readonly PluginRecord[]): AbsentNode[] {
  return records.filter((record) => record.state !== 'ready' && record.state !== 'active')
    .map((record) => ({ name: record.name, provides: toNode(record).provides, why: stateVerb(record.state) }));
}

function blame(record: PluginRecord, reason: string): void {
  if (!record.thirdParty) throw new BangerError('internal', `Built-in plugins are wrong: ${reason}`);
  rule(record, 'failed', reason);
}
