/** Tests that count as one configuration each, and how two models' answers are compared. */
import { expect, test } from 'vitest';
import { record } from './suite.js';
import { softmax } from './samples.js';

const { PEERS_PYTHON: python } = process.env;
export const isInstalled = python !== undefined;

/** Skipped where there are no libraries. */
export function peer(name: string, check: () => Promise<void>): void {
  test.skipIf(!isInstalled)(
    name,
    async () => {
      const counts = { suite: 'exports', passed: 0, failed: 1, skipped: 0 };
      try {
        await check();
        Object.assign(counts, { passed: 1, failed: 0 });
      } finally {
        record(counts);
      }
    },
    600_000,
  );
  if (!isInstalled) record({ suite: 'exports', passed: 0, failed: 0, skipped: 1 });
}

export const bestOf = (row: ArrayLike<number>) =>
  Array.from(row).reduce((best, x, i) => (x > row[best]! ? i : best), 0);

/** Logits that are closer than this to the best are no worse. */
export const TIE = 0.05;

/**
 * Requires that rows of probabilities are those of the logits: so many best classes the same, and a KL of at most `most` nats.
 * Returns what it found in words.
 */
export function expectAlike(
  logits: Float32Array,
  theirs: readonly Float64Array[],
  most: number,
  share = 0.98,
): string {
  const classes = logits.length / theirs.length;
  let [same, tied, divergence] = [0, 0, 0];
  theirs.forEach((q, row) => {
    const own = logits.subarray(row * classes, (row + 1) * classes);
    const p = softmax(own);
    const [best, found] = [bestOf(own), bestOf(q)];
    if (best === found) same++;
    else if (own[best]! - own[found]! < TIE) tied++;
    p.forEach((x, i) => (divergence += x * Math.log(x / Math.max(q[i]!, 1e-30))));
  });
  const kl = divergence / theirs.length;
  expect(kl).toBeLessThanOrEqual(most);
  expect((same + tied) / theirs.length).toBeGreaterThanOrEqual(share);
  return `KL ${kl.toExponential(1)}, best class of ${same} and ${tied} ties of ${theirs.length} the same`;
}
