/** A whole calibration by the direct method: stage after stage, block after block, and of each bit-width what measured best. */
import type { ModelInputs } from '../../execution/sample-store.js';
import { blocksOf } from '../../models/model.js';
import { MAX_BITS } from '../../plans/bits.js';
import type { Outline } from '../../transforms/transform.js';
import { setLayers } from '../layers.js';
import type { Artefact, CalibrationContext } from '../method.js';
import { keepLossWeights } from '../loss-weights.js';
import { chooseStages } from './choice.js';
import { directCost } from './cost.js';
import { keepCurvatures } from './curvature.js';
import { distil } from './distil.js';
import { keptReader, setTensors, type Stage } from './kept.js';
import { onePass } from './once.js';
import { cut } from './samples.js';
import { EARLY_SAMPLES, layoutAt, ownWidths, type DirectSettings } from './settings.js';
import { runStage } from './stage.js';
import { start } from './start.js';
import { ownStreams } from './streams.js';
import { trainedStreams } from './train.js';

/** Share of the calibration set that nothing is calibrated on, where there is something to choose by it. */
const HELD_OUT = 0.1;

export async function calibrate(asked: CalibrationContext, settings: DirectSettings): Promise<Artefact> {
  const { progress, hooks } = asked;
  const { model } = asked.checkpoint;
  const { inputs } = asked.set!;
  const blocks = blocksOf(model).length;
  const stages = stagesOf(settings);
  const { seen, heldOut } = split(inputs, stages.length > 1);
  const early = settings.effort === 'best' ? cut(seen, 0, Math.min(seen.samples, EARLY_SAMPLES)) : seen;
  const works = worksOf(asked.checkpoint, settings, stages, inputs.samples);
  const phases = [...works.keys()];
  const total = [...works.values()].reduce((sum, work) => sum + work);
  const report = (phase: CalibrationPhase) => (done: number, block: number) => {
    const at = phases.indexOf(phase);
    const before = phases.slice(0, at).reduce((sum, other) => sum + works.get(other)!, 0);
    hooks.status({
      done: (before + done * works.get(phase)!) / total,
      phase: WHOLE.has(phase) ? WORDS[phase] : `${WORDS[phase]}, block ${block + 1}/${blocks}`,
      place: at * blocks + block,
    });
  };
  const { checkpoint, transforms, tensors } = await start(asked, settings, report('start'));
  const context = { ...asked, checkpoint };
  if (settings.weighting === 'loss')
    await keepLossWeights(context, early, settings.seed, (done) => report('weights')(done, 0));
  for (const stage of stages) {
    if (stage === 'trained')
      await keepCurvatures(context, settings, seen, (done) => report('curvature')(done, 0));
    if (stage === 'distilled') await distil(context, settings, seen, (done) => report(stage)(done, 0));
    else await runStage(context, RUN[stage](context, settings), early, report(stage));
  }
  const chosen = await chooseStages(context, settings, stages, heldOut, (done) => report('choice')(done, -1));
  const read = keptReader(checkpoint.model, progress, (bits) => chosen.get(bits) ?? 'once');
  const { activations, kvBits } = settings;
  return {
    embedding_bits: settings.embeddingBits,
    head_bits: settings.headBits,
    ...(kvBits <= MAX_BITS && { kv_bits: kvBits }),
    transforms,
    layers: setLayers(checkpoint, settings.offered, (bits) => layoutAt(settings, bits).groupSize),
    method: {
      effort: settings.effort,
      group_size: settings.groupSize,
      half_zeros: settings.halfZeros,
      ...(settings.weighting !== 'plain' && { weighting: settings.weighting }),
      made: Object.fromEntries(settings.offered.map((bits) => [bits, chosen.get(bits) ?? 'once'])),
      ...(activations !== 'none' && { activations, products: productsOf(checkpoint, settings) }),
    },
    tensors: new Map([...tensors, ...setTensors(checkpoint, settings, read)]),
  };
}

/** Full names of the operands of attention products that are quantized. */
const productsOf = ({ model, listing }: Outline, { activations }: DirectSettings): string[] =>
  activations === 'static'
    ? blocksOf(model).flatMap((part) => listing(part).operands.map((name) => part.prefix + name))
    : [];

const RUN = { once: onePass, stream: ownStreams, trained: trainedStreams } as const;
const WORDS = {
  start: 'ranges of activations',
  weights: 'gradients',
  once: 'all bit-widths',
  stream: 'a stream each',
  curvature: 'gradients',
  trained: 'training',
  distilled: 'training end to end',
  choice: 'comparing',
} as const;
type CalibrationPhase = keyof typeof WORDS;
/** Phases that do not go from block to block. */
const WHOLE: ReadonlySet<CalibrationPhase> = new Set(['weights', 'curvature', 'distilled', 'choice']);
/** The effort at which a stage is the last. */
const EFFORTS = { once: 'quick', stream: 'default', trained: 'high', distilled: 'best' } as const;
/** Roughly what an element of a tensor, and of a loop on the host, takes in operations of products; what is not counted, of all. */
const [ELEMENT, LOOKED] = [25, 200] as const;
const [START, WEIGHTS, CURVATURE, CHOICE] = [0.03, 0.1, 0.03, 0.03] as const;

/** What phases take beside each other, in the order they run: moves a bar, not a result. */
function worksOf(
  outline: Outline,
  settings: DirectSettings,
  stages: readonly Stage[],
  samples: number,
): ReadonlyMap<CalibrationPhase, number> {
  const until = stages.map((stage) => {
    const { work, looked } = directCost(outline, { ...settings, effort: EFFORTS[stage] }, samples);
    return work.flops + ELEMENT * work.elements + LOOKED * looked;
  });
  const all = until.at(-1)!;
  return new Map<CalibrationPhase, number>([
    ...(settings.activations === 'static' ? [['start', START * all] as const] : []),
    ...(settings.weighting === 'loss' ? [['weights', WEIGHTS * all] as const] : []),
    ...stages.flatMap((stage, i): [CalibrationPhase, number][] => [
      ...(stage === 'trained' ? [['curvature', CURVATURE * all] as [CalibrationPhase, number]] : []),
      [stage, until[i]! - (until[i - 1] ?? 0)],
    ]),
    ...(stages.length > 1 ? [['choice', CHOICE * all] as const] : []),
  ]);
}

/** What there is to do at an effort. */
function stagesOf(settings: DirectSettings): readonly Stage[] {
  if (settings.effort === 'quick' || ownWidths(settings).length === 0) return ['once'];
  if (settings.effort === 'default') return ['once', 'stream'];
  return ['once', 'stream', settings.effort === 'high' ? 'trained' : 'distilled'];
}

/** The samples that are calibrated on, and those behind them that are held out; all are both where there is just one. */
function split(
  inputs: ModelInputs,
  isSplit: boolean,
): { readonly seen: ModelInputs; readonly heldOut: ModelInputs } {
  const { samples } = inputs;
  if (!isSplit || samples < 2) return { seen: inputs, heldOut: inputs };
  const count = Math.max(1, Math.round(samples * HELD_OUT));
  return { seen: cut(inputs, 0, samples - count), heldOut: cut(inputs, samples - count, samples) };
}
