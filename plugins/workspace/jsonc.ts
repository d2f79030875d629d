// JSON as people write it into settings: with comments and with commas after the last element.

/** @throws SyntaxError */
export function parseJsonc(text: string): unknown {
  // Strings are taken whole, so that nothing in them is a comment; a comment is a blank, as it parts words.
  const bare = text.replace(/^\uFEFF/, '').replaceAll(/"(?:[^"\\\n]|\\.)*"|\/\/[^\n\r]*|\/\*[\s\S]*?\*\//g, (part) => (part.startsWith('"') ? part : ' '));
  const strict = bare.replaceAll(/"(?:[^"\\\n]|\\.)*"|,(?=\s*[\]}])/g, (part) => (part.startsWith('"') ? part : ' '));
  return JSON.parse(strict) as unknown;
}
