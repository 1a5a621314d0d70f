/** Weights as integers on grids. */

/** A weight [out, in] as integers on grids: Ŵ = scale · (integers − zero). */
export interface IntegerWeight {
  readonly shape: readonly [number, number];
  /** [out, in] */
  readonly integers: Uint8Array;
  /** One a row, or one a group of `groupSize` columns: [out · ⌈in / groupSize⌉]. */
  readonly scale: Float32Array;
  readonly zero: Float32Array;
  /** -1 for whole rows. */
  readonly groupSize: number;
}

/** The weight in float32, [out, in]. */
export function toFloats({ shape: [out, n], integers, scale, zero, groupSize }: IntegerWeight): Float32Array {
  const width = groupSize === -1 ? n : groupSize;
  const blocks = Math.ceil(n / width);
  const floats = new Float32Array(out * n);
  for (let row = 0; row < out; row++)
    for (let column = 0; column < n; column++) {
      const grid = row * blocks + Math.floor(column / width);
      floats[row * n + column] = scale[grid]! * (integers[row * n + column]! - zero[grid]!);
    }
  return floats;
}
