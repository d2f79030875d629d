// Commands that go on without client and daemon. The guest agent's own program `keep` runs them and keeps output and end
// (guest/README.md); the daemon remembers nothing about them.
import type { Readable } from 'node:stream';
import { constants } from 'node:os';
import type { KeptCommand, VmExecDetachParams, VmExecLogsParams, VmExecResult } from '../api.ts';
import type { GuestExecRequest, GuestExit, GuestProcess } from '../capabilities.ts';
import { cancelled, operationFailed, timedOut } from '../errors.ts';
import { createExecId } from '../ids.ts';
import type { Vm } from '../model.ts';
import type { CallContext } from '../plugin-api.ts';
import type { VmContext } from './context.ts';
import { beginInGuest, offerCommand, requestFor, runningVm } from './exec.ts';

/** These answers are a few lines, made at once; the limit is for a guest that has stopped answering. */
const answerLimitMs = 60_000;
const defaultBackgroundLimitMs = 15_000;
/** 1,024 commands of 2 KiB each is the most that the agent lists. */
const maxAnswerBytes = 4 * 1024 * 1024;

/**
 * Starts a command and answers when it runs.
 *
 * @throws not_running; unsupported by an older agent; timeout; operation_failed when it did not start, `detail.exitCode` as a shell's: 127 not found, 126 not runnable
 */
export async function detachCommand(ctx: VmContext, params: VmExecDetachParams, call: CallContext): Promise<{ id: string }> {
  const vm = runningVm(ctx, params.ref);
  const ask = (words: readonly string[], more: Partial<GuestExecRequest> = {}): Promise<Answer> =>
    askKeeper(ctx, vm, { request: keepRequest(words, more), signal: call.signal });
  // Users other than root can only remove what is their own; the limit is for all.
  if (params.user !== undefined && params.user !== 'root') await ask(['prune']);
  const id = createExecId();
  const flags = params.login === true ? ['--login'] : [];
  const { exit, stderr } = await ask(['run', ...flags, id, '--', ...params.command], requestFor(vm, params));
  if ('code' in exit && exit.code === 0) return { id };
  throw operationFailed(`The command did not start in ${vm.name}: ${firstLine(stderr) ?? endText(exit)}`, {
    detail: { exitCode: 'code' in exit ? exit.code : 128 + exit.number },
  });
}

/** @throws not_running; unsupported by an older agent; timeout; operation_failed */
export async function keptCommands(ctx: VmContext, ref: string, call: CallContext): Promise<readonly KeptCommand[]> {
  return listKept(ctx, runningVm(ctx, ref), { signal: call.signal });
}

/**
 * Whether a detached command runs, or has ended within the time, asked in the background: no use of the VM. A guest that cannot say (frozen, paused, too
 * old, gone) counts as one that runs something. @throws cancelled
 */
export async function keptWithin(ctx: VmContext, vm: Vm, { withinMs, signal }: { readonly withinMs: number; readonly signal: AbortSignal }): Promise<boolean> {
  try {
    const commands = await listKept(ctx, vm, { signal, limitMs: ctx.backgroundLimitMs ?? defaultBackgroundLimitMs, more: { background: true } });
    const now = ctx.clock?.now() ?? Date.now();
    // The end is told by the guest's clock. One that is far ahead of ours is not believed: it would keep the VM for as long.
    return commands.some(({ state, endedAt }) => state === 'running' || (endedAt !== undefined && Math.abs(now - Date.parse(endedAt)) < withinMs));
  } catch (error) {
    if (signal.aborted) throw cancelled(`The question to the guest of ${vm.name}`);
    ctx.log.debug({ vm: vm.name, err: error }, 'the guest does not say whether it runs detached commands');
    return true;
  }
}

interface ListKept { readonly signal: AbortSignal; readonly limitMs?: number; readonly more?: Partial<GuestExecRequest> }

async function listKept(ctx: VmContext, vm: Vm, { signal, limitMs, more = {} }: ListKept): Promise<readonly KeptCommand[]> {
  const { exit, stdout, stderr } = await askKeeper(ctx, vm, { request: keepRequest(['list'], more), signal, limitMs });
  if (!('code' in exit) || exit.code !== 0) throw operationFailed(`The kept commands of ${vm.name} cannot be listed: ${firstLine(stderr) ?? endText(exit)}`);
  return stdout.split('\n').flatMap((line) => parseKept(line) ?? []);
}

