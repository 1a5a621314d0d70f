/** What output-adaptive calibration takes: passes forward and back with Hessians, and rounding at every bit-width. */
import { plainGraph } from '../../execution/part.js';
import { sweepWork, type BlockSums } from '../../execution/reverse-sweep.js';
import { sizeOf, type Shape } from '../../graph/ir.js';
import { addWork, timesWork, workOf, type Work } from '../../graph/work.js';
import { byInput } from '../../models/listing.js';
import { chainParts, outputSize, type Part } from '../../models/model.js';
import type { Outline } from '../../transforms/transform.js';
import type { CalibrationCost } from '../method.js';
import { gridBytes } from '../stored-bytes.js';
import { batchOf } from '../walk.js';
import { groupSizeAt } from '../weight-set.js';
import { backendAt } from './backends.js';
import type { BackendName, OacSettings } from './settings.js';
import { oacSums } from './sums.js';

const FLOAT = 4;
/** How often a layer is rounded at a bit-width: SpQR's threshold is searched. */
const ROUNDS: Readonly<Record<BackendName, number>> = { gptq: 1, spqr: 8, billm: 1 };
/** Bits of a weight of BiLLM's: signs, what class each has, and statistics. */
const SIGNS = 3;
/** Elements that a loop goes over for each weight: columns of its panel; salient columns and splits that are tried, too. */
const LOOKED: Readonly<Record<BackendName, number>> = { gptq: 128, spqr: 192, billm: 512 };

export function oacCost(
  { model, listing }: Outline,
  settings: OacSettings,
  samples: number,
): CalibrationCost {
  const { offered, backend } = settings;
  const backends = offered.map((bits) => backendAt(backend, bits));
  const total = (of: (backend: BackendName) => number) => backends.reduce((sum, one) => sum + of(one), 0);
  const work = passesOf({ model, listing }, settings, samples);
  const layers = model.blocks.flatMap((part) => listing(part).linears);
  const factored = new Set(backends).size;
  const factors = layers.reduce(
    (flops, { in: n }) => flops + factored * settings.rowSlices * (2 / 3) * n ** 3,
    0,
  );
  const rounds = total((own) => ROUNDS[own]);
  const rounding = layers.reduce((flops, { in: n, out }) => flops + 2 * rounds * out * n * n, 0);
  const largest = Math.max(...layers.map((l) => l.in * l.out));
  const widest = Math.max(...layers.map((l) => l.in));
  const ofBlock = (count: (part: Part) => number) => Math.max(...model.blocks.map(count));
  const parameters = ofBlock((part) =>
    listing(part).parameters.reduce((n, { shape }) => n + sizeOf(shape), 0),
  );
  const hessians = ofBlock((part) =>
    listing(part).linears.reduce(
      (n, l) => n + (settings.rowSlices + Number(settings.mix > 0)) * l.in * l.in,
      0,
    ),
  );
  const tokens = model.blocks[0]!.inputShape(1)[0]!;
  return {
    work: { ...work, flops: work.flops + factors + rounding },
    looked: total((own) => ROUNDS[own] * LOOKED[own]) * layers.reduce((n, l) => n + l.in * l.out, 0),
    // What every block reads, and in order once more what this one does; and a weight of each token for every layer.
    activations:
      samples *
      FLOAT *
      (chainParts(model).reduce((n, part) => n + outputSize(part), 0) +
        (settings.scheme === 'once' ? 0 : outputSize(model.stem)) +
        (settings.hessian === 'weighted' ? tokens * layers.length : 0)),
    stored: storedOf(layers, settings),
    // Parameters and Hessians on host and device, those before and after a batch; a factor, weight, errors and codes. Where a
    // block's layers are rounded together, the factors of all of them, and the weights of two roundings.
    tensors:
      (2 * parameters + 3 * hessians + 3 * widest * widest + 3 * largest) * FLOAT +
      (backend === 'spqr' ? hessians * FLOAT + 2 * parameters : 0),
  };
}

/** Averages of bits count scales and outliers. */
function storedOf(
  layers: readonly { readonly in: number; readonly out: number }[],
  { offered, backend, groupSize = -1 }: OacSettings,
): number {
  const weights = layers.reduce((n, l) => n + l.in * l.out, 0);
  const grids = offered.filter((bits) => backendAt(backend, bits) === 'gptq');
  const others = offered.filter((bits) => !grids.includes(bits));
  return (
    gridBytes(layers, grids, (bits) => groupSizeAt({ groupSize }, bits)) +
    others.reduce((sum, bits) => sum + (weights * (bits === 1 ? SIGNS : bits)) / 8, 0)
  );
}

/** What passes over data take: forward and back, with Hessians. */
function passesOf(outline: Pick<Outline, 'model' | 'listing'>, settings: OacSettings, samples: number): Work {
  const { model, listing } = outline;
  const { offered, hessian, scheme } = settings;
  const batch = batchOf(model, samples);
  const own = oacSums(settings);
  if (scheme === 'once') return sweepWork(outline, samples, batch, own);
  const runs = Math.ceil(samples / batch);
  const forward = (part: Part) => timesWork(workOf(plainGraph(part, batch)), runs);
  const none = () => new Map<string, Shape>();
  const less = (a: Work, b: Work) => addWork(a, timesWork(b, -1));
  const count = model.blocks.length;
  const swept = (build: BlockSums['build'], from: number) => sweepWork(outline, samples, batch, build, from);
  const head = swept(none, count);
  const blocks = less(swept(none, 0), head);
  const sums = less(swept(own, 0), swept(none, 0));
  const perWidth = model.blocks.map((part, index) => {
    const units = scheme === 'block' ? 1 : byInput(listing(part).linears).length;
    const passes = forward(part);
    if (hessian === 'sequence' || hessian === 'token') {
      // Blocks from this one on, of which one block's have sums.
      const behind = timesWork(blocks, (count - index) / count);
      const unit = [head, behind, timesWork(sums, 1 / count)].reduce(addWork);
      return addWork(passes, timesWork(unit, units));
    }
    const rows = part.inputShape(batch)[0]!;
    const moments = runs * listing(part).linears.reduce((n, l) => n + 2 * rows * l.in * l.in, 0);
    const all = timesWork(passes, units + 1);
    return { ...all, flops: all.flops + moments };
  });
  const walks = timesWork(perWidth.reduce(addWork, forward(model.stem)), offered.length);
  return hessian === 'weighted' ? addWork(walks, sweepWork(outline, samples, batch, none)) : walks;
}
