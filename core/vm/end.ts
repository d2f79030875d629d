// How a VM ended, in words that can be kept and shown: a guest may have written any of them.
import type { VmEnd, VmEndReason } from '../capabilities.ts';
import type { VmRecord } from '../store/vms.ts';

/** A panic's last lines and what is said of them. */
const maxLines = 32;
const maxLineLength = 240;
const maxReasonLength = 200;

const words: Readonly<Record<VmEndReason, string | undefined>> = {
  'guest-poweroff': 'guest poweroff', 'guest-panic': 'guest panic', stopped: undefined, unused: 'unused', killed: 'killed', 'vmm-killed': 'VMM killed',
  'out-of-memory': 'out of memory', 'vmm-died': 'VMM died', 'disk-full': 'the disk of the host is full', unknown: 'ended while no daemon ran',
};

/** With the last lines of the detail at most, each of one row, its control characters shown and not sent. The first line is kept whatever follows. */
export function boundedEnd({ reason, at, detail = [] }: VmEnd): VmEnd {
  const lines = detail.length > maxLines ? [...detail.slice(0, 1), ...detail.slice(1 - maxLines)] : detail;
  return {
    reason, ...(at === undefined || Number.isNaN(Date.parse(at)) ? {} : { at: new Date(at).toISOString() }),
    ...(lines.length === 0 ? {} : { detail: lines.map((line) => escapeLine(line).slice(0, maxLineLength)) }),
  };
}

/** Ends that no stop looks like. */
const ownEnds: ReadonlySet<VmEndReason> = new Set(['guest-panic', 'out-of-memory', 'disk-full']);

/**
 * The end of a VM that is found ended, by what its VMM left; `unsaid` where that is nothing. One that a daemon was clearing up or stopping when it went itself,
 * which cannot be told apart, was stopped, unless what the VMM left says otherwise.
 */
export function foundEnd({ activity }: Pick<VmRecord, 'activity'>, told: VmEnd | undefined, unsaid: VmEndReason): VmEnd {
  if (activity !== 'stopping') return told ?? { reason: unsaid };
  return told !== undefined && ownEnds.has(told.reason) ? told : { reason: 'stopped' };
}

/** Control and format characters (terminal sequences, line breaks, changes of direction) as `\u{1b}`. */
function escapeLine(line: string): string {
  return line.slice(0, maxLineLength).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (found) => found === '\t' ? ' ' : `\\u{${(found.codePointAt(0) ?? 0).toString(16)}}`);
}

/** One line on how a VM ended; undefined where there is nothing to say: it was stopped. */
export function endText(end: VmEnd): string | undefined {
  const [particular] = end.detail ?? [];
  const text = words[end.reason];
  if (end.reason === 'unused') return `unused ${particular ?? ''}`.trimEnd().slice(0, maxReasonLength);
  return text === undefined || particular === undefined ? text : `${text}: ${particular}`.slice(0, maxReasonLength);
}
