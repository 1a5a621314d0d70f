/**
 * A searched start of the clip logits: for every row and bit-width the share of its range with the least squared error.
 * Coordinate descent over the upper and the lower share, all candidates of all rows in one run of the device.
 */
import { Graph, type Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { fakeQuantizeWeight, LARGEST_LOGIT, scaleRows } from '../../graph/quantizers.js';
import type { Programs } from '../../runtime/programs.js';
import type { HostTensor } from '../../models/checkpoint.js';
import { weightedError, type Moments } from '../../execution/moments.js';

/** The logit of the paper's start at every bit-width (docs/METHOD.md, section 3). */
export const PAPER_LOGIT = 4;

/** Shares tried of a side, down to the smallest, and how often both sides are gone over (docs/METHOD.md, section 3). */
const CANDIDATES = 20;
const SMALLEST_SHARE = 0.3;
const SWEEPS = 2;

/** Denser near the whole range, where high bit-widths end (docs/METHOD.md, section 3). */
const logits = Array.from({ length: CANDIDATES }, (_, i) => {
  const share = 1 - (1 - SMALLEST_SHARE) * (i / (CANDIDATES - 1)) ** 1.5;
  return Math.min(Math.log(share / (1 - share)), LARGEST_LOGIT);
});

/** How often a search runs `sideGraph`. */
export const SEARCH_RUNS = SWEEPS * 2;

/**
 * The best logit of one side for every row of scales, the other side held: `weight` [out, in], `moments` (`moments.ts`),
 * `levels`, and the logits so far, `clip_upper` and `clip_lower` [rows, 1] → `chosen` [rows, 1].
 */
export function sideGraph(
  out: number,
  columns: number,
  panel: number,
  groupSize: number,
  halves: boolean,
  side: 'upper' | 'lower',
): Graph {
  const graph = new Graph();
  const rows = scaleRows({ in: columns, out }, groupSize);
  const weight = graph.input('weight', [out, columns]);
  const moments = graph.input('moments', [Math.ceil(columns / panel), panel, panel]);
  const levels = graph.input('levels', []);
  const held = graph.input(side === 'upper' ? 'clip_lower' : 'clip_upper', [rows, 1]);
  const errorAt = (logit: Value) => {
    const [upper, lower] = side === 'upper' ? [logit, held] : [held, logit];
    const quantized = fakeQuantizeWeight(weight, upper, lower, levels, groupSize, halves);
    const errors = weightedError(op.sub(quantized, weight), moments);
    return groupSize === -1 ? op.reduceSum(errors, [1]) : op.reshape(errors, [rows, 1]);
  };
  const tried = logits.map((logit) => graph.constant(new Float32Array(rows).fill(logit), [rows, 1]));
  let [chosen, least] = [tried[0]!, errorAt(tried[0]!)];
  for (const logit of tried.slice(1)) {
    const error = errorAt(logit);
    chosen = op.where(op.greaterOrEqual(error, least), chosen, logit);
    least = op.min(error, least);
  }
  graph.output('chosen', chosen);
  return graph;
}

/**
 * @param weight [out, in]
 * @param moments of the layer's input, in panels of `groupSize` columns
 * @param groupSize input columns that share a scale, -1 for a whole row
 * @param halves whether zero points are halves
 * @returns clip logits for upper and lower, one per row of scales
 */
export async function searchClip(
  programs: Programs,
  { data, shape }: HostTensor,
  bits: number,
  moments: Moments,
  groupSize = -1,
  halves = false,
): Promise<{ upper: Float32Array; lower: Float32Array }> {
  const { runtime } = programs;
  const [out, columns] = shape as readonly [number, number];
  const { panel } = moments;
  const rows = scaleRows({ in: columns, out }, groupSize);
  const fixed = {
    weight: await runtime.place(runtime.tensor(data, shape)),
    moments: await runtime.place(runtime.tensor(moments.data, [Math.ceil(columns / panel), panel, panel])),
  };
  const best: { upper: Float32Array; lower: Float32Array } = {
    upper: new Float32Array(rows).fill(LARGEST_LOGIT),
    lower: new Float32Array(rows).fill(LARGEST_LOGIT),
  };
  try {
    for (let sweep = 0; sweep < SWEEPS; sweep++)
      for (const side of ['upper', 'lower'] as const) {
        const parameters = [out, columns, panel, groupSize, halves, side] as const;
        const label = `clip ${side} ${out}×${columns}`;
        const program = await programs.getBuilt(sideGraph, parameters, label, { keep: false });
        const { chosen } = await program.run({
          ...fixed,
          clip_upper: runtime.tensor(best.upper, [rows, 1]),
          clip_lower: runtime.tensor(best.lower, [rows, 1]),
          levels: runtime.tensor(Float32Array.of(2 ** bits - 1), []),
        });
        best[side] = await runtime.read(chosen!);
      }
    return best;
  } finally {
    fixed.weight.dispose();
    fixed.moments.dispose();
  }
}
