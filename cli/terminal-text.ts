// What a guest wrote, made fit for a terminal: text, newlines, tabs and colours. Anything else could move the cursor over what
// others printed, answer in the person's name, or set the terminal up for good.
import { StringDecoder } from 'node:string_decoder';

/** A control sequence or string by ECMA-48, as long as a well-meant one is; a colour is the first alternative. */
// oxlint-disable-next-line no-control-regex -- control characters are the point
const escape = /\u001b(?:\[([0-9;:]{0,48})m|\[[0-?]{0,48}[ -/]{0,4}[@-~]|[\]P_^X][^\u0007\u001b\n]{0,256}(?:\u0007|\u001b\\)|[ -/]{1,4}[0-~]|[0-Z\\^-~])/gu;
/** The beginning of one at the end of a piece. */
// oxlint-disable-next-line no-control-regex -- as above
const unfinished = /\u001b(?:\[[0-?]{0,48}[ -/]{0,4}|[\]P_^X][^\u0007\u001b\n]{0,256}\u001b?|[ -/]{0,4})$/u;
/** Controls but tab and newline, and characters that turn the direction of writing. */
// oxlint-disable-next-line no-control-regex -- as above
const unwanted = /[\u0000-\u0008\u000b-\u001a\u001c-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
// oxlint-disable-next-line no-control-regex -- as above
const noColour = /\u001b(?!\[[0-9;:]{0,48}m)/gu;
const keep = '\u001b';
const colourOff = '\u001b[0m';

/**
 * Filters a stream of bytes piece by piece. Returns are taken as line ends, so that nothing is written over. Sequences that are no colours vanish.
 * `end` gives the rest, and the colours back.
 */
export class TerminalText {
  readonly #decoder = new StringDecoder('utf8');
  /** Held back: a sequence or line end that may go on in the next piece. */
  #rest = '';
  #coloured = false;
  #atLineStart = true;

  write(bytes: Buffer): string {
    return this.#take(this.#rest + this.#decoder.write(bytes), false);
  }

  end(): string {
    const text = this.#take(this.#rest + this.#decoder.end(), true);
    return this.#coloured ? text + colourOff : text;
  }

  #take(text: string, isLast: boolean): string {
    let whole = text;
    this.#rest = '';
    if (!isLast) {
      const cut = /\r+$/.exec(text)?.index ?? unfinished.exec(text)?.index ?? text.length;
      whole = text.slice(0, cut);
      this.#rest = text.slice(cut);
    }
    const plain = whole.replaceAll(escape, (_, colour: string | undefined) => {
      if (colour === undefined) return '';
      this.#coloured = true;
      return `${keep}[${colour}m`;
    });
    return this.#lines(plain).replaceAll(unwanted, '').replaceAll(noColour, '');
  }

  /** CR LF and CR CR LF end a line once; a CR alone does, too, unless the line is empty. */
  #lines(text: string): string {
    return text.replaceAll(/\r*\n|\r+|[^\r\n]+/g, (piece) => {
      const isEnd = piece.endsWith('\n');
      const isReturn = !isEnd && piece.startsWith('\r');
      if (isReturn && this.#atLineStart) return '';
      this.#atLineStart = isEnd || isReturn;
      return isEnd || isReturn ? '\n' : piece;
    });
  }
}
