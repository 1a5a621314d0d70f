/** What output-adaptive calibration takes: a pass forward, one back with Hessians, and rounding at every bit-width. */
import { sweepWork } from '../../execution/reverse-sweep.js';
import { sizeOf } from '../../graph/ir.js';
import { chainParts, outputSize, type Part } from '../../models/model.js';
import type { Outline } from '../../transforms/transform.js';
import type { CalibrationCost } from '../method.js';
import { batchOf } from '../walk.js';
import type { BackendName, OacSettings } from './settings.js';
import { oacSums } from './sums.js';

const FLOAT = 4;
/** How often a layer is rounded at a bit-width: SpQR's threshold is searched. */
const ROUNDS: Readonly<Record<BackendName, number>> = { gptq: 1, spqr: 8, billm: 1 };
/** Elements that a loop goes over for each weight: columns of its panel; salient columns and splits that are tried, too. */
const LOOKED: Readonly<Record<BackendName, number>> = { gptq: 128, spqr: 192, billm: 512 };

export function oacCost(
  { model, listing }: Outline,
  settings: OacSettings,
  samples: number,
): CalibrationCost {
  const batch = batchOf(model, samples);
  const { offered, backend } = settings;
  const work = sweepWork({ model, listing }, samples, batch, oacSums(settings));
  const layers = model.blocks.flatMap((part) => listing(part).linears);
  const factors = layers.reduce((flops, { in: n }) => flops + (2 / 3) * n ** 3, 0);
  const rounding = layers.reduce(
    (flops, { in: n, out }) => flops + 2 * offered.length * ROUNDS[backend] * out * n * n,
    0,
  );
  const largest = Math.max(...layers.map((l) => l.in * l.out));
  const widest = Math.max(...layers.map((l) => l.in));
  const ofBlock = (count: (part: Part) => number) => Math.max(...model.blocks.map(count));
  const parameters = ofBlock((part) =>
    listing(part).parameters.reduce((n, { shape }) => n + sizeOf(shape), 0),
  );
  const hessians = ofBlock((part) => listing(part).linears.reduce((n, l) => n + l.in * l.in, 0));
  return {
    work: { ...work, flops: work.flops + factors + rounding },
    looked: offered.length * ROUNDS[backend] * LOOKED[backend] * layers.reduce((n, l) => n + l.in * l.out, 0),
    activations: samples * chainParts(model).reduce((n, part) => n + outputSize(part), 0) * FLOAT,
    // Parameters and Hessians on host and device, those before and after a batch; a factor, weight, errors and codes. Where a
    // block's layers are rounded together, the factors of all of them, and the weights of two roundings.
    tensors:
      (2 * parameters + 3 * hessians + 3 * widest * widest + 3 * largest) * FLOAT +
      (backend === 'spqr' ? hessians * FLOAT + 2 * parameters : 0),
  };
}
