// Files of this host into a guest: the program at both ends of the VM's port for bulk data, the host's end a child of the daemon.
import type { Readable } from 'node:stream';
import { BangerError, operationFailed } from '../../core/plugin-api.ts';
import type { Activity, Exec, GuestExit, GuestProcess, Vm } from '../../core/plugin-api.ts';
import type { GuestFiles, SendFiles, SendFilesContext, SentFiles } from './capability.ts';
import type { DirectCopies, DirectCopy } from './direct.ts';
import { guardProcess, stalled } from './guard.ts';
import { floorBytesPerSecond } from './stall.ts';

export interface GuestFilesDeps {
  /** Those of `vm.copy`: both know who has a port. */
  readonly copies: DirectCopies;
  readonly exec: Pick<Exec, 'run'>;
  /** Path of the host's end, `copy`. */
  readonly program: string;
  readonly activity: Activity;
  readonly stallLimitMs: number;
  readonly hangupMs: number;
  /** The daemon closes. */
  readonly signal: AbortSignal;
}

/** How long others may keep the port. */
const waitMs = 600_000;
/** No copy lasts so long; the stall watch of both ends is what bounds one. */
const longestMs = 7 * 86_400_000;
/** Exit codes of the program: native/copy/README.md. */
const exitCodes = { partial: 1, refused: 3, stalled: 4 };
const maxSaidBytes = 16 * 1024;
const maxLines = 50;
const maxLineChars = 500;

export function createGuestFiles(deps: GuestFilesDeps): GuestFiles {
  return {
    async send(vm, request, ctx) {
      const release = deps.activity.hold(`files to ${vm.name}`);
      try {
        return await sendFiles(deps, vm, { request, ctx });
      } finally {
        release();
      }
    },
  };
}

interface Sending { readonly request: SendFiles; readonly ctx: SendFilesContext }

async function sendFiles(deps: GuestFilesDeps, vm: Vm, { request, ctx }: Sending): Promise<SentFiles> {
  const signal = AbortSignal.any([ctx.signal, deps.signal]);
  const log = ctx.log.child({ opId: ctx.opId, vm: vm.name });
  const direct = await deps.copies.claim(vm, {
    command: ['copy', 'receive', '--into', '--', request.guestPath], builtin: true, env: {}, stdin: false,
  }, { signal, log, waitMs });
  const guest = new GuestEnd(guardProcess(direct.process, {
    subject: vm.name, direction: 'in', path: request.guestPath, signal: deps.signal, limitMs: deps.stallLimitMs, hangupMs: deps.hangupMs, direct: true,
  }));
  const host = await runHostEnd(deps, { direct, guest, request, signal, ctx });
  guest.finish(host);
  return judge(vm, { host, guest: await guest.ended, path: request.guestPath, limitMs: deps.stallLimitMs });
}

type GuestResult = { readonly lines: readonly string[] } & ({ readonly exit: GuestExit } | { readonly error: unknown });
type HostResult = { readonly lines: readonly string[] } & ({ readonly code: number; readonly moved: number } | { readonly error: unknown });

class GuestEnd {
  readonly process: GuestProcess;
  /** Never rejects. */
  readonly ended: Promise<GuestResult>;
  #isThrough = false;

  constructor(process: GuestProcess) {
    this.process = process;
    process.stdout.on('error', () => undefined).resume(); // its exit says why
    const said = readSome(process.stderr);
    this.ended = process.exit.then(async (exit) => ({ exit, lines: linesOf(await said) }), (error: unknown) => ({ error, lines: [] }));
  }

