// "did you mean": the nearest known word, when it is near enough to be a typing error.

/** Letters added, left out, changed, or swapped with their neighbour. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(change, rows[i - 1]![j]! + 1, row[j - 1]! + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      row.push(best);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

/** The known word nearest to what was typed, if at most a third of it (at least one letter) differs. */
export function suggest(typed: string, known: Iterable<string>): string | undefined {
  let best: { readonly word: string; readonly score: number } | undefined;
  for (const word of known) {
    const score = word.startsWith(typed) && typed.length >= 2 ? 0.5 : distance(typed, word);
    if (score <= Math.max(1, Math.floor(word.length / 3)) && (best === undefined || score < best.score)) best = { word, score };
  }
  return best?.word;
}
