// Holds a VM in use while something that was opened in it lives.
import type { Duplex } from 'node:stream';

/** `over`: settles when what was opened is over; what was never opened is over at once. */
export async function heldWhile<T>(release: () => void, open: () => Promise<T>, over: (opened: T) => Promise<unknown>): Promise<T> {
  try {
    const opened = await open();
    over(opened).then(release, release);
    return opened;
  } catch (error) {
    release();
    throw error;
  }
}

/** The end of a connection, whichever way it comes. */
export function closeOf(connection: Duplex): Promise<void> {
  return new Promise((resolve) => {
    if (connection.closed) resolve();
    else connection.once('close', () => resolve());
  });
}
