/** What an evaluation, a measurement of sensitivities and an export will take. */
import { defaultCacheMemory } from '../../execution/sample-store.js';
import { savedWork } from '../../execution/sensitivity.js';
import { sweepWork } from '../../execution/reverse-sweep.js';
import { addWork, timesWork } from '../../graph/work.js';
import type { Shape } from '../../graph/ir.js';
import type { Evaluated } from '../../evaluation/evaluate.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import { blocksOf } from '../../models/model.js';
import { calibrationAmounts } from './calibration.js';
import { PASSES_SLOWDOWN, type Amounts } from './forecast.js';
import { passesOf } from './passes.js';

/** Samples that pass at once where nothing else is said. */
const PICTURES = 32;
const TEXTS = 2;
const batchOf = ({ model }: Checkpoint) => (model.reads === 'tokens' ? TEXTS : PICTURES);

const weightsOf = ({ model, listing }: Checkpoint): number =>
  blocksOf(model).reduce((sum, part) => listing(part).linears.reduce((n, l) => n + l.in * l.out, sum), 0);

/** Every row passes all samples; its weights are quantized once. Pictures pass models that are open, texts part by part. */
export function evaluationAmounts(
  checkpoint: Checkpoint,
  { samples, rows, sets, baselines }: Evaluated,
  cacheMemory = defaultCacheMemory(),
): Amounts {
  const passes = passesOf(checkpoint, batchOf(checkpoint));
  const calibrated = baselines.map((one) =>
    calibrationAmounts(checkpoint, one, one.settings.samples, cacheMemory),
  );
  const isOpen = checkpoint.model.reads !== 'tokens';
  const stores = isOpen ? 0 : Math.min(cacheMemory, 2 * samples * passes.activations);
  return {
    work: calibrated.map(({ work }) => work).reduce(addWork, timesWork(passes.work, samples * rows)),
    looked: calibrated.reduce((sum, one) => sum + one.looked, rows * weightsOf(checkpoint)),
    bytes: Math.max(
      passes.bytes + stores + (isOpen ? passes.parameters * (1 + 2 * sets) : 0),
      ...calibrated.map(({ bytes }) => bytes),
    ),
    disk: Math.max(0, ...calibrated.map(({ disk }) => disk)),
    slowdown: calibrated.length > 0 ? 1 : PASSES_SLOWDOWN,
  };
}

export interface Measured {
  readonly samples: number;
  readonly batch: number;
  /** How many bit-widths. */
  readonly offered: number;
  readonly exact: boolean;
}

/** A measurement runs what follows each layer at each bit-width; an estimate passes forward and back once. */
export function sensitivityAmounts(
  checkpoint: Checkpoint,
  { samples, batch, offered, exact }: Measured,
  cacheMemory = defaultCacheMemory(),
): Amounts {
  const { model } = checkpoint;
  const atOnce = Math.min(batch, samples);
  const passes = passesOf(checkpoint, atOnce);
  const weights = weightsOf(checkpoint);
  const stores = 3 * samples * passes.activations;
  const inMemory = Math.min(cacheMemory, stores);
  const shared = {
    looked: offered * weights,
    bytes: inMemory + passes.bytes,
    disk: stores - inMemory,
    slowdown: PASSES_SLOWDOWN,
  };
  if (exact) {
    const changes =
      blocksOf(model).reduce((sum, part) => sum + checkpoint.listing(part).linears.length, 0) * offered;
    const whole = (1 - savedWork(checkpoint, offered)) * (changes + 1);
    return { ...shared, work: timesWork(passes.work, samples * whole) };
  }
  const rows = blocksOf(model).reduce(
    (sum, part) => sum + part.inputShape(1)[0]! * layersOf(checkpoint, part),
    0,
  );
  const none = () => new Map<string, Shape>();
  // The effect of each layer at each bit-width is a product as large as the layer's own.
  const effects = { flops: 2 * samples * offered * rows, elements: 0, operators: 0 };
  return { ...shared, work: addWork(sweepWork(checkpoint, samples, atOnce, none), effects) };
}

const layersOf = ({ listing }: Checkpoint, part: Parameters<Checkpoint['listing']>[0]): number =>
  listing(part).linears.reduce((sum, l) => sum + l.in * l.out, 0);

/** Weights are read, quantized and written once. @param written bytes */
export function exportAmounts(checkpoint: Checkpoint, written: number): Amounts {
  const { bytes, parameters } = passesOf(checkpoint, 1);
  return {
    work: { flops: 0, elements: 4 * (parameters / 4), operators: 0 },
    looked: 2 * (parameters / 4) + written,
    bytes: bytes + Math.min(parameters, 1e9),
    disk: written,
  };
}
