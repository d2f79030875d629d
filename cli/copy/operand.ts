// `SRC` and `DST` of `vm cp`: what each word names.
import { usageError } from '../parse.ts';

export type Operand =
  | { readonly kind: 'stream' }
  | { readonly kind: 'host'; readonly path: string }
  | { readonly kind: 'guest'; readonly ref: string; readonly path: string };

/**
 * `-`, a path on the host, or `vm:path`. A word that begins with `/` or `.` is a path whatever colons it holds; `vm:` alone is the user's home.
 * @throws bad_request
 */
export function parseOperand(word: string): Operand {
  if (word === '') throw usageError('A path is empty');
  if (word === '-') return { kind: 'stream' };
  const colon = word.indexOf(':');
  if (colon === -1 || /^[/.]/.test(word) || word.lastIndexOf('/', colon) !== -1) return { kind: 'host', path: word };
  if (colon === 0) throw usageError(`${word} names no VM`, `vm:path names a path in a VM; ./${word} is a file of this host`);
  return { kind: 'guest', ref: word.slice(0, colon), path: word.slice(colon + 1) || '.' };
}

/** Whether a source means what is in the directory, not the directory: its last part is no name. */
export function meansContents(path: string): boolean {
  return /(^|\/)\.{1,2}\/*$/.test(path) || /^\/+$/.test(path);
}

/** Last part of a path that has a name there. */
export function lastName(path: string): string {
  return path.replace(/\/+$/, '').split('/').at(-1) ?? '';
}

/** As it was typed, for messages. */
export function showOperand(operand: Operand): string {
  switch (operand.kind) {
    case 'stream': return '-';
    case 'host': return operand.path;
    case 'guest': return `${operand.ref}:${operand.path}`;
  }
}
