// Asks two servers the same and compares what they say.
import { STATUS, TYPE } from './client.ts';
import type { Server } from './client.ts';
import { entriesOf, normalised } from './normalise.ts';
import type { World } from './normalise.ts';
import type { OpenHandles, Operation } from './operations.ts';

export interface Side { readonly server: Server; readonly world: World }

/** How a kind of request was answered. */
export interface Tally { done: number; refused: number }

const isStatus = (reply: Buffer, status: number): boolean => reply[0] === TYPE.status && reply.readUInt32BE(5) === status;
const sorted = (entries: readonly Buffer[]): Buffer => Buffer.concat([...entries].sort(Buffer.compare));
const show = (bytes: Buffer): string => `${bytes.toString('hex').slice(0, 600)} ${JSON.stringify(bytes.toString('latin1').slice(0, 300))}`;

/** OpenSSH 9.2 answers OK when the last step of a copy could not be read or written. */
const isKnownFault = ({ kind }: Operation, ours: Buffer, theirs: Buffer): boolean =>
  kind === 'copy-data' && isStatus(theirs, STATUS.ok) && ours[0] === TYPE.status && !isStatus(ours, STATUS.eof);

export class Comparison {
  readonly open: OpenHandles = { files: [], directories: [] };
  readonly tallies = new Map<string, Tally>();
  compared = 0;
  readonly #sides: readonly [Side, Side];
  /** What READDIR answered so far, by handle: its order is the file system's, and may differ. */
  readonly #listed = new Map<number, readonly [Buffer[], Buffer[]]>();
  #id = 0;

  constructor(ours: Side, theirs: Side) {
    this.#sides = [ours, theirs];
  }

  /** Throws at the first difference. */
  async run(operations: readonly Operation[]): Promise<readonly Buffer[]> {
    const first = this.#id;
    this.#id += operations.length;
    const ask = ({ server, world }: Side): Promise<Buffer[]> => server.ask(operations.map(({ packet }, n) => packet(world.root, first + n)));
    const [ours, theirs] = await Promise.all([ask(this.#sides[0]), ask(this.#sides[1])]);
    for (const [n, operation] of operations.entries()) this.#compare(operation, [ours[n]!, theirs[n]!]);
    return ours;
  }

  #compare(operation: Operation, replies: readonly [Buffer, Buffer]): void {
    const isListing = operation.kind === 'readdir' && replies.every((reply) => reply[0] === TYPE.name);
    const [ours, theirs] = replies.map((reply, side) =>
      isListing ? reply.subarray(0, 9) : normalised(reply, this.#sides[side]!.world, operation.kind.includes('statvfs')),
    ) as [Buffer, Buffer];
    if (!ours.equals(theirs) && !isKnownFault(operation, ours, theirs)) this.#fail(operation, ours, theirs);
    if (isListing) this.#listed.get(operation.handle!)?.forEach((list, side) => list.push(...entriesOf(replies[side]!, this.#sides[side]!.world)));
    else if (operation.kind === 'readdir' && isStatus(ours, STATUS.eof)) this.#compareListing(operation);
    this.#follow(operation, ours);
    this.compared++;
  }

  #compareListing(operation: Operation): void {
    const listed = this.#listed.get(operation.handle!);
    if (!listed) return;
    const [ours, theirs] = listed.map(sorted) as [Buffer, Buffer];
    if (!ours.equals(theirs)) this.#fail(operation, ours, theirs);
  }

  #fail(operation: Operation, ours: Buffer, theirs: Buffer): never {
    const asked = operation.packet(this.#sides[0].world.root, 0);
    throw new Error(`after ${this.compared} operations, ${operation.kind} differs\n  asked:  ${show(asked)}\n  ours:   ${show(ours)}\n  theirs: ${show(theirs)}`);
  }

  /** Keeps track of what is open. */
  #follow({ kind, handle }: Operation, reply: Buffer): void {
    const tally = this.tallies.get(kind) ?? { done: 0, refused: 0 };
    this.tallies.set(kind, tally);
    if (reply[0] === TYPE.status && !isStatus(reply, STATUS.ok) && !isStatus(reply, STATUS.eof)) tally.refused++;
    else tally.done++;
    if (reply[0] === TYPE.handle) {
      const opened = reply.readUInt32BE(9);
      (kind === 'opendir' ? this.open.directories : this.open.files).push(opened);
      this.#listed.set(opened, [[], []]);
    }
    if (kind !== 'close' || handle === undefined || !isStatus(reply, STATUS.ok)) return;
    for (const list of [this.open.files, this.open.directories]) if (list.includes(handle)) list.splice(list.indexOf(handle), 1);
  }
}
