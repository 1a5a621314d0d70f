/**
 * A searched start of the clip logits: for every row and bit-width the share of its range with the least squared error.
 * Coordinate descent over the upper and the lower share; errors are computed on the device, a candidate for all rows a run.
 */
import { Graph } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { fakeQuantizeWeight } from '../../graph/quantizers.js';
import type { Programs } from '../../runtime/programs.js';
import type { HostTensor } from '../../models/checkpoint.js';

/** The logit of the paper's start at every bit-width. */
export const PAPER_LOGIT = 4;

const CANDIDATES = 20;
const SMALLEST_SHARE = 0.3;
/** σ(8) ≈ 0.9997: the whole range, yet with a gradient. */
const LARGEST_LOGIT = 8;
const SWEEPS = 2;

/** Denser near the whole range, where high bit-widths end. */
const logits = Array.from({ length: CANDIDATES }, (_, i) => {
  const share = 1 - (1 - SMALLEST_SHARE) * (i / (CANDIDATES - 1)) ** 1.5;
  return Math.min(Math.log(share / (1 - share)), LARGEST_LOGIT);
});

/** Σ over a row of importance · (Ŵ − W)², from `weight` [out, in], `importance` [1, in], clip logits [out, 1] and `levels`. */
function errorGraph(out: number, columns: number): Graph {
  const graph = new Graph();
  const weight = graph.input('weight', [out, columns]);
  const clips = [graph.input('clip_upper', [out, 1]), graph.input('clip_lower', [out, 1])] as const;
  const difference = op.sub(fakeQuantizeWeight(weight, ...clips, graph.input('levels', [])), weight);
  const weighted = op.mul(op.mul(difference, difference), graph.input('importance', [1, columns]));
  graph.output('error', op.reduceSum(weighted, [1]));
  return graph;
}

/**
 * @param weight [out, in]
 * @param importance weight of each input column's error, [in]
 * @returns clip logits [out] for upper and lower
 */
export async function searchClip(
  programs: Programs,
  { data, shape }: HostTensor,
  bits: number,
  importance: Float32Array,
): Promise<{ upper: Float32Array; lower: Float32Array }> {
  const { runtime } = programs;
  const [out, columns] = shape as readonly [number, number];
  const program = await programs.get(`clip error ${out}×${columns}`, () => errorGraph(out, columns), {
    keep: false,
  });
  const fixed = {
    weight: await runtime.place(runtime.tensor(data, shape)),
    importance: runtime.tensor(importance, [1, columns]),
    levels: runtime.tensor(Float32Array.of(2 ** bits - 1), []),
  };
  const best = {
    upper: new Float32Array(out).fill(LARGEST_LOGIT),
    lower: new Float32Array(out).fill(LARGEST_LOGIT),
  };
  for (let sweep = 0; sweep < SWEEPS; sweep++)
    for (const side of ['upper', 'lower'] as const) {
      const least = new Float32Array(out).fill(Infinity);
      const chosen = new Float32Array(out);
      for (const logit of logits) {
        const tried = { ...best, [side]: new Float32Array(out).fill(logit) };
        const { error } = await program.run({
          ...fixed,
          clip_upper: runtime.tensor(tried.upper, [out, 1]),
          clip_lower: runtime.tensor(tried.lower, [out, 1]),
        });
        const errors = await runtime.read(error!);
        for (let row = 0; row < out; row++)
          if (errors[row]! < least[row]!) {
            least[row] = errors[row]!;
            chosen[row] = logit;
          }
      }
      best[side] = chosen;
    }
  fixed.weight.dispose();
  return best;
}
