// Runs a program of the guest's agent and reads what it prints, within bounds: the guest is hostile.
import type { Readable } from 'node:stream';
import { cancelled, operationFailed, timedOut, unsupported } from '../../../core/plugin-api.ts';
import type { BangerError, GuestAgent, GuestExit, GuestProcess, Vm } from '../../../core/plugin-api.ts';

export type AskingAgent = Pick<GuestAgent, 'exec'>;
export interface AskOptions {
  readonly signal: AbortSignal;
  /** The whole answer must have come by then. */
  readonly limitMs: number;
  /**
   * Told when the guest has begun the program, with a promise that settles (never rejects) when the guest has really ended it or the session
   * is lost. After a timeout it may still be there: a guest that is frozen ends nothing.
   */
  readonly onBegun?: (over: Promise<void>) => void;
}
export interface Question {
  /** The program and its arguments. */
  readonly words: readonly string[];
  /** More is a fault of the guest's. */
  readonly maxBytes: number;
}

/**
 * All that the program prints, latin1.
 *
 * @throws timeout; cancelled; operation_failed when it fails or says too much; unsupported by an older agent; what `exec` throws
 */
export async function ask(agent: AskingAgent, vm: Vm, { words, maxBytes, signal, limitMs, onBegun }: Question & AskOptions): Promise<string> {
  const end = createEnd(signal, limitMs, (late) => (late ? timedOut(`the guest of ${vm.name} to answer (${words[0]})`, limitMs) : cancelled(`${words.join(' ')} in ${vm.name}`)));
  try {
    const process = await Promise.race([begin(agent, vm, { words, signal: end.signal }), end.reached]);
    onBegun?.(process.exit.then(() => undefined, () => undefined));
    try {
      const answer = Promise.all([process.exit, readAll(process.stdout, { vm, words, maxBytes }), readSome(process.stderr)]);
      const [exit, said, problem] = await Promise.race([answer, end.reached]);
      requireSuccess(vm, { words, exit, problem });
      return said;
    } finally {
      leave(process);
    }
  } finally {
    end.stop();
  }
}

export interface End {
  readonly signal: AbortSignal;
  readonly reached: Promise<never>;
  /** From now on so long. */
  extend(limitMs: number): void;
  stop(): void;
}

/** The caller's signal or the limit, whichever comes first. */
export function createEnd(signal: AbortSignal, limitMs: number, error: (late: boolean) => BangerError): End {
  const controller = new AbortController();
  const reached = Promise.withResolvers<never>();
  reached.promise.catch(() => undefined);
  const give = (late: boolean): void => {
    reached.reject(error(late));
    controller.abort();
  };
  const onAbort = (): void => give(false);
  let timer = setTimeout(give, limitMs, true);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  return {
    signal: controller.signal, reached: reached.promise,
    extend(nextMs) {
      clearTimeout(timer);
      timer = setTimeout(give, nextMs, true);
    },
    stop() {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    },
  };
}

/** Starts one of the agent's programs. One that begins only after the signal is left at once. */
export async function begin(agent: AskingAgent, vm: Vm, { words, signal }: { readonly words: readonly string[]; readonly signal: AbortSignal }): Promise<GuestProcess> {
  const process = await agent.exec(vm, { command: words, builtin: true, background: true, env: {}, stdin: false }, signal);
  process.exit.catch(() => undefined); // whoever waits for it hears
  for (const stream of [process.stdin, process.stdout, process.stderr]) stream.on('error', () => undefined);
  if (signal.aborted) leave(process);
  return process;
}

/** Ends it if it has not ended; what it still says is thrown away. */
export function leave(process: GuestProcess): void {
  process.hangup();
  process.stdout.destroy();
  process.stderr.destroy();
}

/** @throws operation_failed; unsupported */
export function requireSuccess(vm: Vm, { words, exit, problem }: { readonly words: readonly string[]; readonly exit: GuestExit; readonly problem: string }): void {
  if ('code' in exit && exit.code === 0) return;
  if ('code' in exit && exit.code === 2) throw unsupported(`The guest agent of ${vm.name} is too old for ${words.join(' ')}`, `banger vm restart ${vm.name}`);
  const end = 'code' in exit ? `exit code ${exit.code}` : `signal ${exit.signal}`;
  throw operationFailed(`The guest agent of ${vm.name} could not do ${words.join(' ')}: ${problem === '' ? end : problem}`);
}

/** A stream that breaks off is told by the exit. @throws operation_failed for more than that */
async function readAll(from: Readable, { vm, words, maxBytes }: Question & { readonly vm: Vm }): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxBytes) break;
      parts.push(chunk);
    }
  } catch {
    return '';
  }
  if (size > maxBytes) throw operationFailed(`The guest of ${vm.name} answers more than ${maxBytes} bytes (${words[0]})`);
  return Buffer.concat(parts).toString('latin1');
}

const maxProblem = 300;

/** The last line that the guest complained with, fit for a message. */
export async function readSome(from: Readable): Promise<string> {
  let text = '';
  try {
    for await (const chunk of from as AsyncIterable<Buffer>) text = (text + chunk.toString('latin1')).slice(-maxProblem);
  } catch {
    // A stream that breaks off is told by the exit.
  }
  return text.trim().split('\n').at(-1)!.replaceAll(/[^\u0020-\u007e]/g, '?');
}
