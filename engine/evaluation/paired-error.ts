/** How far apart two models' scores must be to differ by more than chance. */

/**
 * The standard error of the mean difference of two models' scores on the same samples: √(Σ(dᵢ − d̄)² / (n(n − 1))).
 * Undefined for fewer than two samples.
 */
export function pairedError(own: ArrayLike<number>, reference: ArrayLike<number>): number | undefined {
  const differences = Array.from(own, (score, i) => score - reference[i]!);
  const n = differences.length;
  if (n < 2) return undefined;
  const mean = differences.reduce((sum, d) => sum + d, 0) / n;
  return Math.sqrt(differences.reduce((sum, d) => sum + (d - mean) ** 2, 0) / (n * (n - 1)));
}
