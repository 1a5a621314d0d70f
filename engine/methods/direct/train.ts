/**
 * The bit-widths of 4 and less with their weights trained through the rounding, block by block, each on a stream of its own:
 * from grids for plain rounding (docs/METHOD.md, section 13).
 */
import { batchReader, tensorsOfBatch } from '../../execution/batches.js';
import { disposeAll, openPlainPart, placeAll } from '../../execution/part.js';
import { passPart } from '../../execution/part-by-part.js';
import type { SampleSource, SampleStore } from '../../execution/sample-store.js';
import { CancelledError } from '../../errors.js';
import { sizeOf } from '../../graph/ir.js';
import type { HostTensor } from '../../models/checkpoint.js';
import { byInput } from '../../models/listing.js';
import type { Model } from '../../models/model.js';
import type { Tensor } from '../../runtime/session.js';
import { BLOCK_OUTPUT, lossWeightsOf, type LossWeights } from '../loss-weights.js';
import type { CalibrationContext } from '../method.js';
import type { KeptTensor } from '../progress.js';
import { inPhase } from '../phases.js';
import { batchOf, type BlockAt } from '../walk.js';
import { asStored, type Grids } from './grids.js';
import { curvatureOf } from './curvature.js';
import { keepBlock } from './kept.js';
import { searchNearest } from './nearest.js';
import { blockMoments, DAMPING } from './once.js';
import { BASE, layoutAt, ownWidths, type DirectSettings } from './settings.js';
import type { StageRun } from './stage.js';
import { stageReader } from './stage-source.js';
import { schemeAt } from './stored.js';
import { streamsOf } from './streams.js';
import { readTrained, roundedTo, sampleOrder, stepSizes, type Trained } from './trained.js';
import { trainedShapes, trainStepGraph } from './train-step.js';

/** Steps of a block, times that they see each sample, and samples of a step, at most (docs/METHOD.md, section 13). */
const STEPS = 160;
const EPOCHS = 12;
const BATCH = 8;
/** Learning rates: of weights in steps of their grid, of logarithms of scales; and what is left of them at the end. */
const RATES = { weight: 0.005, growth: 3e-3 } as const;

/** How a block is trained on so many samples: steps, and samples of each. */
export function stepsFor(model: Model, samples: number): { readonly steps: number; readonly batch: number } {
  const batch = Math.min(BATCH, batchOf(model, samples));
  return { steps: Math.min(STEPS, Math.ceil((EPOCHS * samples) / batch)), batch };
}

/** A stream in full precision, and one for each bit-width, which goes on by what was trained. */
export function trainedStreams(context: CalibrationContext, settings: DirectSettings): StageRun {
  return {
    stage: 'trained',
    ...streamsOf(context, settings, 'trained'),
    round: (block, status) => roundBlock(context, settings, block, status),
  };
}

/** Shares of a block's time before training, in progress. */
const SEARCH = 0.1;

async function roundBlock(
  context: CalibrationContext,
  settings: DirectSettings,
  block: BlockAt,
  status: (done: number) => void,
): Promise<Map<string, KeptTensor>> {
  const { part, listing } = block;
  const widths = ownWidths(settings);
  const kept = new Map<string, KeptTensor>();
  const weights = await lossWeightsOf(context, block.index);
  const grids = await searchBlock(context, settings, block, weights, (done) => status(SEARCH * done));
  const target = await outputsOf(context, block);
  const curvature = await curvatureOf(context, part, block.index);
  const readBase = stageReader(context, settings, 'once');
  try {
    for (const [i, bits] of widths.entries()) {
      const own = grids.get(bits)!;
      const task = {
        block,
        target,
        curvature,
        weights: weights?.get(BLOCK_OUTPUT),
        stream: i + 1,
        bits,
        grids: own,
      };
      const trained = await inPhase('training', () =>
        trainWidth(context, settings, task, (done) =>
          status(SEARCH + ((1 - SEARCH) * (i + done)) / widths.length),
        ),
      );
      for (const layer of listing.linears) {
        const { name } = layer;
        const base = schemeAt(settings, bits) === 'near' ? await readBase(part, layer, BASE) : undefined;
        keepBlock(
          kept,
          name,
          bits,
          roundedTo(trained.get(name)!, own.get(name)!, layer, settings, bits, base),
        );
      }
    }
  } finally {
    target.release();
  }
  return kept;
}

/** Grids by bit-width and layer. */
type BlockGrids = Map<number, Map<string, Grids>>;

