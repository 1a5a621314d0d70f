/** A whole calibration: block after block, resumable at every epoch, ending in an adapter set's tensors. */
import { openElasticPart } from '../../execution/quantized-part.js';
import { openPlainPart, type RunnablePart } from '../../execution/part.js';
import { entering, passPart } from '../../execution/part-by-part.js';
import { fixedSource } from '../../execution/rounded.js';
import { NO_SOURCES, type SampleStore, type Sources } from '../../execution/sample-store.js';
import type { NamedTensors } from '../../execution/tensors.js';
import type { WrittenTensor } from '../../formats/set.js';
import type { Named } from '../../formats/set-config.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import { blocksOf, chainsOf, streamFeatures, type Chain, type Model, type Part } from '../../models/model.js';
import { MAX_BITS } from '../../plans/bits.js';
import type { Programs } from '../../runtime/programs.js';
import { rescaledParameters } from '../../transforms/rescaling.js';
import { rotateCheckpoint } from '../../transforms/rotation/checkpoint.js';
import { drawSigns, signsToText } from '../../transforms/rotation/signs.js';
import { setLayers } from '../layers.js';
import type { Status } from '../../protocol/protocol.js';
import type { Artefact, CalibrationContext } from '../method.js';
import type { BlockContext, Context } from './block.js';
import type { QueptConfig } from './config.js';
import { computedStart } from './computed-start.js';
import { BLOCK_OUTPUT, keepLossWeights, lossWeightsOf } from '../loss-weights.js';
import { judgedOf, keepBetter, keptTensors } from './guard.js';
import { layoutOf } from './layout.js';
import { hasOwnStreams } from './merge.js';
import { halfWidths, settingsOf, type QueptOptions } from './options.js';
import { blockProgress, type FinishedBlock, type SavedProgress } from './progress.js';
import { reconstruct, type Reconstruction } from './reconstruct.js';
import { blockSource } from './source.js';
import { startBlock } from './start.js';
import { startedTensors } from './state.js';
import {
  asStored,
  firstDirections,
  storedElements,
  storedForms,
  usedRank,
  withDirections,
  withRank,
  type Storage,
} from './stored.js';
import { advanceStreams } from './streams.js';

/** Share of a calibration that the pass is by which tokens are weighted. */
const GRADIENTS = 0.02;

/** Calibrates a model; returns what its adapter set holds. */
export async function calibrate(asked: CalibrationContext, options: QueptOptions): Promise<Artefact> {
  const { programs, hooks } = asked;
  const checkpoint = rotated(programs, asked.checkpoint, options);
  const context = { ...(asked as Context), checkpoint };
  const { model } = checkpoint;
  const progress = blockProgress(asked.progress);
  const share = options.guard ? guardShare(context.set.inputs.samples, options) : 0;
  const begun = options.weighting === 'loss' ? GRADIENTS : 0;
  if (begun > 0)
    await keepLossWeights(context, context.set.inputs, options.seed, (done) =>
      hooks.status({ done: done * begun, phase: 'gradients', place: 0 }),
    );
  const blocks = await reconstructBlocks(context, options, progress, (status) =>
    hooks.status({ ...status, done: begun + status.done * (1 - share - begun) }),
  );
  const blockOf = async (part: Part) => (await progress.block(blocksOf(model).indexOf(part)))!;
  const { groups, kept } = options.guard
    ? await keepBetter(programs, context, options, blockOf, {
        signal: hooks.signal,
        status: (done) =>
          hooks.status({
            done: 1 - share * (1 - done),
            phase: 'comparing with the start',
            place: blocksOf(model).length - 1,
          }),
      })
    : { groups: options.groups, kept: new Set<number>() };
  const rank = usedRank(groups);
  const tensors = tensorsOfBlocks(model, blocks, options.storage, rank, async (part) => {
    const layout = layoutOf(part, checkpoint.listing(part), options);
    return firstDirections(keptTensors(layout, await blockOf(part), kept), rank);
  });
  return describe(checkpoint, options, blocks, withRank(groups, rank), tensors);
}