/** @throws not_running */
export function keptOutput(ctx: VmContext, params: VmExecLogsParams, call: CallContext): VmExecResult {
  const vm = runningVm(ctx, params.ref);
  const flags = params.follow === true ? ['--follow'] : [];
  return offerCommand(ctx, vm, { request: keepRequest(['logs', ...flags, params.id]), call });
}

const keepRequest = (words: readonly string[], more: Partial<GuestExecRequest> = {}): GuestExecRequest =>
  ({ env: {}, ...more, command: ['keep', ...words], builtin: true, stdin: false });

interface Answer { readonly exit: GuestExit; readonly stdout: string; readonly stderr: string }

/** Runs the keeper's program to its end. A guest that never answers, or never stops, is given up. */
async function askKeeper(ctx: VmContext, vm: Vm, ask: { readonly request: GuestExecRequest; readonly signal: AbortSignal; readonly limitMs?: number | undefined }): Promise<Answer> {
  const limitMs = ask.limitMs ?? answerLimitMs;
  const limit = AbortSignal.timeout(limitMs);
  const signal = AbortSignal.any([ask.signal, limit]);
  const process = await beginInGuest(ctx, vm, { request: ask.request, signal });
  const gone = Promise.withResolvers<never>();
  const giveUp = (): void => {
    process.hangup();
    // What it goes on to say is not gathered: a guest may end nothing, and is asked again and again.
    process.stdout.destroy();
    process.stderr.destroy();
    gone.reject(limit.aborted ? timedOut(`the guest of ${vm.name} to answer`, limitMs) : cancelled(`command in ${vm.name}`));
  };
  signal.addEventListener('abort', giveUp, { once: true });
  if (signal.aborted) giveUp();
  try {
    return await Promise.race([readAnswer(process), gone.promise]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}

async function readAnswer(process: GuestProcess): Promise<Answer> {
  const [exit, stdout, stderr] = await Promise.all([process.exit, readText(process.stdout), readText(process.stderr)]);
  return { exit, stdout, stderr };
}

/** Up to the limit; the rest is read and thrown away, so that the process can end. */
async function readText(from: Readable): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of from as AsyncIterable<Buffer>) {
    if (size < maxAnswerBytes) parts.push(chunk);
    size += chunk.length;
  }
  return Buffer.concat(parts).toString('latin1');
}

/** What the guest said, fit for a message. */
function firstLine(text: string): string | undefined {
  const line = text.split('\n', 1)[0]!.replace(/^banger: /, '').replaceAll(/[^\u0020-\u007e]/g, '?').slice(0, 300);
  return line === '' ? undefined : line;
}

const endText = (exit: GuestExit): string => ('code' in exit ? `exit code ${exit.code}` : `signal ${exit.signal}`);

const keptLine = /^([0-9a-f]{1,32}) (running|ended|lost) (\d{1,10}) (\d{1,15}) (\d{1,15}) (\d{1,3}) (\d{1,2}) (\d{1,15}) (\d{1,15}) ([!-~]{1,64})(?: ([ -~]*))?$/;

/** One line of `keep list`; undefined for one that is none. */
export function parseKept(line: string): KeptCommand | undefined {
  const match = keptLine.exec(line);
  if (match === null) return undefined;
  const [, id = '', state, pid, started, ended, code, signal, bytes, dropped, user = '', words] = match;
  const base = {
    id, state: state as KeptCommand['state'], pid: Number(pid), user, startedAt: timeText(started),
    command: words === undefined ? [] : words.split(' ').map(unescapeWord),
  };
  if (state !== 'ended') return base;
  const exit = signal === '0' ? { code: Number(code) } : { signal: signalName(Number(signal)), number: Number(signal) };
  return { ...base, endedAt: timeText(ended), exit, outputBytes: Number(bytes), droppedBytes: Number(dropped) };
}

/** A guest may name any number of milliseconds; a Date holds fewer. */
const timeText = (ms: string | undefined): string => new Date(Math.min(Number(ms), 8.64e15)).toISOString();

const unescapeWord = (word: string): string =>
  Buffer.from(word.replaceAll(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))), 'latin1').toString('utf8');

const signalName = (number: number): string =>
  Object.entries(constants.signals).find(([, value]) => value === number)?.[0].slice(3) ?? `RT${number}`;
