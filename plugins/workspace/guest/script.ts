// Scripts for the image's own shell and git, run in the guest. What they say is the guest's word: bounded, and checked by who uses it.
import { once } from 'node:events';
import { BangerError, operationFailed, timedOut } from '../../../core/plugin-api.ts';
import type { GuestAgent, GuestExecRequest, GuestProcess, Vm } from '../../../core/plugin-api.ts';

export interface GuestTarget { readonly agent: Pick<GuestAgent, 'exec'>; readonly vm: Vm; readonly signal: AbortSignal }
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
  const process = await target.agent.exec(target.vm, scriptRequest(call.script, call.args, call.input !== undefined), target.signal);
  const watch = watchSilence(process, target, call.idleLimitMs);
  try {
    return await Promise.race([listen(process, target, { call, heard: watch.heard }), watch.failed]);
  } catch (error) {
    process.hangup();
    throw error;
  } finally {
    watch.stop();
  }
}

/** A script as the agent is asked for it; `args` are `$1` and on. */
export function scriptRequest(script: string, args: readonly string[], stdin: boolean): GuestExecRequest {
  return { command: ['sh', '-c', script, 'banger', ...args], env: { LC_ALL: 'C' }, cwd: '/', stdin };
}

async function listen(process: GuestProcess, target: GuestTarget, { call, heard }: { readonly call: ScriptCall; readonly heard: () => void }): Promise<ScriptResult> {
  const kept: Buffer[] = [];
  let keptBytes = 0;
  let said = '';
  const readOut = async (): Promise<void> => {
    for await (const chunk of process.stdout as AsyncIterable<Buffer>) {
      heard();
      if (call.onStdout !== undefined) {
        await call.onStdout(chunk);
        continue;
      }
      keptBytes += chunk.length;
      const limit = call.maxStdoutBytes ?? maxKeptBytes;
      if (keptBytes > limit) throw operationFailed(`The guest of ${target.vm.name} said more than ${limit} bytes`);
      kept.push(chunk);
    }
  };
  const readErrors = async (): Promise<void> => {
    for await (const chunk of process.stderr as AsyncIterable<Buffer>) {
      heard();
      said = (said + chunk.toString('latin1')).slice(-maxSaidChars);
    }
  };
  const [exit] = await Promise.all([process.exit, readOut(), readErrors(), feed(process, call.input)]);
  if ('signal' in exit) throw operationFailed(`A script in the guest of ${target.vm.name} was ended by signal ${exit.signal}`);
  return { code: exit.code, stdout: Buffer.concat(kept), said: safeLines(said) };
}

async function feed({ stdin }: GuestProcess, input: Buffer | undefined): Promise<void> {
  stdin.on('error', () => undefined); // a script that reads no more says why by its exit
  if (input === undefined) return;
  for (let at = 0; at < input.length && !stdin.destroyed; at += 65_536) {
    if (!stdin.write(input.subarray(at, at + 65_536))) await Promise.race([once(stdin, 'drain'), once(stdin, 'close')]);
  }
  stdin.end();
}

/** Lines of a guest go to logs and to people. */
export function safeLines(text: string): string[] {
  return text.split('\n').map((line) => line.replaceAll(/[^\u0020-\u007e]/g, '?').slice(0, 300)).filter((line) => line !== '');
}

function watchSilence(process: GuestProcess, { vm, signal }: GuestTarget, limitMs: number): { heard(): void; stop(): void; readonly failed: Promise<never> } {
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  const onAbort = (): void => failed.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const expire = (): void => failed.reject(timedOut(`the guest of ${vm.name}, which said nothing`, limitMs));
  let timer = setTimeout(expire, limitMs);
  return {
    failed: failed.promise,
    heard() {
      clearTimeout(timer);
      timer = setTimeout(expire, limitMs);
    },
    stop() {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      process.stdin.destroy();
    },
  };
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
