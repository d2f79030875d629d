// Ports as people write them, and what vm ports and vm port say of VMs that could not answer.
import { isIPv4 } from 'node:net';
import type { VmForward, VmProblem } from '../core/api.ts';
import { BangerError } from '../core/errors.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { CommandContext } from './command.ts';
import { exitCodeOf, renderError } from './errors.ts';
import { usageError } from './parse.ts';

export interface PortWords { readonly address?: string; readonly ports: readonly number[] }

/** `[addr:]port` parts, `most` ports at most. @throws bad_request */
export function parsePorts(text: string, most: 1 | 2): PortWords {
  const form = most === 2 ? '[[addr:]host:]guest, such as 3000 or 8080:3000' : '[addr:]host, such as 8080';
  const parts = text.split(':');
  const address = parts[0]?.includes('.') === true ? parts.shift() : undefined;
  const ports = parts.map((part) => (/^\d{1,5}$/.test(part) ? Number(part) : 0));
  const isRight = ports.length >= (address === undefined || most === 1 ? 1 : 2) && ports.length <= most && ports.every((port) => port >= 1 && port <= 65_535);
  if (!isRight || (address !== undefined && !isIPv4(address))) throw usageError(`${text} is no port`, `a port is ${form}`);
  return { ports, ...(address === undefined ? {} : { address }) };
}

/** `127.70.0.1:8080 (UDP)`. */
export const hostText = ({ address, hostPort, protocol }: VmForward): string => `${address}:${hostPort}${protocol === 'udp' ? ' (UDP)' : ''}`;

/** Tells of the VMs that could not answer; the exit code. */
export function tellProblems({ io }: CommandContext, entries: readonly { readonly error?: VmProblem | undefined }[], before: number): number {
  return entries.reduce((code, { error: problem }) => {
    if (problem === undefined) return code;
    const error = new BangerError(problem.code as ErrorCode, problem.message, { hint: problem.hint });
    io.err(renderError(error, io));
    return exitCodeOf(error);
  }, before);
}
