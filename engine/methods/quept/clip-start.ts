/**
 * A searched start of the clip logits: for every row and bit-width the share of its range with the least squared error.
 * Coordinate descent over the upper and the lower share; errors are computed on the device, a candidate for all rows a run.
 */
import { Graph } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { fakeQuantizeWeight } from '../../graph/quantizers.js';
import type { Programs } from '../../runtime/programs.js';
import type { HostTensor } from '../../models/checkpoint.js';
import { scaleRows } from './adapters.js';

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

/** How often a search runs `errorGraph`. */
export const SEARCH_RUNS = SWEEPS * 2 * CANDIDATES;

/** Σ over a row of scales of importance · (Ŵ − W)², from `weight` [out, in], `importance` [1, in], clip logits [rows, 1] and `levels`. */
export function errorGraph(out: number, columns: number, groupSize: number): Graph {
  const graph = new Graph();
  const rows = scaleRows({ name: '', in: columns, out }, groupSize);
  const weight = graph.input('weight', [out, columns]);
  const clips = [graph.input('clip_upper', [rows, 1]), graph.input('clip_lower', [rows, 1])] as const;
  const quantized = fakeQuantizeWeight(weight, ...clips, graph.input('levels', []), groupSize);
  const difference = op.sub(quantized, weight);
  const weighted = op.mul(op.mul(difference, difference), graph.input('importance', [1, columns]));
  const padded = groupSize === -1 ? columns : Math.ceil(columns / groupSize) * groupSize;
  const perRow = op.reshape(op.pad(weighted, 1, 0, padded - columns), [rows, (out * padded) / rows]);
  graph.output('error', op.reduceSum(perRow, [1]));
  return graph;
}

/**
 * @param weight [out, in]
 * @param importance weight of each input column's error, [in]
 * @param groupSize input columns that share a scale, -1 for a whole row
 * @returns clip logits for upper and lower, one a row of scales
 */
export async function searchClip(
  programs: Programs,
  { data, shape }: HostTensor,
  bits: number,
  importance: Float32Array,
  groupSize = -1,
): Promise<{ upper: Float32Array; lower: Float32Array }> {
  const { runtime } = programs;
  const [out, columns] = shape as readonly [number, number];
  const rows = scaleRows({ name: '', in: columns, out }, groupSize);
  const build = () => errorGraph(out, columns, groupSize);
  const program = await programs.get(`clip error ${out}×${columns} per ${groupSize}`, build, { keep: false });
  const fixed = {
    weight: await runtime.place(runtime.tensor(data, shape)),
    importance: runtime.tensor(importance, [1, columns]),
    levels: runtime.tensor(Float32Array.of(2 ** bits - 1), []),
  };
  const best = {
    upper: new Float32Array(rows).fill(LARGEST_LOGIT),
    lower: new Float32Array(rows).fill(LARGEST_LOGIT),
  };
  for (let sweep = 0; sweep < SWEEPS; sweep++)
    for (const side of ['upper', 'lower'] as const) {
      const least = new Float32Array(rows).fill(Infinity);
      const chosen = new Float32Array(rows);
      for (const logit of logits) {
        const tried = { ...best, [side]: new Float32Array(rows).fill(logit) };
        const { error } = await program.run({
          ...fixed,
          clip_upper: runtime.tensor(tried.upper, [rows, 1]),
          clip_lower: runtime.tensor(tried.lower, [rows, 1]),
        });
        const errors = await runtime.read(error!);
        for (let row = 0; row < rows; row++)
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
