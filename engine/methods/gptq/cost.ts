/** What GPTQ takes: a pass with a Hessian for each input that layers share, and one to the next block, at every bit-width. */
import { plainGraph } from '../../execution/part.js';
import { sizeOf } from '../../graph/ir.js';
import { addWork, timesWork, type Work, workOf } from '../../graph/work.js';
import { byInput } from '../../models/listing.js';
import { blocksOf, chainParts, chainsOf, outputSize, type Part } from '../../models/model.js';
import type { Outline } from '../../transforms/transform.js';
import type { CalibrationCost } from '../method.js';
import { hessianGraph } from './hessian.js';
import { gridBytes } from '../stored-bytes.js';
import { batchOf } from '../walk.js';
import { groupSizeAt } from '../weight-set.js';
import type { GptqSettings } from './settings.js';

const FLOAT = 4;

export function gptqCost(
  { model, listing }: Outline,
  { offered, groupSize }: GptqSettings,
  samples: number,
): CalibrationCost {
  const blocks = blocksOf(model);
  const batch = batchOf(model, samples);
  const runs = Math.ceil(samples / batch);
  const works = blocks.map((part) => blockWork(part, listing, batch, runs));
  const stems = chainsOf(model).map(({ stem }) => timesWork(workOf(plainGraph(stem, batch)), runs));
  const one = [...works, ...stems].reduce(addWork);
  const layers = blocks.flatMap((part) => listing(part).linears);
  const widest = Math.max(...layers.map((l) => l.in));
  const largest = Math.max(...layers.map((l) => l.in * l.out));
  const parameters = Math.max(
    ...blocks.map((part) => listing(part).parameters.reduce((n, { shape }) => n + sizeOf(shape), 0)),
  );
  return {
    work: timesWork(one, offered.length),
    // Every weight is gone through twice where it sets its group's grid, and corrects the columns of its panel.
    looked: offered.length * layers.reduce((n, l) => n + l.in * l.out * 128, 0),
    activations: samples * Math.max(...chainsOf(model).flatMap(chainParts).map(outputSize)) * FLOAT,
    stored: gridBytes(layers, offered, (bits) => groupSizeAt({ groupSize }, bits)),
    // Parameters on host and device, Hessian, factor and what is left of it, weight, errors and codes.
    tensors: (2 * parameters + 3 * widest * widest + 3 * largest) * FLOAT,
  };
}

function blockWork(part: Part, listing: Outline['listing'], batch: number, runs: number): Work {
  const forward = workOf(plainGraph(part, batch));
  const { linears } = listing(part);
  const groups = byInput(linears);
  const hessians = groups.map(([first]) => workOf(hessianGraph(part, first.name, batch)));
  // Cholesky factors on the host and device, and the products that carry errors between panels of columns.
  const factors = groups.reduce((flops, [{ in: columns }]) => flops + (2 / 3) * columns ** 3, 0);
  const rounding = linears.reduce((flops, { in: columns, out }) => flops + 2 * out * columns * columns, 0);
  const passes = timesWork([forward, ...hessians].reduce(addWork), runs);
  return { ...passes, flops: passes.flops + factors + rounding };
}