/** The checkpoint that is calibrated: as it is, or rotated. */
function rotated(
  programs: Programs,
  checkpoint: Checkpoint,
  { rotate, seed, kvBits }: QueptOptions,
): Checkpoint {
  if (!rotate) return checkpoint;
  const signs = drawSigns(streamFeatures(checkpoint.model), seed);
  return rotateCheckpoint(programs, checkpoint, { signs, keys: kvBits <= MAX_BITS });
}

/** What is remembered of a finished block; its tensors lie in the progress folder. */
interface BlockSummary extends Pick<FinishedBlock, 'first' | 'last'> {
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

const summaryOf = ({ tensors, first, last }: FinishedBlock): BlockSummary => ({
  shapes: new Map([...tensors].map(([name, { shape }]) => [name, shape])),
  first,
  last,
});

/** Every tensor of the adapter set; a block is read when the first of its tensors is. */
function tensorsOfBlocks(
  model: Model,
  blocks: readonly BlockSummary[],
  storage: Storage,
  rank: number,
  blockOf: (part: Part) => Promise<NamedTensors>,
): Map<string, WrittenTensor> {
  let latest: { readonly part: Part; readonly tensors: Promise<NamedTensors> } | undefined;
  const read = async (part: Part, name: string) => {
    if (latest?.part !== part) latest = { part, tensors: blockOf(part) };
    return storedElements(storage, name, await latest.tensors);
  };
  return new Map(
    blocksOf(model).flatMap((part, i) =>
      [...withDirections(blocks[i]!.shapes, rank)]
        .flatMap(([name, shape]) => storedForms(storage, name, shape))
        .map(([name, { shape }]) => [part.prefix + name, { shape, data: () => read(part, name) }] as const),
    ),
  );
}

/** The guard's share of the time: its passes through the model among all, a backward pass counting as two. */
function guardShare(samples: number, options: QueptOptions): number {
  const { groups, epochs } = options;
  const passes = (1 + 2 * groups.flatMap((g) => g.bits).length) * judgedOf(samples, options).samples;
  const before = samples * (1 + groups.length * (3 * epochs + 1));
  return passes / (passes + before);
}

/** Activations of a chain: in full precision, and one store per quantized stream. */
interface Activations {
  readonly plain: SampleStore;
  readonly streams: readonly SampleStore[];
}

/** What feeds side ports and chains, by name: in full precision, and for each quantized stream. */
interface Feeds {
  readonly plain: Sources;
  readonly streams: readonly Sources[];
}

interface Calibration {
  readonly context: Context;
  readonly options: QueptOptions;
  readonly progress: SavedProgress;
  readonly status: (status: Status) => void;
  /** Grows by every block that is done. */
  readonly finished: BlockSummary[];
}

async function reconstructBlocks(
  context: Context,
  options: QueptOptions,
  progress: SavedProgress,
  status: (status: Status) => void,
): Promise<readonly BlockSummary[]> {
  const { side = NO_SOURCES } = context.set.inputs;
  const count = hasOwnStreams(options.merge) ? options.groups.length : 1;
  let feeds: Feeds = { plain: side, streams: Array<Sources>(count).fill(side) };
  const calibration: Calibration = { context, options, progress, status, finished: [] };
  const stores: SampleStore[] = [];
  for (const chain of chainsOf(context.checkpoint.model)) {
    const behind = await reconstructChain(calibration, chain, feeds);
    stores.push(behind.plain, ...behind.streams);
    const { name } = chain;
    const named = (before: Sources, own: SampleStore): Sources =>
      name === undefined ? before : new Map([...before, [name, own]]);
    feeds = {
      plain: named(feeds.plain, behind.plain),
      streams: feeds.streams.map((before, g) => named(before, behind.streams[g]!)),
    };
  }
  for (const store of stores) store.release();
  return calibration.finished;
}

/** Resolves to what the chain yields, but for the model's last block, which quantized streams do not pass. */
async function reconstructChain(
  { context, options, progress, status, finished }: Calibration,
  chain: Chain,
  feeds: Feeds,
): Promise<Activations> {
  const { checkpoint } = context;
  const blocks = blocksOf(checkpoint.model);
  let { plain, streams } = await embed(context, options, chain, feeds);
  for (const part of chain.blocks) {
    const index = blocks.indexOf(part);
    const isLast = index + 1 === blocks.length;
    const listing = checkpoint.listing(part);
    const block: BlockContext = {
      context,
      options,
      part,
      listing,
      layout: layoutOf(part, listing, options),
      side: feeds.plain,
      sides: feeds.streams,
      weights: await lossWeightsOf(context, index),
      parameters: await checkpoint.read(part),
    };
    const saved = await progress.block(index);
    const phase = saved ? 'passing what is kept' : 'starting values';
    status({
      done: index / blocks.length,
      phase: `block ${index + 1}/${blocks.length}, ${phase}`,
      place: index,
    });
    const start = saved?.tensors ?? (await startBlock(context.programs, block, plain));
    const begun = saved ? start : await computedFrom(context.programs, block, start, plain, streams);
    const leaving = !saved || !isLast ? await advancePlain(block, plain) : plain;
    const learned =
      saved ??
      (await learnBlock(block, { start: begun, streams, target: leaving }, start, progress, index, (own) =>
        status({ ...own, done: (index + own.done) / blocks.length }),
      ));
    if (!saved) await progress.finishBlock(index, learned);
    finished.push(summaryOf(learned));
    if (!isLast) streams = await advanceQuantized(block, learned, streams);
    plain = leaving;
  }
  return { plain, streams };
}

/** The start with computed adapters, where they are asked for: weights of groups that have streams of their own. */
async function computedFrom(
  programs: Programs,
  block: BlockContext,
  start: NamedTensors,
  plain: SampleStore,
  streams: readonly SampleStore[],
): Promise<NamedTensors> {
  if (!block.options.computed) return start;
  const parameters = rescaledParameters(block.parameters, start);
  return computedStart(programs, block, start, parameters, plain, streams);
}

/** The full-precision activations behind the block: in the same store where it keeps the size of samples. */
async function advancePlain(
  { context, options, part, parameters, side }: BlockContext,
  entering: SampleStore,
): Promise<SampleStore> {
  const { programs, cache, hooks } = context;
  const batch = Math.min(options.batch, entering.samples);
  const original = await openPlainPart(programs, part, parameters);
  const run = { part, runnable: original, source: entering, side, batch };
  return passPart(programs, run, entering, cache, { signal: hooks.signal }).finally(() => original.dispose());
}

/** The quantized streams behind the block. */
async function advanceQuantized(
  { context, options, part, listing, layout, parameters, sides }: BlockContext,
  { tensors }: FinishedBlock,
  streams: readonly SampleStore[],
): Promise<SampleStore[]> {
  const { programs, cache, hooks } = context;
  const source = blockSource(rescaledParameters(parameters, tensors), settingsOf(options), part, tensors);
  const elastic = await openElasticPart(programs, part, listing, source);
  const block = { part, elastic, layout };
  const { signal } = hooks;
  return advanceStreams(programs, block, { streams, sides }, { cache, options, signal }).finally(() =>
    elastic.dispose(),
  );
}

async function learnBlock(
  { context, options, part, layout, parameters, sides, weights }: BlockContext,
  { start, streams, target }: Pick<Reconstruction, 'start' | 'streams' | 'target'>,
  without: NamedTensors,
  progress: SavedProgress,
  index: number,
  status: (status: Status) => void,
): Promise<FinishedBlock> {
  const { programs, checkpoint, hooks } = context;
  const blocks = blocksOf(checkpoint.model).length;
  const labels = options.groups.map(({ bits }) => bits.join('/'));
  const task = {
    part,
    layout,
    parameters: rescaledParameters(parameters, start),
    start,
    streams,
    sides,
    target,
    weights: weights?.get(BLOCK_OUTPUT),
    block: part.prefix,
  };
  const { learned, first, last } = await reconstruct(
    programs,
    task,
    options,
    {
      signal: hooks.signal,
      onStep: (epoch, step, steps, losses) =>
        status({
          done: step / steps,
          phase: `block ${index + 1}/${blocks}, epoch ${Math.min(epoch + 1, options.epochs)}/${options.epochs}`,
          place: index,
          ...(losses && {
            series: losses.map((value, g) => ({ label: `relative loss at ${labels[g]!} bits`, value })),
          }),
        }),
      save: (snapshot) => progress.saveEpoch(index, snapshot),
    },
    await progress.epoch(index),
  );
  const stored = (tensors: NamedTensors) => asStored(options.storage, tensors);
  return {
    tensors: stored(new Map([...start, ...learned])),
    started: stored(startedTensors(layout, without)),
    first,
    last,
  };
}

/** The inputs of a chain's first block: in full precision, and for each stream with the embedding's weights quantized. */
async function embed(
  { programs, checkpoint, set, cache, hooks }: Context,
  options: QueptOptions,
  chain: Chain,
  feeds: Feeds,
): Promise<Activations> {
  const { stem } = chain;
  const batch = Math.min(options.batch, set.inputs.samples);
  const parameters = await checkpoint.read(stem);
  const embedded = (runnable: RunnablePart, side: Sources) => {
    const run = { part: stem, runnable, source: entering(chain, set.inputs, side), side, batch };
    return passPart(programs, run, undefined, cache, { signal: hooks.signal });
  };

  const original = await openPlainPart(programs, stem, parameters);
  const plain = await embedded(original, feeds.plain);
  const bits = options.embeddingBits <= MAX_BITS ? options.embeddingBits : undefined;
  const quantized = await openElasticPart(programs, stem, checkpoint.listing(stem), fixedSource(parameters));
  if (bits !== undefined) await quantized.use(bits);
  const streams: SampleStore[] = [];
  for (const side of feeds.streams)
    streams.push(await embedded(bits === undefined ? original : quantized, side));
  original.dispose();
  quantized.dispose();
  return { plain, streams };
}

function describe(
  { model, listing }: Checkpoint,
  options: QueptOptions,
  blocks: readonly BlockSummary[],
  kept: QueptConfig['bit_groups'],
  tensors: Artefact['tensors'],
): Artefact {
  const {
    mode,
    groups,
    rates,
    embeddingBits,
    headBits,
    seed,
    rotate,
    kvBits,
    samples: _samples,
    halfZeros: _halfZeros,
    heldOut,
    computed,
    storage,
    weighting,
    ...rest
  } = options;
  const { offered: _offered, ...hyperparameters } = rest as typeof rest & { offered?: unknown };
  const offered = groups.flatMap(({ bits }) => bits);
  const byGroup = (losses: readonly number[]) =>
    Object.fromEntries(groups.map((g, i) => [g.bits.join(), losses[i]!]));
  // Smoothing may scale layers of a block whose norms stay as they are.
  const isScaled = blocks.some(({ shapes }) =>
    [...shapes.keys()].some((name) => name.endsWith('.input_scale')),
  );
  const norms = blocksOf(model).flatMap((part, i) =>
    listing(part)
      .norms.filter(({ name }) => blocks[i]!.shapes.has(`${name}.weight`))
      .map(({ name, features }) => [part.prefix + name, features] as const),
  );
  const own: QueptConfig = {
    bit_groups: kept,
    products:
      mode === 'weight-only' || options.activations === 'dynamic'
        ? []
        : blocksOf(model).flatMap((part) => listing(part).operands.map((name) => part.prefix + name)),
    hyperparameters: {
      ...hyperparameters,
      ...(heldOut > 0 && { heldOut }),
      ...(computed && { computed }),
      ...(weighting !== 'plain' && { weighting }),
      rate_lora: rates.lora,
      rate_clip: rates.clip,
      rate_scale: rates.scale,
    },
    losses: blocks.map((b, i) => ({
      block: blocksOf(model)[i]!.prefix.replace(/\.$/, ''),
      first: byGroup(b.first),
      last: byGroup(b.last),
    })),
    ...(storage !== 'float32' && { storage }),
    ...(halfWidths(options).length > 0 && { half_zeros: halfWidths(options) }),
  };
  const transforms: Named[] = [
    ...(rotate
      ? [
          {
            name: 'rotation',
            signs: signsToText(drawSigns(streamFeatures(model), seed)),
            keys: kvBits <= MAX_BITS,
          },
        ]
      : []),
    ...(norms.length > 0 || isScaled ? [{ name: 'rescaling', norms: Object.fromEntries(norms) }] : []),
  ];
  return {
    embedding_bits: embeddingBits,
    head_bits: headBits,
    ...(kvBits <= MAX_BITS && { kv_bits: kvBits }),
    transforms,
    layers: setLayers({ model, listing }, offered, (bits) => settingsOf(options).groupSizeOf('', bits)),
    method: own as unknown as Artefact['method'],
    tensors,
  };
}
