/** A whole calibration by the direct method: stage after stage, block after block, and of each bit-width what measured best. */
import type { ModelInputs, Samples } from '../../execution/sample-store.js';
import { blocksOf } from '../../models/model.js';
import { setLayers } from '../layers.js';
import type { Outline } from '../../transforms/transform.js';
import type { Artefact, CalibrationContext } from '../method.js';
import { chooseStages } from './choice.js';
import { directCost } from './cost.js';
import { keptReader, setTensors, type Stage } from './kept.js';
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
  const works = worksOf(checkpoint, settings, stages, inputs.samples);
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
/** The effort at which a stage is the last. */
const EFFORTS = { once: 'quick', stream: 'default', trained: 'high' } as const;
/** Roughly what an element of a tensor, and of a loop on the host, takes in operations of products; and the comparison of all. */
const [ELEMENT, LOOKED, CHOICE] = [25, 200, 0.03] as const;

/** What stages take beside each other, and the choice among them: moves a bar, not a result. */
function worksOf(
  outline: Outline,
  settings: DirectSettings,
  stages: readonly Stage[],
  samples: number,
): readonly number[] {
  if (stages.length === 1) return [1, 0];
  const until = stages.map((stage) => {
    const { work, looked } = directCost(outline, { ...settings, effort: EFFORTS[stage] }, samples);
    return work.flops + ELEMENT * work.elements + LOOKED * looked;
  });
  return [...until.map((all, i) => all - (until[i - 1] ?? 0)), CHOICE * until.at(-1)!];
}

/** What there is to do at an effort. */
function stagesOf(settings: DirectSettings): readonly Stage[] {
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
