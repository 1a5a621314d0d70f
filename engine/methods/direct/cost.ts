/** What the direct method takes, counted on its graphs and loops. */
import { plainGraph } from '../../execution/part.js';
import { sweepWork } from '../../execution/reverse-sweep.js';
import { sizeOf } from '../../graph/ir.js';
import { addWork, peakBytes, timesWork, workOf, type Work } from '../../graph/work.js';
import { byInput, type PartListing } from '../../models/listing.js';
import { blocksOf, chainParts, chainsOf, outputSize, type Part } from '../../models/model.js';
import type { Outline } from '../../transforms/transform.js';
import type { CalibrationCost } from '../method.js';
import { PANEL } from '../../backends/columns.js';
import { curvatureSums } from './curvature.js';
import { distilCost } from './distil-cost.js';
import { TRIED } from './grids.js';
import { EARLY_SAMPLES, layoutAt, ownWidths, type DirectSettings } from './settings.js';
import { storedBits, tensorsAt } from './stored.js';
import { stepsFor } from './train.js';
import { trainedShapes, trainStepGraph } from './train-step.js';
import { bytesOfTensors } from '../stored-bytes.js';
import { lossWeightsCost } from '../loss-weights.js';
import { batchOf } from '../walk.js';

const FLOAT = 4;
/** Products of a weight with the square of its inputs: feedback half of one, descents and the best scales one each. */
const ROUNDING = 0.5 + 4 + 2;
/** Candidates of a search and sums inside panels, which kernels take several at once, and what lays a weight out and packs it. */
const LOOKED = TRIED / 4 + (5 * PANEL) / 32 + 10;

export function directCost(
  { model, listing }: Outline,
  settings: DirectSettings,
  samples: number,
): CalibrationCost {
  const { effort } = settings;
  const blocks = blocksOf(model);
  const batch = batchOf(model, samples);
  const runs = Math.ceil((effort === 'best' ? Math.min(samples, EARLY_SAMPLES) : samples) / batch);
  const widths = storedBits(settings).length;
  const own = effort === 'quick' ? 0 : ownWidths(settings).length;
  const isTrained = effort === 'high' && own > 0;
  const trained = isTrained
    ? blocks.map((part) => trainedBlock(part, listing(part), settings, samples, stepsFor(model, samples)))
    : [];
  const distilled =
    effort === 'best' && own > 0 ? distilCost({ model, listing }, settings, samples) : undefined;
  const isSwept = isTrained && !model.towers?.length;
  const sweep = isSwept ? [sweepWork({ model, listing }, samples, batch, curvatureSums)] : [];
  const works = blocks.map((part) => blockWork(part, listing, { batch, runs, widths, own }));
  const stems = chainsOf(model).map(({ stem }) =>
    timesWork(workOf(plainGraph(stem, batch)), runs * (1 + own) * (isTrained ? 2 : 1)),
  );
  const layers = blocks.flatMap((part) => listing(part).linears);
  const widest = Math.max(...layers.map((l) => l.in));
  const largest = Math.max(...layers.map((l) => l.in * l.out));
  const parameters = Math.max(
    ...blocks.map((part) => listing(part).parameters.reduce((n, { shape }) => n + sizeOf(shape), 0)),
  );
  const yielded = chainsOf(model).flatMap(chainParts).map(outputSize);
  const store = samples * Math.max(...yielded) * FLOAT;
  // The sweep back keeps what every block reads.
  const swept = isSwept ? samples * yielded.reduce((sum, n) => sum + n) * FLOAT : 0;
  const weighing =
    settings.weighting === 'loss' ? lossWeightsCost({ model, listing }, runs * batch) : undefined;
  return {
    work: [
      ...works,
      ...(weighing ? [weighing.work] : []),
      ...trained.map(({ work }) => work),
      ...stems,
      ...sweep,
      ...(distilled ? [distilled.work] : []),
    ].reduce(addWork),
    looked:
      ((widths + own) * LOOKED + (isTrained ? own * (TRIED + 2) : 0)) *
      layers.reduce((n, l) => n + l.in * l.out, 0),
    // Where training goes on, what a block yields in full precision lies there, too.
    activations: Math.max(swept, weighing?.activations ?? 0, store * (1 + own + (isTrained ? 1 : 0))),
    stored: storedBits(settings).reduce(
      (sum, bits) =>
        sum + layers.reduce((n, layer) => n + bytesOfTensors(tensorsAt(settings, layer, bits).values()), 0),
      0,
    ),
    // Parameters on host and device, for each stream too; moment, its copy and its factor; a weight, its errors and codes.
    tensors: Math.max(
      ((2 + own) * parameters + (4 + 2 * own) * widest * widest + 5 * largest) * FLOAT,
      ...trained.map(({ bytes }) => 2 * parameters * FLOAT + bytes),
      distilled?.bytes ?? 0,
    ),
  };
}

