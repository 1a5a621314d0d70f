/** What rounding takes: passes of the samples whose activations give the ranges. */
import { plainGraph } from '../../execution/part.js';
import { sizeOf } from '../../graph/ir.js';
import { addWork, peakBytes, timesWork, workOf } from '../../graph/work.js';
import { blocksOf, chainParts, chainsOf, outputSize } from '../../models/model.js';
import type { Outline } from '../../transforms/transform.js';
import type { CalibrationCost } from '../method.js';
import type { RoundingSettings } from './settings.js';

const FLOAT = 4;

export function roundingCost(
  { model, listing }: Outline,
  { offered, batch: most }: RoundingSettings,
  samples: number,
): CalibrationCost {
  if (samples === 0)
    return {
      work: { flops: 0, elements: 0, operators: 0 },
      looked: 0,
      activations: 0,
      tensors: 0,
      stored: 0,
    };
  const batch = Math.min(most, samples);
  const blocks = blocksOf(model);
  const parts = chainsOf(model).flatMap(chainParts);
  const passes = parts.map((part) => {
    const graph = plainGraph(part, batch);
    // Every block runs twice: its activations are looked at, and passed on.
    return {
      graph,
      work: timesWork(workOf(graph), (blocks.includes(part) ? 2 : 1) * Math.ceil(samples / batch)),
    };
  });
  const seen = blocks.map((part) => {
    const inputs = new Map(listing(part).linears.map((l) => [l.input, l.in]));
    const rows = sizeOf(part.inputShape(1)) / part.inputShape(1).at(-1)!;
    return samples * rows * [...inputs.values()].reduce((a, b) => a + b, 0);
  });
  return {
    work: passes.reduce((sum, { work }) => addWork(sum, work), { flops: 0, elements: 0, operators: 0 }),
    looked: seen.reduce((sum, elements) => sum + elements * offered.length * 3, 0),
    activations: samples * Math.max(...parts.map(outputSize)) * FLOAT,
    // A scale and a zero point of each layer's input.
    stored: blocks.length * offered.length * 64,
    tensors: Math.max(...seen) * 2 * FLOAT + Math.max(...passes.map(({ graph }) => peakBytes(graph))),
  };
}
