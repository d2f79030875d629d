/** Aligned columns with two spaces between; the last one is not padded. Ends with a newline. */
export function table(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headers, ...rows];
  const widths = headers.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  return all.map((row) => `${headers.map((_, column) => printable(row[column] ?? '').padEnd(widths[column]!)).join('  ').trimEnd()}\n`).join('');
}

/** Control characters from a guest or a file must not reach the terminal, nor those that turn the direction of writing. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are the point
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '?');
}
