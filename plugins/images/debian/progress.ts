// Turns mmdebstrap's output into one line for people.

/** Feed it every line; it answers with the new state of the build when that changed. */
export function createProgressReader(): (line: string) => string | undefined {
  let total = 0;
  let done = 0;
  let last = '';
  const say = (text: string): string | undefined => (text === last ? undefined : (last = text));
  return (line) => {
    const newly = /^\d+ upgraded, (\d+) newly installed/.exec(line)?.[1];
    if (newly !== undefined) {
      total += Number(newly);
      return undefined;
    }
    if (line.startsWith('Setting up ')) return say(`installing packages ${++done}/${total}`);
    if (/^Get:\d+ /.test(line)) return say(total === 0 ? 'fetching package lists' : `downloading ${total} packages`);
    if (line.startsWith('I: running apt-get update')) return say('fetching package lists');
    if (line.startsWith('I: extracting archives')) return say(`unpacking packages 0/${total}`);
    if (line.startsWith('I: cleaning')) return say('cleaning up');
    if (line.startsWith('I: creating tarball')) return say('writing the archive');
    return undefined;
  };
}
