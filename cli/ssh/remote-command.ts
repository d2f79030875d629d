// ssh hands the other side one line for a shell, whatever words it was given. So the words are quoted for that shell here.

/** Words that no shell reads as anything but themselves. */
const plain = /^[A-Za-z0-9_./:@%,+-]+$/;

/** One line that a shell of the guest, or the agent where there is none, takes apart into exactly these words. */
export function remoteCommand(words: readonly string[]): string {
  // The first one is always quoted: unquoted it could be a keyword or an alias of the shell.
  return words.map((word, index) => (index > 0 && plain.test(word) ? word : quote(word))).join(' ');
}

const quote = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;
