// The guest's end: the agent's own program unpacks a stream below root's home, and tells whether a file is there.
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { operationFailed } from '../../core/plugin-api.ts';
import type { GuestAgent, GuestExit, GuestProcess, Vm } from '../../core/plugin-api.ts';
import { guestHome } from './schema.ts';
import { tarEnd } from './tar.ts';

export type Agent = Pick<GuestAgent, 'exec' | 'info'>;
export interface Target { readonly agent: Agent; readonly vm: Vm; readonly signal: AbortSignal }

/** What the guest has to say is kept so far. */
const maxSaidBytes = 16 * 1024;

/**
 * Unpacks tar blocks below root's home, as root's. Answers what the guest left out, a line each: links of its own that an entry would go
 * through, or a directory where a file goes. Nothing is begun for no blocks.
 *
 * @throws operation_failed when the guest refuses, and what reading the blocks throws; what was put in place before stays
 */
export async function unpack(target: Target, blocks: AsyncIterable<Buffer>): Promise<readonly string[]> {
  let running: Running | undefined;
  try {
    for await (const block of blocks) {
      running ??= await begin(target, ['receive', '--into', '--owners', '--', guestHome], true);
      if (!await write(running, block)) break;
    }
    if (running === undefined) return [];
    await write(running, tarEnd);
    running.process.stdin.end();
    const [exit, said] = await Promise.race([Promise.all([running.process.exit, running.said]), running.gone]);
    return outcome(target.vm, exit, said);
  } catch (error) {
    running?.process.hangup();
    throw error;
  }
}

/** Whether there is anything at a path of the guest, a dangling link included. What cannot be told counts as there. */
export async function exists(target: Target, path: string): Promise<boolean> {
  const running = await begin(target, ['send', '--', path], false);
  if (await Promise.race([hasOutput(running.process.stdout), running.gone])) {
    running.process.hangup();
    return true;
  }
  const exit = await Promise.race([running.process.exit, running.gone]);
  return !('code' in exit) || exit.code !== refused;
}

async function hasOutput(stdout: Readable): Promise<boolean> {
  for await (const chunk of stdout as AsyncIterable<Buffer>) if (chunk.length > 0) return true;
  return false;
}

/** Exit code of the program for a source or destination it does not take. */
const refused = 3;
/** Some was left out. */
const partial = 1;

interface Running {
  readonly process: GuestProcess;
  readonly said: Promise<string>;
  /** Rejects when the start is given up: a frozen guest never ends. */
  readonly gone: Promise<never>;
}

async function begin({ agent, vm, signal }: Target, words: readonly string[], stdin: boolean): Promise<Running> {
  const process = await agent.exec(vm, { command: ['copy', ...words], builtin: true, env: {}, stdin }, signal);
  const gone = Promise.withResolvers<never>();
  gone.promise.catch(() => undefined);
  const onAbort = (): void => {
    process.hangup();
    gone.reject(signal.reason);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  void process.exit.catch(() => undefined).finally(() => signal.removeEventListener('abort', onAbort));
  process.stdin.on('error', () => undefined); // its exit says why
  process.stdout.on('error', () => undefined);
  if (stdin) process.stdout.resume();
  const said = readSome(process.stderr);
  said.catch(() => undefined); // a lost session is told by the exit
  return { process, said, gone: gone.promise };
}

/** Resolves when more can be taken; false: the guest takes no more. */
async function write({ process: { stdin, exit }, gone }: Running, block: Buffer): Promise<boolean> {
  if (stdin.destroyed) return false;
  if (stdin.write(block)) return true;
  const waiting = new AbortController();
  const { signal } = waiting;
  const settled = Promise.race([once(stdin, 'drain', { signal }), once(stdin, 'close', { signal }), exit]).catch(() => undefined);
  await Promise.race([settled, gone]).finally(() => waiting.abort());
  return !stdin.destroyed;
}

async function readSome(from: Readable): Promise<string> {
  let text = '';
  for await (const chunk of from as AsyncIterable<Buffer>) {
    if (text.length < maxSaidBytes) text += chunk.toString('latin1');
  }
  return text.slice(0, maxSaidBytes);
}

function outcome(vm: Vm, exit: GuestExit, said: string): readonly string[] {
  // Lines of a guest go to the log and to people.
  const lines = said.split('\n').map((line) => line.replace(/^copy: /, '').replaceAll(/[^\u0020-\u007e]/g, '?').slice(0, 200))
    .filter((line) => line !== '' && !line.startsWith('note: '));
  if ('code' in exit && exit.code === 0) return [];
  if ('code' in exit && exit.code === partial) return lines.length > 0 ? lines : ['something was left out'];
  const end = 'code' in exit ? `exit code ${exit.code}` : `signal ${exit.signal}`;
  throw operationFailed(`the guest of ${vm.name} did not take the files: ${lines.at(-1) ?? end}`);
}
