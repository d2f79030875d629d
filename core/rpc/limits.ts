// Bounds of the RPC server. Each is a number that a broken or hostile client runs into before anybody else notices it.
export interface RpcLimits {
  /** Longest request line. */
  readonly maxLineBytes: number;
  readonly maxConnections: number;
  readonly maxCallsPerConnection: number;
  /** Lines taken from one connection before the others get their turn. */
  readonly linesPerTurn: number;
  /** Malformed requests a connection may send before it is dropped. */
  readonly maxFaults: number;
  /** Above this many unsent bytes a connection's requests are not read and its progress is dropped. */
  readonly softOutputBytes: number;
  /** Above this many unsent bytes a connection is dropped. */
  readonly hardOutputBytes: number;
  /** Unsent output and half lines of all connections together; beyond it the largest is dropped. */
  readonly maxBufferedBytes: number;
  /** How long a half line may stay half. */
  readonly halfLineMs: number;
  /** How long a refused connection may go on sending before it is cut; what it sends is thrown away. */
  readonly drainMs: number;
  /** How often buffers, half lines and half-closed connections are looked at. */
  readonly sweepMs: number;
  readonly ticketMs: number;
  readonly maxTicketsPerPeer: number;
  /** How long `close` waits for calls to end. */
  readonly closeMs: number;
}

const mebibyte = 1024 * 1024;

export const defaultLimits: RpcLimits = {
  maxLineBytes: 4 * mebibyte,
  maxConnections: 2_000,
  maxCallsPerConnection: 256,
  linesPerTurn: 64,
  maxFaults: 16,
  softOutputBytes: mebibyte,
  hardOutputBytes: 16 * mebibyte,
  maxBufferedBytes: 256 * mebibyte,
  halfLineMs: 30_000,
  drainMs: 2_000,
  sweepMs: 1_000,
  ticketMs: 10_000,
  maxTicketsPerPeer: 64,
  closeMs: 5_000,
};
