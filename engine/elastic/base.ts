/** A base whose roundings at lower bit-widths are the codes that these were given. */
import type { Base, Grids } from './codes.js';

/** A bit-width that is rounded from the base. */
export interface Target extends Grids {
  /** What rounding is to give, [rows, columns]. */
  readonly codes: Uint8Array;
  /** What is added to the base before it is rounded, [rows, columns]; absent where nothing is. */
  readonly added: Float32Array | undefined;
}

/** What a step of a code costs beside a wrong code of the lowest bit-width, and a value that lies so close to a boundary. */
const STEP = 0.1;
const CLOSE = 0.05;
/** In steps of the lower bit-width: other orders of a sum in float32 move values by far less. */
const MARGIN = 1e-3;
const MOST = 255;

/**
 * For each element the code, at most a step from the base's own, with the fewest wrong codes of the targets: one of the lowest
 * bit-width counts 1, of the next ½, and so on. An 8-bit base rounds about 1 % of 2-bit codes to their neighbours, and 15 % of
 * 7-bit ones; that noise is linear in the ratio of steps, and was never trained against. Codes of the base cost no bytes to choose.
 * @param targets from low to high bits
 */
export function choosingBase(base: Base, columns: number, targets: readonly Target[]): Uint8Array {
  const chosen = base.codes.slice();
  const layouts = targets.map(({ groupSize }) => {
    const perGroup = groupSize === -1 ? columns : groupSize;
    return { perGroup, groups: Math.ceil(columns / perGroup) };
  });
  for (let row = 0, i = 0; i < chosen.length; row++)
    for (let column = 0; column < columns; column++, i++) {
      const own = base.codes[i]!;
      let least = costOf(own);
      for (const code of least === 0 ? [] : [own + 1, own - 1]) {
        if (code < 0 || code > MOST) continue;
        const cost = costOf(code) + STEP;
        if (cost >= least) continue;
        least = cost;
        chosen[i] = code;
      }

      function costOf(code: number): number {
        const value = Math.fround(base.scale[row]! * (code - base.zero[row]!));
        let [cost, weight] = [0, 1];
        for (let t = 0; t < targets.length; t++, weight /= 2) {
          const { bits, scale, zero, codes, added } = targets[t]!;
          const grid = row * layouts[t]!.groups + Math.floor(column / layouts[t]!.perGroup);
          const at = (added ? value + added[i]! : value) / scale[grid]! + zero[grid]!;
          const most = 2 ** bits - 1;
          const rounded = Math.floor(at + 0.5);
          if (Math.max(0, Math.min(most, rounded)) !== codes[i]!) cost += weight;
          const boundary = Math.floor(at) + 0.5;
          if (boundary > 0 && boundary < most && Math.abs(at - boundary) < MARGIN) cost += CLOSE * weight;
        }
        return cost;
      }
    }
  return chosen;
}
