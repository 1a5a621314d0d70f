/** Scales as the super-blocks of GGUF's K types hold them: small whole multiples of one float16. */
import { roundToHalf } from '../floats.js';

export interface FittedScales {
  /** A float16. */
  readonly unit: number;
  /** One for each target, from −most to most, negative where the target is. */
  readonly counts: Int8Array;
}

/**
 * The unit and counts with the least squared error of counts · unit to the targets.
 * @param most,least the largest count, and the smallest that is tried for the largest target
 */
export function fitScales(targets: Float32Array, most: number, least = 1): FittedScales {
  let largest = 0;
  for (const target of targets) largest = Math.max(largest, Math.abs(target));
  const best = { unit: 0, counts: new Int8Array(targets.length), error: Infinity };
  if (largest === 0) return best;
  const counts = new Int8Array(targets.length);
  for (let top = least; top <= most; top++) {
    countIn(largest / top);
    let [products, squares] = [0, 0];
    for (let i = 0; i < targets.length; i++) {
      products += targets[i]! * counts[i]!;
      squares += counts[i]! ** 2;
    }
    const unit = roundToHalf(products / squares);
    if (unit === 0) continue;
    countIn(unit);
    let error = 0;
    for (let i = 0; i < targets.length; i++) error += (targets[i]! - unit * counts[i]!) ** 2;
    if (error >= best.error) continue;
    Object.assign(best, { unit, error });
    best.counts.set(counts);
  }
  return best;

  function countIn(unit: number): void {
    for (let i = 0; i < targets.length; i++)
      counts[i] = Math.max(-most, Math.min(most, Math.round(targets[i]! / unit)));
  }
}
