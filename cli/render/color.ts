import type { Io } from '../io.ts';

const codes = { dim: '2', bold: '1', red: '31', green: '32', yellow: '33' } as const;
export type Color = keyof typeof codes;

/** Colours only on a terminal and not with NO_COLOR (no-color.org: any non-empty value). */
export function hasColor(io: Io, fd: 1 | 2): boolean {
  return !io.env['NO_COLOR'] && io.env['TERM'] !== 'dumb' && io.isTty(fd);
}
/** The text in a colour, where the descriptor it goes to shows colours. */
export function paint(text: string, color: Color, target: { readonly io: Io; readonly fd: 1 | 2 }): string {
  return hasColor(target.io, target.fd) ? `\u001b[${codes[color]}m${text}\u001b[0m` : text;
}
