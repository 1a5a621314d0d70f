/** SliderQuant of a whole model: every window in every stage, at one bit-width after another (docs/METHOD.md, section 17). */
import { createRandom } from '../../data/random.js';
import { openPlainPart } from '../../execution/part.js';
import { entering, passPart } from '../../execution/part-by-part.js';
import { NO_SOURCES, type Samples, type SampleStore, type Sources } from '../../execution/sample-store.js';
import type { HostTensor } from '../../models/checkpoint.js';
import { blocksOf, chainsOf, type Chain, type Model, type Part } from '../../models/model.js';
import type { GridWeight } from '../../quantized/weight.js';
import { setLayers } from '../layers.js';
import type { Artefact, CalibrationContext } from '../method.js';
import { blockFile, type Kept } from '../progress.js';
import { batchOf } from '../walk.js';
import { gridForms, groupSizeAt, keptWeight, writtenTensors } from '../weight-set.js';
import { isFiniteStore, requireFiniteInputs } from './overflow.js';
import { roundedParameters, roundLayer } from './rounded-block.js';
import type { SliderquantSettings } from './settings.js';
import { beginLayer, type LayerState, type StateLayout } from './state.js';
import { trainWindow } from './train.js';
import { placeName, windowLayers, windowParameters, windowPart } from './window.js';
import { windowsOf, type WindowSpan } from './windows.js';

export async function calibrate(
  context: CalibrationContext,
  settings: SliderquantSettings,
): Promise<Artefact> {
  const { checkpoint, progress, hooks } = context;
  const { offered, windows, fill, stages, epochs, batch, rank, rates, loss, groupSize } = settings;
  for (const [i, bits] of offered.entries())
    await trainModel({ context, settings, bits, groupSize: groupSizeAt(settings, bits) }, (done, window) =>
      hooks.status({
        done: (i + done) / offered.length,
        phase: `${bits} bits, ${window.label}`,
        place: i * blocksOf(checkpoint.model).length + window.first,
        ...(window.loss !== undefined && { series: [{ label: `loss at ${bits} bits`, value: window.loss }] }),
      }),
    );
  const layers = setLayers(checkpoint, offered, (bits) => groupSizeAt(settings, bits));
  return {
    embedding_bits: 16,
    head_bits: 16,
    transforms: [],
    layers,
    method: {
      windows,
      ...(windows === 'growing' && { fill }),
      stages,
      epochs,
      batch,
      rank,
      adapter_rate: rates.adapters,
      clip_rate: rates.clips,
      loss,
      group_size: groupSize,
    },
    tensors: writtenTensors(checkpoint, offered, gridForms({ layers }), progress, (bits, index, name) => ({
      file: weightsFile(bits, index),
      name,
    })),
  };
}

interface Run {
  readonly context: CalibrationContext;
  readonly settings: SliderquantSettings;
  readonly bits: number;
  readonly groupSize: number;
}

/** A window in training: its first block, and how far it is in words. */
interface At {
  readonly first: number;
  readonly label: string;
  readonly loss: number | undefined;
}

/** Blocks of a window, by their numbers in the model. */
interface Window {
  /** Its number among those of all chains. */
  readonly number: number;
  readonly first: number;
  readonly blocks: readonly Part[];
  /** By how many blocks the next one begins later. */
  readonly advance: number;
}

const weightsFile = (bits: number, index: number) => blockFile(index, `${bits}-bits-`);

/** The windows of every chain, those of one as a list. Behind the last of the model no stream goes on. */
export function chainWindows(
  model: Model,
  settings: Pick<SliderquantSettings, 'windows' | 'fill'>,
): Window[][] {
  const all = blocksOf(model);
  let number = 0;
  return chainsOf(model).map(({ blocks, name }) => {
    const offset = all.indexOf(blocks[0]!);
    const spans = windowsOf(blocks.length, settings);
    const after = (i: number): WindowSpan[0] =>
      spans[i + 1]?.[0] ?? (name === undefined ? spans[i]![0] : blocks.length);
    return spans.map(([first, last], i) => ({
      number: number++,
      first: offset + first,
      blocks: blocks.slice(first, last + 1),
      advance: after(i) - first,
    }));
  });
}

