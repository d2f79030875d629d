// What an end says on stderr, as lines for a person. A guest's may be anything, of any length, without end.
import { StringDecoder } from 'node:string_decoder';
import { printable } from '../render/table.ts';

const maxLine = 1000;
const maxLines = 200;

/** Gives whole lines, cleaned and bounded in length and number; the last one is held back, as it may be the reason of an end. */
export class EndLines {
  readonly #show: (line: string) => void;
  readonly #decoder = new StringDecoder('utf8');
  #rest = '';
  #last: string | undefined;
  #count = 0;

  constructor(show: (line: string) => void) {
    this.#show = show;
  }

  push(bytes: Buffer): void {
    const lines = (this.#rest + this.#decoder.write(bytes)).split('\n');
    this.#rest = (lines.pop() ?? '').slice(0, maxLine);
    for (const line of lines) this.#take(line);
  }

  /** The last line, once there are no more; it is not shown by itself. */
  takeLast(): string | undefined {
    if (this.#rest !== '') this.#take(this.#rest);
    this.#rest = '';
    const last = this.#last;
    this.#last = undefined;
    return last;
  }

  #take(line: string): void {
    const clean = printable(line.slice(0, maxLine)).replace(/^copy: /, '').trimEnd();
    if (clean === '') return;
    this.#count += 1;
    if (this.#count > maxLines) return;
    if (this.#last !== undefined) this.#show(this.#last);
    this.#last = this.#count === maxLines ? 'more lines are not shown' : clean;
  }
}
