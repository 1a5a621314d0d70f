/** Attention with linear biases (ALiBi, Press et al. 2022): scores fall with the distance of keys, at each head's own rate. */
import type { Graph, Value } from '../../graph/ir.js';
import { bfloat16ToFloat32, float32ToBfloat16 } from '../../formats/floats.js';
import { lazyConstant } from '../constants.js';

/** By head; where their number is no power of two, as the paper's authors do: those of the next one below, then every other one. */
export function alibiSlopes(heads: number): readonly number[] {
  const whole = 2 ** Math.floor(Math.log2(heads));
  const base = (count: number) => 2 ** (-8 / count);
  return Array.from({ length: heads }, (_, h) =>
    h < whole ? base(whole) ** (h + 1) : base(2 * whole) ** (2 * (h - whole) + 1),
  );
}

/**
 * What is added to scores [batch, heads, tokens, tokens]: slope · place of the key, which differs from the distance by what softmax
 * does not see. [1, heads, 1, tokens].
 */
export const alibi = (
  heads: number,
  tokens: number,
  { factor = 1, isRounded = false }: AlibiOptions = {},
): ((graph: Graph) => Value) =>
  lazyConstant([1, heads, 1, tokens], () => {
    const slopes = Float32Array.from(alibiSlopes(heads));
    const rounded = (x: Float32Array) => (isRounded ? bfloat16ToFloat32(float32ToBfloat16(x)) : x);
    const held = rounded(slopes);
    const biases = Float32Array.from(
      { length: heads * tokens },
      (_, i) => held[Math.floor(i / tokens)]! * (i % tokens),
    );
    return rounded(biases).map((x) => x * factor);
  });

interface AlibiOptions {
  /** On all of them. */
  readonly factor?: number;
  /** Whether slopes and biases are rounded to bfloat16. */
  readonly isRounded?: boolean;
}
