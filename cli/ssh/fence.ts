// Our lines in a configuration of ssh's user, between two comments. The text is taken byte by byte (latin1): what is not ours stays
// as it is, whatever its encoding and line ends.
import { operationFailed } from '../../core/errors.ts';

const begin = '# >>> banger: ssh <name>.vm (banger ssh-config --uninstall removes this) >>>';
const end = '# <<< banger <<<';
/** Says that without our lines there would be no file. */
const alone = '# This file was made by banger.';

interface Parts {
  /** Without our lines. */
  readonly others: string;
  /** Our lines, each block's. */
  readonly own: readonly string[];
}

const isLine = (line: string, text: string): boolean => line.trimEnd() === text;

/** @throws operation_failed when a begin has no end: then nobody can tell what is ours */
function takeApart(text: string, file: string): Parts {
  const others: string[] = [];
  const own: string[] = [];
  let isOurs = false;
  for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) {
    if (isLine(line, begin)) isOurs = true;
    (isOurs ? own : others).push(line);
    if (isOurs && isLine(line, end)) isOurs = false;
  }
  if (isOurs) throw operationFailed(`In ${file} the line "${begin}" has no "${end}" after it`, { hint: 'remove what is left of these lines by hand' });
  return { others: others.join(''), own };
}

/** Whether ssh reads the line for all hosts: it is there, and before any Host or Match. */
export function isIncluded(text: string, include: string): boolean {
  for (const line of text.split('\n')) {
    if (isLine(line.trimStart(), include)) return true;
    if (/^\s*(host|match)[\s=]/i.test(line)) return false;
  }
  return false;
}

/** The text with our lines on top, for an Include after a Host would count for that host only. `undefined`: no such file yet. */
export function withInclude(text: string | undefined, include: string, file: string): string {
  const { others, own } = takeApart(text ?? '', file);
  const isAlone = text === undefined || own.some((line) => isLine(line, alone));
  return [begin, ...(isAlone ? [alone] : []), include, end, ''].join('\n') + others;
}

/** What was there before; `undefined`: no file was. */
export function withoutInclude(text: string, file: string): string | undefined {
  const { others, own } = takeApart(text, file);
  return others === '' && own.some((line) => isLine(line, alone)) ? undefined : others;
}
