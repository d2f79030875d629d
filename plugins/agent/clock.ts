// Sets a guest's clock by the host's: it stands still while the guest is paused and while the host sleeps, and nothing in the guest notices.
// The agent's own program `clock` tells it and steps it (guest/README.md).
import { cancelled, operationFailed, timedOut, unsupported } from '../../core/plugin-api.ts';
import type { GuestAgent, GuestProcess, Logger, Vm } from '../../core/plugin-api.ts';

export interface HostClocks {
  /** Milliseconds since the epoch. */
  wallMs(): number;
  /** Milliseconds that count while the host sleeps, too. */
  bootMs(): number;
  /** Milliseconds that stand still while the host sleeps. */
  awakeMs(): number;
}
export interface SyncDeps {
  readonly agent: Pick<GuestAgent, 'exec'>;
  readonly clocks: HostClocks;
  readonly log: Logger;
  /** Of all that one guest has to answer. */
  readonly limitMs: number;
}

/** What people and build tools notice. Less is left alone: a step is a disturbance of its own. */
const toleranceMs = 50;
const rounds = 3;
const maxAnswer = 64;

/** Steps the guest's clock where it is off. @throws timeout; cancelled; wrong_state; operation_failed; unsupported by an older agent */
export async function syncClock(deps: SyncDeps, vm: Vm, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(deps.limitMs);
  try {
    await syncWithin(deps, vm, AbortSignal.any([signal, limit]));
  } catch (error) {
    throw limit.aborted && !signal.aborted ? timedOut(`the guest of ${vm.name} to tell its time`, deps.limitMs) : error;
  }
}

async function syncWithin({ agent, clocks, log }: SyncDeps, vm: Vm, signal: AbortSignal): Promise<void> {
  const process = await agent.exec(vm, { command: ['clock'], builtin: true, env: {}, stdin: true, background: true }, signal);
  const { ask, end } = converse(process, vm, signal);
  try {
    const offMs = await measure(ask, clocks);
    if (offMs === undefined) return;
    const answer = await ask(`step ${BigInt(Math.round(-offMs * 1e6))}`);
    if (answer !== 'ok') throw operationFailed(`The clock of ${vm.name} could not be set (${/^error \d{1,4}$/.test(answer) ? answer : 'no answer that is known'})`);
    log.info({ vm: vm.name, offMs: Math.round(offMs) }, 'the clock of the guest was set');
  } finally {
    end();
  }
}

/** How far the guest's clock is ahead of the host's; undefined: not so far that it matters, or that it can be told. */
async function measure(ask: (words: string) => Promise<string>, clocks: HostClocks): Promise<number | undefined> {
  let best: { readonly offMs: number; readonly tripMs: number } | undefined;
  for (let round = 0; round < rounds; round += 1) {
    const [wallMs, sentMs] = [clocks.wallMs(), clocks.awakeMs()];
    const answer = await ask('get');
    const tripMs = clocks.awakeMs() - sentMs;
    if (!/^\d{1,20}$/.test(answer)) throw operationFailed('The guest tells no time');
    // Read some time between question and answer; half-way is as near as one gets.
    const offMs = Number(BigInt(answer) / 1_000n) / 1_000 - (wallMs + tripMs / 2);
    if (best === undefined || tripMs < best.tripMs) best = { offMs, tripMs };
  }
  return best !== undefined && Math.abs(best.offMs) > toleranceMs + best.tripMs / 2 ? best.offMs : undefined;
}

interface Conversation {
  /** The line that answers a line. One question at a time. */
  ask(words: string): Promise<string>;
  end(): void;
}

function converse(process: GuestProcess, vm: Vm, signal: AbortSignal): Conversation {
  let text = '';
  let over: Error | undefined;
  let waiting: PromiseWithResolvers<string> | undefined;
  const fail = (error: Error): void => {
    over ??= error;
    waiting?.reject(over);
  };
  const give = (): void => {
    const end = text.indexOf('\n');
    // A guest that says more than it was asked for is not listened to.
    if (end > maxAnswer || text.length > 2 * maxAnswer) return fail(operationFailed(`The guest of ${vm.name} does not answer as it should`));
    if (end < 0 || waiting === undefined) return;
    waiting.resolve(text.slice(0, end));
    waiting = undefined;
    text = text.slice(end + 1);
  };
  process.stdout.on('data', (chunk: Buffer) => {
    if (over !== undefined) return;
    text += chunk.toString('latin1');
    give();
  });
  process.stderr.resume();
  for (const stream of [process.stdin, process.stdout, process.stderr]) stream.on('error', () => undefined);
  process.exit.then((exit) => fail('code' in exit && exit.code === 2
    ? unsupported(`the guest agent of ${vm.name} is too old to set its clock`, `banger vm restart ${vm.name}`)
    : operationFailed(`The clock program of ${vm.name} ended early`)), (error: unknown) => fail(error as Error));
  const giveUp = (): void => fail(cancelled(`The question for the time of ${vm.name}`));
  signal.addEventListener('abort', giveUp, { once: true });
  if (signal.aborted) giveUp();
  return {
    ask(words) {
      if (over !== undefined) return Promise.reject(over);
      waiting = Promise.withResolvers<string>();
      const { promise } = waiting;
      process.stdin.write(`${words}\n`);
      give();
      return promise;
    },
    end() {
      signal.removeEventListener('abort', giveUp);
      over ??= cancelled('The conversation');
      process.stdin.end();
      process.hangup();
    },
  };
}