/** Trains all windows in all stages, and keeps the weights that they come to. */
async function trainModel(run: Run, status: (done: number, at: At) => void): Promise<void> {
  const { context, settings, bits } = run;
  const { checkpoint, progress } = context;
  const { model } = checkpoint;
  const blocks = blocksOf(model);
  if (blocks.every((_, index) => progress.has(weightsFile(bits, index)))) return;
  const windows = chainWindows(model, settings);
  /** The file that keeps the latest state of each block, by its number. */
  const latest = new Map<number, string>();
  const compiled: Stage['compiled'] = {};
  for (let stage = 1; stage <= settings.stages; stage++)
    await trainStage({ ...run, stage, latest, windows, compiled }, (done, at) =>
      status((stage - 1 + done) / settings.stages, {
        ...at,
        label: `stage ${stage}/${settings.stages}, ${at.label}`,
      }),
    );
  for (const [index, part] of blocks.entries()) {
    const parameters = await checkpoint.read(part);
    const state = await stateOf({ ...run, latest }, index, part);
    const weights = new Map<string, GridWeight>();
    for (const layer of checkpoint.listing(part).linears) {
      const weight = parameters.get(`${layer.name}.weight`)!;
      weights.set(layer.name, await roundLayer(context.programs, weight, state.get(layer.name)!, run));
    }
    const kept = new Map([...weights].flatMap(([name, weight]) => keptWeight(name, weight)));
    await progress.save(weightsFile(bits, index), kept, {});
  }
}

interface Stage extends Run {
  /** From 1. */
  readonly stage: number;
  readonly latest: Map<number, string>;
  readonly windows: readonly (readonly Window[])[];
  /** The stage and the shape of the window whose graphs are compiled. */
  readonly compiled: { shape?: string };
}

const stateFile = ({ bits, stage }: Pick<Stage, 'bits' | 'stage'>, { number }: Window, index: number) =>
  blockFile(index, `${bits}-bits-stage-${stage}-window-${number}-`);

/** All windows once, both streams beginning with the stems. */
async function trainStage(stage: Stage, status: (done: number, at: At) => void): Promise<void> {
  const { context, windows } = stage;
  const { checkpoint, set, progress } = context;
  const all = windows.flat();
  if (isDone(stage, all.at(-1)!)) {
    for (const window of all) noteLatest(stage, window);
    return;
  }
  const total = all.reduce((sum, { blocks }) => sum + blocks.length, 0);
  let passed = 0;
  const own = (window: Window) => (done: number, loss: number | undefined) =>
    status((passed + done * window.blocks.length) / total, {
      first: window.first,
      label: `window ${window.number + 1}/${all.length}`,
      loss,
    });
  const { side = NO_SOURCES } = set!.inputs;
  let sides: Streams<Sources> = { plain: side, quantized: side };
  const stores: SampleStore[] = [];
  try {
    for (const [i, chain] of chainsOf(checkpoint.model).entries()) {
      let streams = await enter(context, chain, sides);
      for (const window of windows[i]!) {
        if (!isDone(stage, window)) await learn(stage, window, streams, sides, own(window));
        noteLatest(stage, window);
        passed += window.blocks.length;
        streams = await advance(stage, window, streams, sides);
      }
      stores.push(streams.plain, streams.quantized);
      const { name } = chain;
      if (name === undefined) continue;
      sides = {
        plain: new Map([...sides.plain, [name, streams.plain]]),
        quantized: new Map([...sides.quantized, [name, streams.quantized]]),
      };
    }
  } finally {
    for (const store of stores) store.release();
  }

  function isDone(at: Stage, { blocks, first, ...window }: Window): boolean {
    return progress.has(stateFile(at, { blocks, first, ...window }, first + blocks.length - 1));
  }
}

function noteLatest(stage: Stage, window: Window): void {
  for (const i of window.blocks.keys())
    stage.latest.set(window.first + i, stateFile(stage, window, window.first + i));
}

/** Activations: in full precision, and as the quantized blocks make them. */
interface Streams<T> {
  readonly plain: T;
  readonly quantized: T;
}

async function enter(
  { programs, checkpoint, set, cache, hooks }: CalibrationContext,
  chain: Chain,
  sides: Streams<Sources>,
): Promise<Streams<SampleStore>> {
  const { stem } = chain;
  const batch = batchOf(checkpoint.model, set!.inputs.samples);
  const runnable = await openPlainPart(programs, stem, await checkpoint.read(stem));
  const pass = (side: Sources) => {
    const run = { part: stem, runnable, source: entering(chain, set!.inputs, side), side, batch };
    return passPart(programs, run, undefined, cache, { signal: hooks.signal });
  };
  try {
    return { plain: await pass(sides.plain), quantized: await pass(sides.quantized) };
  } finally {
    runnable.dispose();
  }
}

