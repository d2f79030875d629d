// What listens in a guest, asked once or followed. All of it is the guest's word: number, length and pace are bounded.
import { setTimeout as delay } from 'node:timers/promises';
import { cancelled, operationFailed, timedOut } from '../../../core/plugin-api.ts';
import type { GuestProcess, Vm } from '../../../core/plugin-api.ts';
import type { ListenerSnapshot } from '../capability.ts';
import { ask, begin, createEnd, leave, readSome, requireSuccess } from './ask.ts';
import type { AskingAgent, AskOptions, End } from './ask.ts';
import { parseSnapshot, SnapshotSplitter, snapshotLimits } from './snapshots.ts';

/** Asks a running guest. @throws timeout; cancelled; operation_failed; unsupported; what `exec` throws */
export async function listListeners(agent: AskingAgent, vm: Vm, options: AskOptions): Promise<ListenerSnapshot> {
  const maxBytes = (snapshotLimits.lines + 1) * snapshotLimits.lineChars;
  const text = await ask(agent, vm, { words: ['ports'], maxBytes, ...options });
  const splitter = new SnapshotSplitter();
  const [lines, ...rest] = splitter.push(text) ?? [];
  const snapshot = lines === undefined || rest.length > 0 || !splitter.isAtEnd() ? undefined : parseSnapshot(lines);
  if (snapshot === undefined) throw nonsense(vm);
  return snapshot;
}

export interface WatchOptions {
  readonly signal: AbortSignal;
  /** With the first snapshot, and with each that differs from the one before. */
  readonly onChange: (snapshot: ListenerSnapshot) => void;
  /** The first snapshot must have come by then. */
  readonly limitMs: number;
  /** A guest that said no whole snapshot for so long is given up; it says one every 30 s at least. @default 90000 */
  readonly silenceMs?: number;
  /** No more than one snapshot is taken in this time, whatever a guest sends, and fewer of those that are much work. @default 100 */
  readonly paceMs?: number;
}

const defaultSilenceMs = 90_000;
const defaultPaceMs = 100;
/** After a snapshot that was work for so long, so many times that, and no longer than `mostMs`: the longest one is 50 ms of it, and there are other guests. */
const rest = { share: 10, mostMs: 5000 } as const;

/** Resolves when the signal ends it. @throws timeout; operation_failed; unsupported; what `exec` throws */
export async function watchListeners(agent: AskingAgent, vm: Vm, options: WatchOptions): Promise<void> {
  const { signal, limitMs, silenceMs = defaultSilenceMs } = options;
  let waitedMs = limitMs;
  const end = createEnd(signal, limitMs, (late) => (late ? timedOut(`the guest of ${vm.name} to tell what listens`, waitedMs) : cancelled(`watching ${vm.name}`)));
  const heard = (): void => {
    waitedMs = silenceMs;
    end.extend(silenceMs);
  };
  try {
    const process = await Promise.race([begin(agent, vm, { words, signal: end.signal }), end.reached]);
    try {
      await Promise.race([follow(process, { ...options, vm, end, heard }), end.reached]);
    } finally {
      leave(process);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    end.stop();
  }
}

const words = ['ports', '--watch'];

interface Following extends WatchOptions { readonly vm: Vm; readonly end: End; readonly heard: () => void }

/** Until the guest ends it, which it should not. */
async function follow(process: GuestProcess, following: Following): Promise<never> {
  const { vm } = following;
  const problem = readSome(process.stderr);
  await takeSnapshots(process, following);
  requireSuccess(vm, { words, exit: await process.exit, problem: await problem });
  throw operationFailed(`The guest of ${vm.name} tells no more what listens`);
}

async function takeSnapshots(process: GuestProcess, { vm, end, heard, onChange, paceMs = defaultPaceMs }: Following): Promise<void> {
  const splitter = new SnapshotSplitter();
  let last: string | undefined;
  for await (const chunk of readUntilBroken(process)) {
    for (const lines of splitter.push(chunk.toString('latin1')) ?? [undefined]) {
      const began = performance.now();
      const snapshot = lines === undefined ? undefined : parseSnapshot(lines);
      if (lines === undefined || snapshot === undefined) throw nonsense(vm);
      if (end.signal.aborted) return;
      heard();
      const text = lines.join('\n');
      if (text !== last) onChange(snapshot);
      last = text;
      // Meanwhile nothing is read, and a guest that floods waits.
      await delay(Math.max(paceMs, Math.min(rest.mostMs, rest.share * (performance.now() - began))), undefined, { signal: end.signal }).catch(() => undefined);
    }
  }
}

/** A stream that breaks off is told by the exit. */
async function* readUntilBroken({ stdout }: GuestProcess): AsyncGenerator<Buffer> {
  try {
    yield* stdout as AsyncIterable<Buffer>;
  } catch {
    // See above.
  }
}

const nonsense = (vm: Vm): Error => operationFailed(`The guest of ${vm.name} tells what listens in a way that cannot be read`);
