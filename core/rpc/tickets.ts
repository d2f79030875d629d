// One-time tickets by which a second connection picks up a byte stream that a call announced.
import { randomBytes } from 'node:crypto';
import { busy } from '../errors.ts';
import type { FrameStream, Logger } from '../plugin-api.ts';

interface Offer {
  readonly peerId: string;
  readonly timer: NodeJS.Timeout;
  readonly open: (stream: FrameStream) => void;
  readonly expired: () => void;
}

export interface Tickets {
  /** @throws busy when the peer has too many open offers. */
  offer(peerId: string, open: (stream: FrameStream) => void, expired: () => void): string;
  /** Gives the offer's `open`, once; `undefined` when unknown, used or expired. */
  take(ticket: string): ((stream: FrameStream) => void) | undefined;
  /** Expires what is left. */
  close(): void;
  readonly size: number;
}

export function createTickets(options: { readonly ticketMs: number; readonly maxPerPeer: number; readonly log: Logger }): Tickets {
  const offers = new Map<string, Offer>();
  const perPeer = new Map<string, number>();

  const remove = (ticket: string): Offer | undefined => {
    const offer = offers.get(ticket);
    if (offer === undefined) return undefined;
    clearTimeout(offer.timer);
    offers.delete(ticket);
    const left = (perPeer.get(offer.peerId) ?? 1) - 1;
    if (left === 0) perPeer.delete(offer.peerId);
    else perPeer.set(offer.peerId, left);
    return offer;
  };
  const expire = (ticket: string): void => {
    try {
      remove(ticket)?.expired();
    } catch (error) {
      options.log.error({ err: error }, 'a stream offer failed to expire');
    }
  };

  return {
    offer(peerId, open, expired) {
      const open_ = perPeer.get(peerId) ?? 0;
      if (open_ >= options.maxPerPeer) throw busy('The connection', `${open_} streams wait to be attached`);
      // 256 random bits: a ticket is the only thing that an attaching connection shows.
      const ticket = randomBytes(32).toString('base64url');
      offers.set(ticket, { peerId, open, expired, timer: setTimeout(() => expire(ticket), options.ticketMs) });
      perPeer.set(peerId, open_ + 1);
      return ticket;
    },
    take: (ticket) => remove(ticket)?.open,
    close() {
      for (const ticket of offers.keys()) expire(ticket);
    },
    get size() {
      return offers.size;
    },
  };
}
