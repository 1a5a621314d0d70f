/** What somebody may have meant by a name that there is not. */

/** Steps of comparing that are taken for a name: a few milliseconds. */
const MAX_STEPS = 1 << 22;

/** The name that differs least from `wrong`, by at most a quarter of its characters; undefined where none is so near. */
export function nearestName(wrong: string, names: readonly string[]): string | undefined {
  const most = Math.floor(wrong.length / 4);
  const near = names.filter(({ length }) => Math.abs(length - wrong.length) <= most);
  if (near.reduce((sum, { length }) => sum + length * wrong.length, 0) > MAX_STEPS) return undefined;
  let [best, least]: [string | undefined, number] = [undefined, most + 1];
  for (const name of near) {
    const distance = editDistance(wrong, name);
    if (distance < least) [best, least] = [name, distance];
  }
  return best;
}

/** Characters inserted, left out or replaced on the way from one text to the other (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, j) => j);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}
