/**
 * The bit-widths of 4 and less with the weights of all blocks trained at once, by how far what the model yields is from full
 * precision (docs/METHOD.md, section 13).
 */
import { batchReader, tensorsOfBatch } from '../../execution/batches.js';
import { rowsAtOnce } from '../../execution/logit-divergence.js';
import { disposeAll, placeAll } from '../../execution/part.js';
import { entering, passBlocks, passPart, plainParts } from '../../execution/part-by-part.js';
import { NO_SOURCES, type ModelInputs, type SampleStore } from '../../execution/sample-store.js';
import { CancelledError } from '../../errors.js';
import { blocksOf, inputSize, outputSize, type Model } from '../../models/model.js';
import type { Tensor } from '../../runtime/session.js';
import type { CalibrationContext } from '../method.js';
import { inPhase } from '../phases.js';
import type { KeptTensor } from '../progress.js';
import { batchOf } from '../walk.js';
import { headGraph } from './distil-step.js';
import { keepBlock, stageFile } from './kept.js';
import { openLearners, type TrainedLayer } from './learners.js';
import { BASE, ownWidths, type DirectSettings } from './settings.js';
import { stageReader } from './stage-source.js';
import { schemeAt } from './stored.js';
import { roundedTo, sampleOrder, stepSizes } from './trained.js';

/** Times that each sample is seen, and samples of a step at most (docs/METHOD.md, section 13). */
const EPOCHS = 6;
const BATCH = 8;
/** Learning rates: of weights in steps of their grid, of logarithms of scales. */
const RATES = { weight: 0.008, growth: 4e-3 } as const;

/** How blocks are trained on so many samples: steps, and samples of each. */
export function distilSteps(
  model: Model,
  samples: number,
): { readonly steps: number; readonly batch: number } {
  const batch = Math.min(BATCH, batchOf(model, samples));
  return { steps: Math.ceil((EPOCHS * samples) / batch), batch };
}

/** Trains each bit-width on from its own stream, and keeps what comes of it, a file for each block. */
export async function distil(
  context: CalibrationContext,
  settings: DirectSettings,
  inputs: ModelInputs,
  status: (done: number) => void,
): Promise<void> {
  const { checkpoint, progress } = context;
  const blocks = blocksOf(checkpoint.model);
  const widths = ownWidths(settings);
  const isDone = (bits: number) => progress.has(stageFile('distilled', blocks.length - 1, bits));
  if (widths.every(isDone)) return;
  const stores = await inPhase('forward', () => passed(context, inputs));
  const readBase = stageReader(context, settings, 'once');
  try {
    for (const [i, bits] of widths.entries()) {
      if (isDone(bits)) continue;
      const trained = await inPhase('training', () =>
        distilWidth(context, settings, { ...stores, inputs, bits }, (done) =>
          status((i + done) / widths.length),
        ),
      );
      for (const [index, part] of blocks.entries()) {
        const kept = new Map<string, KeptTensor>();
        for (const layer of checkpoint.listing(part).linears) {
          const base = schemeAt(settings, bits) === 'near' ? await readBase(part, layer, BASE) : undefined;
          const own = trained[index]!.get(layer.name)!;
          keepBlock(kept, layer.name, bits, roundedTo(own, own, layer, settings, bits, base));
        }
        await progress.save(stageFile('distilled', index, bits), kept, {});
      }
    }
  } finally {
    stores.entered.release();
    stores.full.release();
  }
}

/** What the first block and the head read in full precision, of every sample. */
interface Stores {
  readonly entered: SampleStore;
  readonly full: SampleStore;
}

async function passed(
  { programs, checkpoint, cache, hooks: { signal } }: CalibrationContext,
  inputs: ModelInputs,
): Promise<Stores> {
  const { model } = checkpoint;
  const batch = batchOf(model, inputs.samples);
  const open = plainParts(programs, checkpoint);
  const runnable = await open(model.stem);
  const side = inputs.side ?? NO_SOURCES;
  const run = { part: model.stem, runnable, source: entering(model, inputs, side), side, batch };
  const entered = await passPart(programs, run, undefined, cache, { signal }).finally(() =>
    runnable.dispose(),
  );
  const pass = { cache, batch, signal };
  const full = await passBlocks(programs, model, open, inputs, pass).catch((error: unknown) => {
    entered.release();
    throw error;
  });
  return { entered, full };
}

interface WidthTask extends Stores {
  readonly inputs: ModelInputs;
  readonly bits: number;
}

async function distilWidth(
  context: CalibrationContext,
  settings: DirectSettings,
  { inputs, full, entered, bits }: WidthTask,
  status: (done: number) => void,
): Promise<ReadonlyMap<string, TrainedLayer>[]> {
  const { programs, checkpoint, hooks } = context;
  const { runtime } = programs;
  const { model } = checkpoint;
  const [first] = blocksOf(model);
  const { steps, batch } = distilSteps(model, inputs.samples);
  const order = sampleOrder(settings.seed, 'all', bits, inputs.samples);
  const reader = batchReader(first!, entered, inputs.side ?? NO_SOURCES, batch);
  const head = await openHead(context, full, batch);
  const read = stageReader(context, settings, 'stream');
  const learners = await openLearners(context, settings, bits, batch, read).catch((error: unknown) => {
    head.dispose();
    throw error;
  });
  try {
    for (let step = 0; step < steps; step++) {
      if (hooks.signal.aborted) throw new CancelledError();
      const picked = Array.from({ length: batch }, () => order.next().value);
      const { x, ...ports } = tensorsOfBatch(runtime, first!, reader.read(picked), batch);
      const gradient = await head.gradient(await learners.forward(ports, x!), picked);
      await learners.backward(gradient, stepSizes(runtime, step, steps, RATES));
      status((step + 1) / steps);
    }
    return await learners.read();
  } finally {
    learners.dispose();
    head.dispose();
  }
}

/** The head, which tells what divergence from full precision makes of what it reads. @param full what it reads there */
async function openHead({ programs, checkpoint }: CalibrationContext, full: SampleStore, batch: number) {
  const { runtime } = programs;
  const { head } = checkpoint.model;
  const size = inputSize(head);
  const all = (batch * full.size) / size;
  const rows = Math.min(all, rowsAtOnce(outputSize(head)));
  const program = await programs.get(headGraph(head, rows), `head divergence ×${rows}`);
  const placed = await placeAll(programs, await checkpoint.read(head));
  const other = new Float32Array(batch * full.size);
  const share = runtime.tensor(Float32Array.of(1 / all), []);
  return {
    /** With respect to `y`, what the last block yields of the samples picked, which it disposes of. */
    gradient: async (y: Tensor, picked: readonly number[]): Promise<Tensor> => {
      const own = (await runtime.read(y)).slice();
      full.read(picked, other);
      const found = new Float32Array(own.length);
      for (let start = 0; start < all; start += rows) {
        // The last run goes back to be whole.
        const from = Math.min(start, all - rows);
        const span = (data: Float32Array) =>
          runtime.tensor(data.slice(from * size, (from + rows) * size), head.inputShape(rows));
        const { dx } = await program.run({ ...placed, x: span(own), full: span(other), share });
        found.set(await runtime.read(dx!), from * size);
        dx!.dispose();
      }
      const { shape } = y;
      y.dispose();
      return runtime.tensor(found, shape);
    },
    dispose: () => disposeAll(placed),
  };
}
