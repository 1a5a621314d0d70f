/** Plans within one budget that are worth measuring beside each other (docs/METHOD.md, section 6). */
import type { Budget } from '../protocol/protocol.js';
import { best, planSize, solve, type AllocationLayer } from './allocate.js';

export interface Candidates {
  /** Of each layer: the plan of least summed cost. */
  readonly least: readonly number[];
  /** The highest bit-width that all layers can have but those whose limits say otherwise; undefined where none fits. */
  readonly uniform?: { readonly bits: number; readonly plan: readonly number[] };
  /**
   * Plans of least summed cost with no layer, or none by more than one step, below the uniform bit-width: the summed cost
   * is blind to what low bits of several layers do to each other.
   */
  readonly guarded: readonly (readonly number[])[];
}

/**
 * Undefined where no plan is within the size. Throws UserError where a layer is left no bit-width.
 * @param bits offered bit-widths, ascending
 * @param size as of a frontier's points
 */
export function candidatesWithin(
  bits: readonly number[],
  layers: readonly AllocationLayer[],
  kind: Budget,
  size: number,
): Candidates | undefined {
  const least = best(solve(bits, layers, kind), size)?.bits();
  return least && candidatesBeside(least, bits, layers, kind, size);
}

/** The same where the plan of least summed cost is known. */
export function candidatesBeside(
  least: readonly number[],
  bits: readonly number[],
  layers: readonly AllocationLayer[],
  kind: Budget,
  size: number,
): Candidates {
  const uniformOf = (width: number) => layers.map((layer) => nearestAllowed(bits, layer, width));
  const at = bits.findLastIndex((width) => planSize(bits, layers, kind, uniformOf(width)) <= size);
  if (at < 0) return { least, guarded: [] };
  const uniform = { bits: bits[at]!, plan: uniformOf(bits[at]!) };
  const guarded = [at, at - 1].flatMap((lowest) => {
    if (lowest < 0) return [];
    const raised = layers.map((layer) => ({ ...layer, min: nearestAllowed(bits, layer, bits[lowest]!) }));
    const found = best(solve(bits, raised, kind), size);
    return found ? [found.bits()] : [];
  });
  return { least, uniform, guarded };
}

/** The bit-width nearest to `width` that a layer's limits allow. */
function nearestAllowed(
  bits: readonly number[],
  { min, max, fixed }: Pick<AllocationLayer, 'min' | 'max' | 'fixed'>,
  width: number,
): number {
  if (fixed !== undefined) return fixed;
  const within = bits.filter((b) => b >= (min ?? b) && b <= (max ?? b));
  return within.reduce((near, b) => (Math.abs(b - width) < Math.abs(near - width) ? b : near));
}
