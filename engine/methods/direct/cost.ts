/** What the direct method takes, counted on its graphs and loops. */
import { plainGraph } from '../../execution/part.js';
import { sizeOf } from '../../graph/ir.js';
import { addWork, timesWork, workOf, type Work } from '../../graph/work.js';
import { byInput } from '../../models/listing.js';
import { blocksOf, chainParts, chainsOf, outputSize, type Part } from '../../models/model.js';
import type { Outline } from '../../transforms/transform.js';
import type { CalibrationCost } from '../method.js';
import { PANEL } from './columns.js';
import { ownWidths, type DirectSettings } from './settings.js';
import { storedBits } from './stored.js';
import { batchOf } from '../walk.js';

const FLOAT = 4;
/** Products of a weight with the square of its inputs: feedback half of one, descents and the best scales one each. */
const ROUNDING = 0.5 + 4 + 2;
/** Candidates of a search, and loops inside panels, counted as elements that the host looks at. */
const LOOKED = 21 + (5 * PANEL) / 4;

export function directCost(
  { model, listing }: Outline,
  settings: DirectSettings,
  samples: number,
): CalibrationCost {
  const { effort } = settings;
  const blocks = blocksOf(model);
  const batch = batchOf(model, samples);
  const runs = Math.ceil(samples / batch);
  const widths = storedBits(settings).length;
  const own = effort === 'quick' ? 0 : ownWidths(settings).length;
  const works = blocks.map((part) => blockWork(part, listing, { batch, runs, widths, own }));
  const stems = chainsOf(model).map(({ stem }) =>
    timesWork(workOf(plainGraph(stem, batch)), runs * (1 + own)),
  );
  const layers = blocks.flatMap((part) => listing(part).linears);
  const widest = Math.max(...layers.map((l) => l.in));
  const largest = Math.max(...layers.map((l) => l.in * l.out));
  const parameters = Math.max(
    ...blocks.map((part) => listing(part).parameters.reduce((n, { shape }) => n + sizeOf(shape), 0)),
  );
  const store = samples * Math.max(...chainsOf(model).flatMap(chainParts).map(outputSize)) * FLOAT;
  return {
    work: [...works, ...stems].reduce(addWork),
    looked: (widths + own) * LOOKED * layers.reduce((n, l) => n + l.in * l.out, 0),
    activations: store * (1 + own),
    // Parameters on host and device, for each stream too; moment, its copy and its factor; a weight, its errors and codes.
    tensors: ((2 + own) * parameters + (4 + 2 * own) * widest * widest + 5 * largest) * FLOAT,
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
  // A stream has a moment and a correlation of every input; a block is run up to each, half of it on average.
  const moments = runs * 2 * rows * squares * (1 + 2 * own);
  const passes = 2 + own * (1 + groups.length / 2) + (own > 0 ? 1 + groups.length / 2 : 0);
  const factors = cubes * (1 / 3 + own * (2 / 3 + 2));
  const rounding = 2 * weights * ROUNDING * (widths + own);
  const run = timesWork(forward, runs * passes);
  return { ...run, flops: run.flops + moments + factors + rounding };
}