/** A block whose weights are trained at every width of its own: grids searched, the streams passed, and the steps. */
function trainedBlock(
  part: Part,
  listing: PartListing,
  settings: DirectSettings,
  samples: number,
  { steps, batch }: ReturnType<typeof stepsFor>,
): { readonly work: Work; readonly bytes: number } {
  const widths = ownWidths(settings);
  const { groupSize } = layoutAt(settings, widths[0]!);
  const graph = trainStepGraph(part, listing.linears, groupSize, batch);
  const rows = part.inputShape(1)[0]! * samples;
  const flops = listing.linears.reduce((sum, { in: columns, out }) => {
    const perGroup = groupSize === -1 ? columns : Math.min(groupSize, columns);
    return sum + 2 * out * columns * perGroup * TRIED * widths.length;
  }, 0);
  const moments = byInput(listing.linears).reduce((sum, [{ in: n }]) => sum + 2 * rows * n * n, 0);
  const passes = Math.ceil(samples / batch) * (3 + widths.length);
  const trained = timesWork(workOf(graph), steps * widths.length);
  const passed = timesWork(workOf(plainGraph(part, batch)), passes);
  const shapes = [...trainedShapes(listing.linears, groupSize).values()];
  return {
    work: addWork(addWork(trained, passed), { flops: flops + moments, elements: 0, operators: 0 }),
    bytes: peakBytes(graph) + 3 * shapes.reduce((sum, shape) => sum + sizeOf(shape), 0) * FLOAT,
  };
}

interface Amounts {
  readonly batch: number;
  readonly runs: number;
  /** Bit-widths that one pass rounds, and those that have a stream of their own. */
  readonly widths: number;
  readonly own: number;
}

function blockWork(part: Part, listing: Outline['listing'], { batch, runs, widths, own }: Amounts): Work {
  const forward = workOf(plainGraph(part, batch));
  const { linears } = listing(part);
  const rows = part.inputShape(batch)[0]!;
  const groups = byInput(linears);
  const squares = groups.reduce((sum, [{ in: columns }]) => sum + columns * columns, 0);
  const cubes = groups.reduce((sum, [{ in: columns }]) => sum + columns ** 3, 0);
  const weights = linears.reduce((sum, { in: columns, out }) => sum + out * columns * columns, 0);
  // A stream has a moment and a correlation of every input; a block is run up to each, half of it on average. The one pass
  // runs it once.
  const moments = runs * 2 * rows * squares * (1 + 2 * own);
  const passes = 1 + own * (1 + groups.length / 2) + (own > 0 ? 1 + groups.length / 2 : 0);
  const factors = cubes * (1 / 3 + own * (2 / 3 + 2));
  const rounding = 2 * weights * ROUNDING * (widths + own);
  const run = timesWork(forward, runs * passes);
  return { ...run, flops: run.flops + moments + factors + rounding };
}
