// Test support: a scripted guest in place of the agent, for what no agent would say.
import { duplexPair } from 'node:stream';
import type { Duplex } from 'node:stream';
import type { BangerError } from '../../core/plugin-api.ts';
import { AgentSession } from './session.ts';
import type { BootInfo } from './session.ts';
import { quietLog, testToken, until } from './test-agent.ts';
import { encodeFrame, encodeTlv, frameType, tag, TokenScanner, u32 } from './wire.ts';

export const zeros = Buffer.alloc(16);
const sessions: AgentSession[] = [];

/** After each test. */
export function closeGuests(): void {
  for (const session of sessions.splice(0)) session.close();
}

export interface Guest {
  readonly session: AgentSession;
  readonly infos: BootInfo[];
  readonly losses: { readonly error: BangerError; readonly closed: boolean }[];
  readonly pipe: Duplex;
  /** Everything the host sent. */
  received(): Buffer;
  /** Waits for the host's nth hello and answers it. */
  answer(hello?: number): Promise<void>;
  hellos(): Buffer[];
}

/** The host's session is there; its hello is not answered. */
export function createGuest(helloRepeatMs = 60_000, isPaused: () => boolean = () => false): Guest {
  const [hostEnd, pipe] = duplexPair();
  const infos: BootInfo[] = [];
  const losses: { error: BangerError; closed: boolean }[] = [];
  const parts: Buffer[] = [];
  pipe.on('data', (chunk: Buffer) => parts.push(chunk));
  pipe.on('error', () => {});
  const session = new AgentSession(hostEnd, {
    token: testToken, subject: 'devbox', log: quietLog, helloRepeatMs, isPaused,
    onInfo: (info) => { infos.push(info); }, onLost: (error, closed) => { losses.push({ error, closed }); },
  });
  sessions.push(session);
  const hellos = (): Buffer[] => {
    const all = Buffer.concat(parts);
    return new TokenScanner(testToken).push(all).filter((end) => all.length >= end + 16).map((end) => all.subarray(end, end + 16));
  };
  return {
    session, infos, losses, pipe, hellos, received: () => Buffer.concat(parts),
    async answer(hello = 1) {
      await until(() => hellos().length >= hello, `hello ${hello}`);
      pipe.write(Buffer.concat([testToken, hellos()[hello - 1] ?? zeros]));
    },
  };
}

export interface InfoChanges { readonly protocol?: number; readonly bootId?: string; readonly problems?: readonly string[] }
/** INFO, as an agent introduces itself. */
export function info(changes: InfoChanges = {}): Buffer {
  const payload = encodeTlv([
    [tag.version, '0.1.0'], [tag.protocol, u32(changes.protocol ?? 1)], [tag.bootId, changes.bootId ?? 'aaaa-bbbb'], [tag.init, 'agent'],
    ...(changes.problems ?? []).map((problem) => [tag.problem, problem] as const),
  ]);
  return encodeFrame(frameType.info, 0, payload ?? zeros);
}

/** A session that is open. */
export async function openGuest(changes: InfoChanges = {}): Promise<Guest> {
  const guest = createGuest();
  await guest.answer();
  guest.pipe.write(info(changes));
  await until(() => guest.infos.length === 1, 'the introduction');
  return guest;
}
