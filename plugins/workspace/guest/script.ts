// Scripts for the image's own shell and git, run in the guest. What they say is the guest's word: bounded, and checked by who uses it.
import { BangerError, operationFailed, timedOut } from '../../../core/plugin-api.ts';
import type { GuestExecRequest, Vm } from '../../../core/plugin-api.ts';
import { runInGuest } from './run.ts';
import type { GuestTarget } from './run.ts';

export interface ScriptCall {
  readonly script: string;
  /** `$1` and on. */
  readonly args: readonly string[];
  readonly input?: Buffer;
  /** Ends it when nothing was heard over this long. */
  readonly idleLimitMs: number;
  /** Of what is kept of stdout. @default 16 MiB */
  readonly maxStdoutBytes?: number;
  /** Takes stdout as it comes, with back-pressure; without it stdout is kept. */
  readonly onStdout?: (chunk: Buffer) => Promise<void> | void;
}
export interface ScriptResult { readonly code: number; readonly stdout: Buffer; /** The last 16 KiB, a line each, safe to show. */ readonly said: readonly string[] }

const maxKeptBytes = 16 * 1024 * 1024;
const maxSaidChars = 16 * 1024;

/** Exit codes of the scripts: what a guest can lack. */
export const scriptCode = { noDirectory: 3, noGit: 4, notRepository: 5, badBase: 9 } as const;

/** @throws timeout; operation_failed when a signal ended it or it says too much; what `onStdout` throws; the signal's reason */
export async function runScript(target: GuestTarget, call: ScriptCall): Promise<ScriptResult> {
  const { vm } = target;
  const { input, idleLimitMs, maxStdoutBytes = maxKeptBytes } = call;
  const kept: Buffer[] = [];
  let keptBytes = 0;
  let said = '';
  const keep = (chunk: Buffer): void => {
    keptBytes += chunk.length;
    if (keptBytes > maxStdoutBytes) throw operationFailed(`The guest of ${vm.name} said more than ${maxStdoutBytes} bytes`);
    kept.push(chunk);
  };
  const exit = await runInGuest(target, {
    request: scriptRequest(call.script, call.args), silence: { limitMs: idleLimitMs, expired: (limitMs) => timedOut(`the guest of ${vm.name}, which said nothing`, limitMs) },
    input: input === undefined ? undefined : piecesOf(input), onStdout: call.onStdout ?? keep,
    onStderr: (chunk) => { said = (said + chunk.toString('latin1')).slice(-maxSaidChars); },
  });
  if ('signal' in exit) throw operationFailed(`A script in the guest of ${vm.name} was ended by signal ${exit.signal}`);
  return { code: exit.code, stdout: Buffer.concat(kept), said: safeLines(said) };
}

/** A script as the agent is asked for it; `args` are `$1` and on. */
export function scriptRequest(script: string, args: readonly string[]): Omit<GuestExecRequest, 'stdin'> {
  return { command: ['sh', '-c', script, 'banger', ...args], env: { LC_ALL: 'C' }, cwd: '/' };
}

const pieceBytes = 65_536;

function* piecesOf(input: Buffer): Generator<Buffer> {
  for (let at = 0; at < input.length; at += pieceBytes) yield input.subarray(at, at + pieceBytes);
}

/** Lines of a guest go to logs and to people. */
export function safeLines(text: string): string[] {
  return text.split('\n').map((line) => line.replaceAll(/[^\u0020-\u007e]/g, '?').slice(0, 300)).filter((line) => line !== '');
}

/** What a script's exit code says about the guest, when it is not 0. */
export function scriptFailure(result: ScriptResult, { vm, guestPath, what }: { readonly vm: Vm; readonly guestPath: string; readonly what: string }): BangerError {
  const { code, said } = result;
  if (code === scriptCode.noGit || code === 126 || code === 127) {
    return new BangerError('workspace.no_git', `${what} needs git in the guest, and the image of ${vm.name} has ${code === scriptCode.noGit ? 'none' : 'no shell'}`, {
      hint: `install git in the guest, or take files out with banger vm cp ${vm.name}:${guestPath} .`,
    });
  }
  if (code === scriptCode.noDirectory) return operationFailed(`The guest of ${vm.name} has no directory ${guestPath} any more`);
  if (code === scriptCode.notRepository) return operationFailed(`${guestPath} in the guest of ${vm.name} is no git repository any more`);
  const last = said.at(-1);
  return operationFailed(`${what} failed in the guest of ${vm.name}${last === undefined ? ` with exit code ${code}` : `: ${last}`}`, { detail: { exitCode: code, said: said.slice(-20) } });
}
