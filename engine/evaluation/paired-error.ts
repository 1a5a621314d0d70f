/** How far apart two models' scores must be to differ by more than chance. */

/**
 * The standard error of a mean difference d̄ of two models' scores on the same samples, √(Σ(dᵢ − d̄)² / (n(n − 1))).
 * Undefined for fewer than two samples.
 * @param sum Σ dᵢ @param squares Σ dᵢ²
 */
export const errorOfSums = (n: number, sum: number, squares: number): number | undefined =>
  n < 2 ? undefined : Math.sqrt(Math.max(0, squares - (sum * sum) / n) / (n * (n - 1)));

/** `errorOfSums` of the scores themselves, a sample each. */
export function pairedError(own: ArrayLike<number>, reference: ArrayLike<number>): number | undefined {
  let [sum, squares] = [0, 0];
  for (let i = 0; i < own.length; i++) {
    const difference = own[i]! - reference[i]!;
    sum += difference;
    squares += difference * difference;
  }
  return errorOfSums(own.length, sum, squares);
}