/** Runs a part by these parameters on all samples. @param into as `passPart` */
async function passed(
  { programs, checkpoint, cache, hooks }: CalibrationContext,
  part: Part,
  parameters: ReadonlyMap<string, HostTensor>,
  source: Samples,
  side: Sources,
  into?: SampleStore,
): Promise<SampleStore> {
  const runnable = await openPlainPart(programs, part, parameters);
  const run = { part, runnable, source, side, batch: batchOf(checkpoint.model, source.samples) };
  return passPart(programs, run, into, cache, { signal: hooks.signal }).finally(() => runnable.dispose());
}

/** Trains a window and keeps what its blocks come to, the last one last. */
async function learn(
  stage: Stage,
  window: Window,
  { plain, quantized }: Streams<SampleStore>,
  sides: Streams<Sources>,
  onStep: (done: number, loss: number | undefined) => void,
): Promise<void> {
  const { context, settings, bits } = stage;
  const { programs, checkpoint, progress, hooks } = context;
  const { blocks, first } = window;
  const part = windowPart(blocks);
  // What graphs of windows of another shape or stage hold of memory is not needed again soon.
  const shape = `${stage.stage} ${part.kind}`;
  if (stage.compiled.shape !== shape) await programs.release();
  stage.compiled.shape = shape;
  const own = [];
  for (const block of blocks) own.push(await checkpoint.read(block));
  const parameters = windowParameters(own);
  const start = new Map<string, LayerState>();
  for (const [place, block] of blocks.entries())
    for (const [name, state] of await stateOf(stage, first + place, block))
      start.set(placeName(place) + name, state);
  const target = await passed(context, part, parameters, plain, sides.plain);
  try {
    if (!isFiniteStore(target)) await requireFiniteInputs(context, blocks, plain, sides.plain);
    const layout = { ...layoutOf(stage), layers: windowLayers(blocks, (block) => checkpoint.listing(block)) };
    const { layers, losses } = await trainWindow(
      programs,
      {
        window: part,
        layout,
        parameters,
        start,
        x: quantized,
        side: sides.quantized,
        target,
        bits,
        share: stage.stage / settings.stages,
        epochs: Math.floor(settings.epochs / settings.stages),
        path: [bits, stage.stage, window.number],
      },
      settings,
      { signal: hooks.signal, onStep },
    );
    for (const [place, block] of blocks.entries()) {
      const tensors = checkpoint
        .listing(block)
        .linears.flatMap(({ name }) =>
          Object.entries(layers.get(placeName(place) + name)!).map(
            ([what, tensor]) => [`${name}.${what}`, tensor as HostTensor] as const,
          ),
        );
      await progress.save(stateFile(stage, window, first + place), new Map(tensors), { losses });
    }
  } finally {
    target.release();
  }
}

/** Both streams behind the blocks that the next window no longer has. */
async function advance(
  stage: Stage,
  { first, blocks, advance: count }: Window,
  streams: Streams<SampleStore>,
  sides: Streams<Sources>,
): Promise<Streams<SampleStore>> {
  const { context, settings } = stage;
  const { programs, checkpoint } = context;
  let { plain, quantized } = streams;
  for (const [i, part] of blocks.slice(0, count).entries()) {
    const parameters = await checkpoint.read(part);
    plain = await passed(context, part, parameters, plain, sides.plain, plain);
    const { linears } = checkpoint.listing(part);
    const state = await stateOf(stage, first + i, part);
    const share = stage.stage / settings.stages;
    const rounded = await roundedParameters(programs, linears, parameters, state, { ...stage, share });
    quantized = await passed(context, part, rounded, quantized, sides.quantized, quantized);
  }
  return { plain, quantized };
}

const layoutOf = ({
  settings,
  groupSize,
}: Pick<Run, 'settings' | 'groupSize'>): Omit<StateLayout, 'layers'> => ({
  rank: settings.rank,
  groupSize,
});

/** The latest state of a block's layers, by their local names: as it was kept, or as it begins. */
async function stateOf(
  run: Run & Pick<Stage, 'latest'>,
  index: number,
  part: Part,
): Promise<Map<string, LayerState>> {
  const { context, settings, latest } = run;
  const { linears } = context.checkpoint.listing(part);
  const file = latest.get(index);
  const saved = file === undefined ? undefined : await context.progress.load(file);
  const layout = { ...layoutOf(run), layers: linears };
  return new Map(
    linears.map((layer) => [
      layer.name,
      saved
        ? savedState(saved, layer.name)
        : beginLayer(layer, layout, createRandom(settings.seed, 'adapter', part.prefix + layer.name)),
    ]),
  );
}

function savedState({ tensors }: Kept, name: string): LayerState {
  const of = (what: keyof LayerState) => tensors.get(`${name}.${what}`);
  const [a, b] = [of('a'), of('b')];
  return { ...(a && b && { a, b }), upper: of('upper')!, lower: of('lower')! };
}