/** Searches grids of every layer at every width, by the moments of the full-precision stream. */
async function searchBlock(
  context: CalibrationContext,
  settings: DirectSettings,
  block: BlockAt,
  weights: LossWeights | undefined,
  status: (done: number) => void,
): Promise<BlockGrids> {
  const { programs, hooks } = context;
  const { listing, parameters } = block;
  const { signal } = hooks;
  const found: BlockGrids = new Map(ownWidths(settings).map((bits) => [bits, new Map<string, Grids>()]));
  const moments = await blockMoments(programs, block, signal, (done) => status(done / 2), { weights });
  let layers = 0;
  for (const group of byInput(listing.linears)) {
    const [first] = group;
    const moment = damped(moments.get(first.name)!, first.in);
    for (const { name } of group) {
      const { data } = parameters.get(`${name}.weight`)!;
      for (const [bits, grids] of found) {
        const layout = layoutAt(settings, bits);
        const search = () => searchNearest(programs, data, moment, layout, signal, asStored);
        grids.set(name, await inPhase('search', search));
      }
      status(0.5 + ++layers / listing.linears.length / 2);
    }
  }
  return found;
}

/** H + λI. @param hessian H [n, n] */
function damped(hessian: Float32Array, n: number): Float32Array {
  let trace = 0;
  for (let i = 0; i < n; i++) trace += hessian[i * n + i]!;
  return hessian.map((x, at) => (at % (n + 1) === 0 ? x + (DAMPING * trace) / n : x));
}

/** What the block yields in full precision, of every sample; whoever asks for it releases it. */
async function outputsOf(
  { programs, cache, hooks }: CalibrationContext,
  { part, parameters, streams, batch }: BlockAt,
): Promise<SampleStore> {
  const { x: source, side } = streams[0]!;
  const runnable = await openPlainPart(programs, part, parameters);
  const run = { part, runnable, source, side, batch };
  return inPhase('forward', () =>
    passPart(programs, run, undefined, cache, { signal: hooks.signal }),
  ).finally(() => runnable.dispose());
}

interface WidthTask {
  readonly block: BlockAt;
  /** What the block yields in full precision. */
  readonly target: SampleStore;
  /** What errors of that cost together. */
  readonly curvature: HostTensor;
  /** What tokens of it count, where they do not by their energy. */
  readonly weights: SampleSource | undefined;
  /** The number of the width's stream. */
  readonly stream: number;
  readonly bits: number;
  readonly grids: ReadonlyMap<string, Grids>;
}

async function trainWidth(
  { programs, checkpoint, hooks }: CalibrationContext,
  settings: DirectSettings,
  { block, target, curvature, weights, stream, bits, grids }: WidthTask,
  status: (done: number) => void,
): Promise<Map<string, Trained>> {
  const { runtime } = programs;
  const { part, listing, parameters } = block;
  const { linears } = listing;
  const { groupSize } = layoutAt(settings, bits);
  const { steps, batch } = stepsFor(checkpoint.model, target.samples);
  const program = await programs.get(
    trainStepGraph(part, linears, groupSize, batch, weights !== undefined),
    `train ${part.kind} ×${batch}`,
  );
  const { x, side } = block.streams[stream]!;
  const reader = batchReader(part, x, side, batch);
  const y = new Float32Array(batch * target.size);
  const own = weights && new Float32Array(batch * weights.size);
  const shapes = trainedShapes(linears, groupSize);
  const gridTensors = linears.flatMap(({ name }) => {
    const { scale, zero } = grids.get(name)!;
    const shape = [scale.length, 1];
    return [
      [`${name}.scale`, { data: scale, shape }],
      [`${name}.zero`, { data: zero, shape }],
    ] as const;
  });
  const untrained = [...parameters].filter(([name]) => !shapes.has(name));
  const fixed = await placeAll(programs, [...untrained, ...gridTensors, ['curvature', curvature]]);
  let state: Record<string, Tensor> = {};
  try {
    for (const [name, shape] of shapes) {
      const zeros = () => new Float32Array(sizeOf(shape));
      state[name] = runtime.tensor(parameters.get(name)?.data ?? zeros(), shape);
      for (const moment of [`${name}.m`, `${name}.v`]) state[moment] = runtime.tensor(zeros(), shape);
    }
    const order = sampleOrder(settings.seed, part.prefix, bits, target.samples);
    const levels = runtime.tensor(Float32Array.of(2 ** bits - 1), []);
    for (let step = 0; step < steps; step++) {
      if (hooks.signal.aborted) throw new CancelledError();
      const picked = Array.from({ length: batch }, () => order.next().value);
      target.read(picked, y);
      if (own) weights.read(picked, own);
      const outputs = await program.run({
        ...fixed,
        ...state,
        ...tensorsOfBatch(runtime, part, reader.read(picked), batch),
        ...stepSizes(runtime, step, steps, RATES),
        levels,
        y: runtime.tensor(y, part.outputShape(batch)),
        ...(own && { weights: runtime.tensor(own, [own.length, 1]) }),
      });
      disposeAll(state);
      state = Object.fromEntries(Object.keys(state).map((name) => [name, outputs[`next.${name}`]!]));
      outputs.loss!.dispose();
      status((step + 1) / steps);
    }
    return await readTrained(programs, part, linears, state, grids, bits);
  } finally {
    disposeAll({ ...fixed, ...state });
  }
}
