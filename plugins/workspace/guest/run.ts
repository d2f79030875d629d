// Running something in the guest to its end: fed, heard, given up when it is silent or the caller leaves.
import { once } from 'node:events';
import type { GuestAgent, GuestExecRequest, GuestExit, GuestProcess, Vm } from '../../../core/plugin-api.ts';
import { watchSilence } from './silence.ts';
import type { Silence } from './silence.ts';

export interface GuestTarget { readonly agent: Pick<GuestAgent, 'exec'>; readonly vm: Vm; readonly signal: AbortSignal }
export interface GuestRun {
  readonly request: Omit<GuestExecRequest, 'stdin'>;
  readonly silence: Silence;
  /** For stdin, as fast as the guest takes it. */
  readonly input?: Iterable<Buffer> | undefined;
  onStdout(chunk: Buffer): Promise<void> | void;
  onStderr(chunk: Buffer): void;
}

/** @throws what `silence.expired` gives when it neither says nor takes anything; what `onStdout` or `input` throws; the signal's reason */
export async function runInGuest({ agent, vm, signal }: GuestTarget, run: GuestRun): Promise<GuestExit> {
  const process = await agent.exec(vm, { ...run.request, stdin: run.input !== undefined }, signal);
  const watch = watchSilence(run.silence);
  const left = Promise.withResolvers<never>();
  const onAbort = (): void => left.reject(signal.reason);
  // Its exit says why.
  for (const stream of [process.stdin, process.stdout, process.stderr]) stream.on('error', () => undefined);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    const work = Promise.all([process.exit, hear(process.stdout, run.onStdout, watch.heard), hear(process.stderr, run.onStderr, watch.heard), feed(process, run.input, watch.heard)]);
    const [exit] = await Promise.race([work, watch.failed, left.promise]);
    return exit;
  } catch (error) {
    process.hangup();
    throw error;
  } finally {
    watch.stop();
    signal.removeEventListener('abort', onAbort);
    process.stdin.destroy();
  }
}

async function hear(from: GuestProcess['stdout'], take: (chunk: Buffer) => Promise<void> | void, heard: () => void): Promise<void> {
  for await (const chunk of from as AsyncIterable<Buffer>) {
    heard();
    await take(chunk);
  }
}

async function feed({ stdin, exit }: GuestProcess, input: Iterable<Buffer> | undefined, heard: () => void): Promise<void> {
  if (input === undefined) return;
  const over = exit.then(() => undefined, () => undefined);
  for (const chunk of input) {
    if (stdin.destroyed) return;
    if (stdin.write(chunk)) continue;
    const waiting = new AbortController();
    const settled = [once(stdin, 'drain', { signal: waiting.signal }), once(stdin, 'close', { signal: waiting.signal })].map((event) => event.catch(() => undefined));
    await Promise.race([...settled, over]).finally(() => waiting.abort());
    heard();
  }
  if (!stdin.destroyed) stdin.end();
}
