/** What `--json` prints: indented, one document, ending with a newline. */
export const jsonText = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;