  /** All is sent: from now on it is to end within the limit. */
  hostIsThrough(): void {
    if (this.#isThrough) return;
    this.#isThrough = true;
    this.process.stdin.end();
  }

  finish(host: HostResult): void {
    if ('error' in host || host.code === exitCodes.stalled) return this.process.hangup();
    // It may still wait for a host that never came.
    if (host.code > exitCodes.partial) this.process.signal('TERM');
    this.hostIsThrough();
  }
}

interface HostRun { readonly direct: DirectCopy; readonly guest: GuestEnd; readonly request: SendFiles; readonly signal: AbortSignal; readonly ctx: SendFilesContext }

/** The end of its stdin is the word that the guest's end is over. Reports come on stdout, which is free: the stream goes to the socket. */
async function runHostEnd(deps: GuestFilesDeps, { direct, guest, request, signal, ctx }: HostRun): Promise<HostResult> {
  const lines: string[] = [];
  let moved = 0;
  const onLine = (line: string): void => {
    const [, bytes, name] = /^(\d+) \d+ (.*)$/.exec(line) ?? [];
    if (bytes !== undefined) ctx.onProgress?.(Number(bytes), name!);
    else if (line === 'sent') guest.hostIsThrough();
    else if (line.startsWith('stalled ')) moved = Number(line.slice('stalled '.length));
    else if (lines.length < maxLines) lines.push(clean(line));
  };
  try {
    const { exitCode } = await deps.exec.run(deps.program, [
      'send', '--list', request.listFile, '--socket', direct.socket, '--hello', direct.hello, '--stall', String(Math.round(deps.stallLimitMs)),
      '--floor', String(floorBytesPerSecond), '--progress-fd', '1', '--', ...request.bases,
    ], { stdinUntil: guest.ended, signal, timeoutMs: longestMs, okCodes: [0, ...Object.values(exitCodes)], onLine });
    return { code: exitCode, moved, lines };
  } catch (error) {
    return { error, lines };
  }
}

interface Outcome { readonly host: HostResult; readonly guest: GuestResult; readonly path: string; readonly limitMs: number }

function judge(vm: Vm, { host, guest, path, limitMs }: Outcome): SentFiles {
  if ('error' in host) throw host.error;
  if (host.code === exitCodes.stalled) throw stalled({ subject: vm.name, direction: 'in', path, limitMs }, host.moved);
  const refusal = host.code === exitCodes.refused ? host.lines.at(-1) ?? 'it said nothing' : undefined;
  // An end that has only lost the other is no cause.
  if (refusal !== undefined && refusal !== 'the other end is gone') throw operationFailed(`The files for ${vm.name} could not be sent: ${refusal}`);
  if ('error' in guest) throw guest.error;
  if (!('code' in guest.exit) || guest.exit.code > exitCodes.partial) throw refusedBy(vm, path, guest.exit, guest.lines);
  if (refusal !== undefined) throw operationFailed(`The guest of ${vm.name} left before all of ${path} was sent`);
  const hostPartial = host.code === exitCodes.partial;
  const guestPartial = guest.exit.code === exitCodes.partial;
  return { hostPartial, guestPartial, notes: [...notesOf('host', hostPartial, host.lines), ...notesOf('guest', guestPartial, guest.lines)] };
}

function refusedBy(vm: Vm, path: string, exit: GuestExit, lines: readonly string[]): BangerError {
  const reason = lines.at(-1) ?? ('code' in exit ? `exit code ${exit.code}` : `signal ${exit.signal}`);
  const hint = /No space left on device|Disk quota exceeded/.test(reason)
    ? { hint: `banger vm exec ${vm.name} -- df -h shows the room; banger vm set --disk-size enlarges /root of a stopped VM` } : {};
  return operationFailed(`The guest of ${vm.name} did not take the files for ${path}: ${reason}`, hint);
}

function notesOf(who: string, isPartial: boolean, lines: readonly string[]): readonly string[] {
  if (!isPartial) return [];
  const told = lines.filter((line) => !line.startsWith('note: ')).map((line) => `${who}: ${line}`);
  return told.length > 0 ? told : [`${who}: something was left out`];
}

async function readSome(from: Readable): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      if (bytes < maxSaidBytes) parts.push(chunk);
      bytes += chunk.length;
    }
  } catch {
    // Its exit says why.
  }
  return Buffer.concat(parts).subarray(0, maxSaidBytes).toString('utf8');
}

const linesOf = (text: string): readonly string[] => text.split('\n').map(clean).filter((line) => line !== '').slice(-maxLines);

/** A guest's lines reach people, too. */
const clean = (line: string): string => line.replace(/^copy: /, '').replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, '?').slice(0, maxLineChars);
