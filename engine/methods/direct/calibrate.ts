/** A whole calibration by the direct method: stage after stage, block after block, and of each bit-width what measured best. */
import type { ModelInputs, Samples } from '../../execution/sample-store.js';
import { blocksOf } from '../../models/model.js';
import { setLayers } from '../layers.js';
import type { Artefact, CalibrationContext } from '../method.js';
import { chooseStages } from './choice.js';
import { keptReader, setTensors } from './kept.js';
import { onePass } from './once.js';
import { layoutAt, ownWidths, type DirectSettings } from './settings.js';
import { runStage } from './stage.js';
import { ownStreams } from './streams.js';
import { trainedStreams } from './train.js';

/** Share of the calibration set that nothing is calibrated on, where there is something to choose by it. */
const HELD_OUT = 0.1;

export async function calibrate(context: CalibrationContext, settings: DirectSettings): Promise<Artefact> {
  const { checkpoint, progress, hooks } = context;
  const { model } = checkpoint;
  const { inputs } = context.set!;
  const blocks = blocksOf(model).length;
  const stages = stagesOf(settings);
  const { seen, heldOut } = split(inputs, stages.length > 1);
  const works = [...stages.map((stage) => WORK[stage]), stages.length > 1 ? WORK.choice : 0];
  const total = works.reduce((sum, work) => sum + work);
  const report = (at: number) => (done: number, phase: string, block: number) => {
    const before = works.slice(0, at).reduce((sum, work) => sum + work, 0);
    hooks.status({ done: (before + done * works[at]!) / total, phase, place: block });
  };
  for (const [at, stage] of stages.entries()) {
    const status = report(at);
    await runStage(context, RUN[stage](context, settings), seen, (done, block) =>
      status(done, `${WORDS[stage]}, block ${block + 1}/${blocks}`, at * blocks + block),
    );
  }
  const last = stages.length * blocks - 1;
  const chosen = await chooseStages(context, settings, stages, heldOut, (done) =>
    report(stages.length)(done, 'comparing', last),
  );
  const read = keptReader(model, progress, (bits) => chosen.get(bits) ?? 'once');
  return {
    embedding_bits: 16,
    head_bits: 16,
    transforms: [],
    layers: setLayers(checkpoint, settings.offered, (bits) => layoutAt(settings, bits).groupSize),
    method: {
      effort: settings.effort,
      group_size: settings.groupSize,
      half_zeros: settings.halfZeros,
      made: Object.fromEntries(settings.offered.map((bits) => [bits, chosen.get(bits) ?? 'once'])),
    },
    tensors: setTensors(checkpoint, settings, read),
  };
}

const RUN = { once: onePass, stream: ownStreams, trained: trainedStreams } as const;
const WORDS = { once: 'all bit-widths', stream: 'a stream each', trained: 'training' } as const;
/** Roughly what stages take beside each other: moves a bar, not a result. */
const WORK = { once: 2, stream: 3, trained: 25, choice: 0.5 } as const;

/** What there is to do at an effort. */
function stagesOf(settings: DirectSettings): readonly (keyof typeof RUN)[] {
  if (settings.effort === 'quick' || ownWidths(settings).length === 0) return ['once'];
  return settings.effort === 'default' ? ['once', 'stream'] : ['once', 'stream', 'trained'];
}

/** The samples that are calibrated on, and those behind them that are held out; all are both where there is just one. */
function split(
  inputs: ModelInputs,
  isSplit: boolean,
): { readonly seen: ModelInputs; readonly heldOut: ModelInputs } {
  const { samples } = inputs;
  if (!isSplit || samples < 2) return { seen: inputs, heldOut: inputs };
  const count = Math.max(1, Math.round(samples * HELD_OUT));
  const cut = (from: number, to: number): ModelInputs => ({
    ...range(inputs, from, to),
    ...(inputs.side && {
      side: new Map([...inputs.side].map(([name, source]) => [name, range(source, from, to)])),
    }),
  });
  return { seen: cut(0, samples - count), heldOut: cut(samples - count, samples) };
}

/** Samples `from` to `to` of a source. */
function range(source: Samples, from: number, to: number): Samples {
  return {
    samples: to - from,
    size: source.size,
    read: (indices: readonly number[], into: never) =>
      source.read(
        indices.map((i) => i + from),
        into,
      ),
  };
}
