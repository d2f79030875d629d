import type { DoctorReport, LeakReport } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import type { Io } from '../io.ts';
import { paint, type Color } from '../render/color.ts';
import { jsonText } from '../render/json.ts';
import { printable, table } from '../render/table.ts';

const handler: Handler = async ({ daemon, flags, io }) => {
  const link = await daemon();
  if (flags.on('leaks')) {
    const report = await link.call('doctor.leaks', {});
    io.out(flags.on('json') ? jsonText(report) : leakText(report));
    return report.leaks.length + report.undoFailed.length === 0 ? 0 : 1;
  }
  const report = await link.call('doctor.run', {});
  io.out(flags.on('json') ? jsonText(report) : reportText(report, io));
  return report.ok ? 0 : 1;
};
export default handler;

const colors: Readonly<Record<'pass' | 'warn' | 'fail', Color>> = { pass: 'green', warn: 'yellow', fail: 'red' };

/** One row a check, its findings below, then the plugins. */
export function reportText(report: DoctorReport, io: Io): string {
  const checks = report.checks.flatMap((check) => [
    `${paint(check.level.toUpperCase(), colors[check.level], { io, fd: 1 })}\t${check.name} [${check.plugin}]`,
    ...check.detail.map((line) => `  - ${printable(line)}`),
    ...(check.hint === undefined ? [] : [`  hint: ${check.hint}`]),
  ]);
  const plugins = table(['PLUGIN', 'STATE', 'PROVIDES', 'REQUIRES', 'METHODS', 'STEPS', 'CHECKS', 'REASON'], report.plugins.map((plugin) => [
    plugin.name, plugin.state, plugin.provides.join(',') || '-', plugin.requires.join(',') || '-',
    String(plugin.methods.length), String(plugin.steps.length), String(plugin.checks.length), plugin.reason ?? '',
  ]));
  return `${checks.join('\n')}\n\n${plugins}`;
}

function leakText(report: LeakReport): string {
  if (report.leaks.length + report.undoFailed.length === 0) return 'Nothing is left behind\n';
  const leaks = report.leaks.length === 0 ? '' : table(['KIND', 'NAME', 'STEP', 'VM'], report.leaks.map((leak) => [leak.kind, leak.name, leak.step, leak.vmId ?? '-']));
  const failed = report.undoFailed.length === 0 ? '' : `Undo failed:\n${table(['VM', 'STEP', 'ERROR'], report.undoFailed.map((row) => [row.vm, row.step, row.error]))}`;
  return `${leaks}${failed}banger reclaim removes them\n`;
}
