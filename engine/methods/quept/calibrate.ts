/** A whole calibration: block after block, resumable at every epoch, ending in an adapter set. */
import {
  NO_SOURCES,
  type ModelInputs,
  type SampleCache,
  type SampleStore,
  type Sources,
} from '../../execution/sample-store.js';
import { UserError } from '../../errors.js';
import { writeAdapterSet, type AdapterSetConfig, type WrittenTensor } from '../../formats/adapter-set.js';
import type { Checkpoint, HostTensor } from '../../models/checkpoint.js';
import type { PartListing } from '../../models/listing.js';
import { blocksOf, chainsOf, streamWidth, type Chain, type Model, type Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { rotateCheckpoint } from '../../transforms/rotation/checkpoint.js';
import { drawSigns, signsToText } from '../../transforms/rotation/signs.js';
import { cacheOf } from '../../execution/activations.js';
import { adapterLayout, type AdapterLayout } from './adapters.js';
import { openPlainPart, type RunnablePart } from '../../execution/part.js';
import { openElasticPart } from '../../execution/quantized-part.js';
import { GUARD_SAMPLES, keepBetter, keptTensors } from './guard.js';
import { hasOwnStreams } from './merge.js';
import { checkOptions, groupSizesOf, type QueptOptions } from './options.js';
import { MAX_BITS } from '../../plans/bits.js';
import { entering, passPart } from '../../execution/part-by-part.js';
import { openProgress, type FinishedBlock, type SavedProgress } from './progress.js';
import { reconstruct } from './reconstruct.js';
import { foldedParameters } from '../../transforms/fold-norms.js';
import { momentWidth, secondMoments } from '../../execution/moments.js';
import { smooth } from '../../transforms/smooth.js';
import { observe } from '../../execution/observe.js';
import { startActivations, startWeights } from './start.js';
import type { NamedTensors } from '../../execution/tensors.js';
import { batchesOf } from '../../execution/batches.js';
import { advanceStreams } from './streams.js';

/** The calibration set, preprocessed. */
export interface CalibrationSet {
  /** Pixels [channels, height, width] a sample, or ids [tokens]. */
  readonly inputs: ModelInputs;
  readonly name: string;
  readonly fingerprint: string;
}

export interface CalibrationStatus {
  readonly block: number;
  readonly blocks: number;
  /** Whole epochs of this block done. */
  readonly epoch: number;
  readonly epochs: number;
  /** Share of all steps done, 0 to 1. */
  readonly done: number;
  /** Bit-widths of each bit group, high to low. */
  readonly groups: readonly (readonly number[])[];
  /** Mean loss of each bit group over the latest epoch of this block. */
  readonly losses: readonly number[] | undefined;
}

export interface CalibrationHooks {
  readonly signal: AbortSignal;
  status(status: CalibrationStatus): void;
}

export interface CalibrationRequest {
  readonly checkpoint: Checkpoint;
  readonly set: CalibrationSet;
  readonly options: QueptOptions;
  /** The folder of the adapter set; progress is kept in `<out>.partial` until it is complete. */
  readonly out: string;
  /** Whether to go on with what `<out>.partial` holds. */
  readonly resume: boolean;
  /** Holds the activations of the calibration set; the result does not depend on how much of them it keeps in memory. */
  readonly cache: SampleCache;
  readonly engineVersion: string;
}

/** Calibrates a model and writes its adapter set; returns the set's configuration. */
export async function calibrate(
  programs: Programs,
  asked: CalibrationRequest,
  hooks: CalibrationHooks,
): Promise<AdapterSetConfig> {
  const { set, options, out, engineVersion } = asked;
  checkOptions(options);
  const checkpoint = rotated(programs, asked);
  const request = { ...asked, checkpoint };
  const { model } = checkpoint;
  if (set.inputs.samples === 0)
    throw new UserError(`${set.name}: no picture could be read; calibration needs some.`);
  const identity = {
    engine_version: engineVersion,
    model: await checkpoint.fingerprint(),
    calibration: set.fingerprint,
    samples: set.inputs.samples,
    device: programs.runtime.device,
    options: { ...options },
  };
  const progress = await openProgress(out, identity, request.resume);
  const share = options.guard ? guardShare(set.inputs.samples, options) : 0;
  const blocks = await reconstructBlocks(programs, request, progress, {
    signal: hooks.signal,
    status: (status) => hooks.status({ ...status, done: status.done * (1 - share) }),
  });

  const blockOf = async (part: Part) => (await progress.block(blocksOf(model).indexOf(part)))!;
  const layers = layersOf(checkpoint, options);
  const { groups, kept } = options.guard
    ? await keepBetter(programs, request, layers, blockOf, {
        signal: hooks.signal,
        status: (done) => hooks.status({ ...lastStatus(request), done: 1 - share * (1 - done) }),
      })
    : { groups: options.groups, kept: new Set<number>() };
  const config = describe(request, identity.model, blocks, groups);
  const tensors = tensorsOfBlocks(model, blocks, async (part) => keptTensors(await blockOf(part), kept));
  await writeAdapterSet(out, config, tensors);
  await progress.remove();
  return config;
}

/** The checkpoint that is calibrated: as it is, or rotated. */
function rotated(programs: Programs, { checkpoint, options }: CalibrationRequest): Checkpoint {
  if (!options.rotate) return checkpoint;
  const signs = drawSigns(streamWidth(checkpoint.model), options.seed);
  return rotateCheckpoint(programs, checkpoint, { signs, keys: options.kvBits <= MAX_BITS });
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
  blockOf: (part: Part) => Promise<NamedTensors>,
): Map<string, WrittenTensor> {
  let latest: { readonly part: Part; readonly tensors: Promise<NamedTensors> } | undefined;
  const read = async (part: Part, name: string) => {
    if (latest?.part !== part) latest = { part, tensors: blockOf(part) };
    return (await latest.tensors).get(name)!.data;
  };
  return new Map(
    blocksOf(model).flatMap((part, i) =>
      [...blocks[i]!.shapes].map(
        ([name, shape]) => [part.prefix + name, { shape, data: () => read(part, name) }] as const,
      ),
    ),
  );
}

/** The guard's share of the time: its passes through the model among all, a backward pass counting as two. */
function guardShare(samples: number, { groups, epochs }: QueptOptions): number {
  const passes = (1 + 2 * groups.flatMap((g) => g.bits).length) * Math.min(samples, GUARD_SAMPLES);
  const before = samples * (1 + groups.length * (3 * epochs + 1));
  return passes / (passes + before);
}

const lastStatus = ({ checkpoint, options }: CalibrationRequest): Omit<CalibrationStatus, 'done'> => {
  const blocks = blocksOf(checkpoint.model).length;
  return {
    ...{ block: blocks - 1, blocks, epoch: options.epochs, epochs: options.epochs, losses: undefined },
    groups: options.groups.map((g) => g.bits),
  };
};

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

async function reconstructBlocks(
  programs: Programs,
  request: CalibrationRequest,
  progress: SavedProgress,
  hooks: CalibrationHooks,
): Promise<BlockSummary[]> {
  const { checkpoint, set, options } = request;
  const { side = NO_SOURCES } = set.inputs;
  const count = hasOwnStreams(options.merge) ? options.groups.length : 1;
  let feeds: Feeds = { plain: side, streams: Array<Sources>(count).fill(side) };
  const finished: BlockSummary[] = [];
  const stores: SampleStore[] = [];
  for (const chain of chainsOf(checkpoint.model)) {
    const behind = await reconstructChain(programs, request, progress, hooks, chain, feeds, finished);
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
  return finished;
}

/** Adds to `finished`; resolves to what the chain yields, but for the model's last block, which quantized streams do not pass. */
async function reconstructChain(
  programs: Programs,
  request: CalibrationRequest,
  progress: SavedProgress,
  hooks: CalibrationHooks,
  chain: Chain,
  feeds: Feeds,
  finished: BlockSummary[],
): Promise<Activations> {
  const { checkpoint, options, cache } = request;
  const { signal } = hooks;
  const blocks = blocksOf(checkpoint.model);
  /** Full-precision activations, in front of a block until its start is found, then behind it. */
  let { plain, streams } = await embed(programs, request, chain, feeds, signal);
  const { plain: side, streams: sides } = feeds;
  const batch = Math.min(options.batch, plain.samples);

  for (const part of chain.blocks) {
    const index = blocks.indexOf(part);
    const isLast = index + 1 === blocks.length;
    const listing = checkpoint.listing(part);
    const layout = layoutOf(part, listing, options);
    const parameters = await checkpoint.read(part);
    const saved = await progress.block(index);
    const start =
      saved?.tensors ?? (await startBlock(programs, part, listing, layout, parameters, plain, side, options));

    if (!saved || !isLast) {
      const original = await openPlainPart(programs, part, parameters);
      plain = await passPart(programs, part, original, plain, plain, cache, batch, { signal, side }).finally(
        () => original.dispose(),
      );
    }
    const block = saved ?? (await learnBlock());
    if (!saved) await progress.finishBlock(index, block);
    finished.push(summaryOf(block));

    if (!isLast) {
      const folded = foldedParameters(parameters, block.tensors);
      const elastic = await openElasticPart(programs, part, listing, folded, block.tensors);
      streams = await advanceStreams(
        programs,
        part,
        elastic,
        layout,
        streams,
        cache,
        options,
        signal,
        sides,
      ).finally(() => elastic.dispose());
    }

    async function learnBlock(): Promise<FinishedBlock> {
      const task = {
        part,
        layout,
        parameters: foldedParameters(parameters, start),
        start,
        streams,
        sides,
        target: plain,
        block: part.prefix,
      };
      const { learned, first, last } = await reconstruct(
        programs,
        task,
        options,
        {
          signal,
          onStep: (epoch, step, steps, losses) =>
            hooks.status({
              ...{ block: index, blocks: blocks.length, epoch, epochs: options.epochs, losses },
              groups: options.groups.map((g) => g.bits),
              done: (index + step / steps) / blocks.length,
            }),
          save: (snapshot) => progress.saveEpoch(index, snapshot),
        },
        await progress.epoch(index),
      );
      return { tensors: new Map([...start, ...learned]), started: changedByTraining(start), first, last };
    }
  }
  return { plain, streams };
}

/** The inputs of a chain's first block: in full precision, and for each stream with the embedding's weights quantized. */
async function embed(
  programs: Programs,
  { checkpoint, set, options, cache }: CalibrationRequest,
  chain: Chain,
  feeds: Feeds,
  signal: AbortSignal,
): Promise<Activations> {
  const { stem } = chain;
  const batch = Math.min(options.batch, set.inputs.samples);
  const parameters = await checkpoint.read(stem);
  const embedded = (runnable: RunnablePart, side: Sources) => {
    const source = entering(chain, set.inputs, side);
    return passPart(programs, stem, runnable, source, undefined, cache, batch, { signal, side });
  };

  const original = await openPlainPart(programs, stem, parameters);
  const plain = await embedded(original, feeds.plain);
  const quantized = await openElasticPart(programs, stem, checkpoint.listing(stem), parameters, new Map());
  const isQuantized = options.embeddingBits <= MAX_BITS;
  if (isQuantized) await quantized.use({ weight: options.embeddingBits, rank: 0 });
  const streams: SampleStore[] = [];
  for (const side of feeds.streams) streams.push(await embedded(isQuantized ? quantized : original, side));
  original.dispose();
  quantized.dispose();
  return { plain, streams };
}

/** Weight-only leaves activations alone and has a finer grid at low bit-widths. */
export function layoutOf(part: Part, listing: PartListing, options: QueptOptions): AdapterLayout {
  const quantized = options.mode === 'weight-activation';
  const learned = quantized && options.activations === 'static';
  return {
    ...adapterLayout(listing, options.groups, learned, true, groupSizesOf(options)),
    tokens: quantized && !learned,
    cache: cacheOf(part, options.kvBits),
  };
}

/** The starting values that training replaces, but for the adapters, which start without effect. */
const changedByTraining = (start: NamedTensors): NamedTensors =>
  new Map([...start].filter(([name]) => /\.(clip_upper|clip_lower|act_scale)\.\d$/.test(name)));

/** Starting values of everything a block's adapter tensors hold. */
async function startBlock(
  programs: Programs,
  part: Part,
  listing: PartListing,
  layout: AdapterLayout,
  parameters: ReadonlyMap<string, HostTensor>,
  inputs: SampleStore,
  side: Sources,
  options: QueptOptions,
): Promise<NamedTensors> {
  const batch = Math.min(options.batch, inputs.samples);
  const slices = () => batchesOf(part, inputs, side, Math.min(options.rangeSamples, inputs.samples), batch);
  const observed = await observe(programs, part, layout.quantizers, parameters, slices(), batch);
  const folds = startActivations(listing, layout, parameters, observed, options);
  const moments = (changes: NamedTensors) =>
    secondMoments(
      programs,
      part,
      listing,
      foldedParameters(parameters, changes),
      slices(),
      batch,
      momentWidth(options),
    );
  if (options.smooth) {
    const bits = layout.groups.flatMap((g) => g.bits);
    const groupSizeOf = (b: number) => layout.groupSizes[layout.groups.findIndex((g) => g.bits.includes(b))]!;
    const setting = { bits, groupSizeOf };
    const scales = await smooth(programs, part, listing, parameters, await moments(folds), setting);
    for (const [name, tensor] of scales) folds.set(name, tensor);
  }
  const weights = await startWeights(
    programs,
    layout,
    parameters,
    folds,
    options,
    part.prefix,
    await moments(folds),
  );
  return new Map([...folds, ...weights]);
}

/** Every quantized layer of the model, by its full name. */
export function layersOf(
  checkpoint: Checkpoint,
  options: Pick<QueptOptions, 'groups' | 'groupSize'>,
): AdapterSetConfig['layers'] {
  const sizes = groupSizesOf(options);
  const bySetting = Object.fromEntries(options.groups.flatMap((g, i) => g.bits.map((b) => [b, sizes[i]!])));
  const group_size = sizes.every((size) => size === -1) ? -1 : bySetting;
  return Object.fromEntries(
    blocksOf(checkpoint.model).flatMap((part) =>
      checkpoint
        .listing(part)
        .linears.map(
          (l) =>
            [
              part.prefix + l.name,
              { in: l.in, out: l.out, group_size, input: part.prefix + l.input },
            ] as const,
        ),
    ),
  );
}

function describe(
  { checkpoint, set, options, engineVersion }: CalibrationRequest,
  fingerprint: string,
  blocks: readonly BlockSummary[],
  kept: AdapterSetConfig['bit_groups'],
): AdapterSetConfig {
  const { model, name } = checkpoint;
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
    ...rest
  } = options;
  const listings = blocksOf(model).map((part) => [part.prefix, checkpoint.listing(part)] as const);
  const byGroup = (losses: readonly number[]) =>
    Object.fromEntries(groups.map((g, i) => [g.bits.join(), losses[i]!]));
  const norms = listings.flatMap(([prefix, listing], i) =>
    listing.norms
      .filter((n) => blocks[i]!.shapes.has(`${n.name}.weight`))
      .map((n) => [prefix + n.name, n.width] as const),
  );
  return {
    schema_version: 1,
    engine_version: engineVersion,
    method: 'quept',
    mode,
    model: { family: model.family, fingerprint, name },
    calibration: { fingerprint: set.fingerprint, samples: set.inputs.samples, name: set.name },
    bit_groups: kept,
    embedding_bits: embeddingBits,
    head_bits: headBits,
    seed,
    ...(rotate && { rotation: { signs: signsToText(drawSigns(streamWidth(model), seed)) } }),
    ...(kvBits <= MAX_BITS && { kv_bits: kvBits }),
    hyperparameters: { ...rest, rate_lora: rates.lora, rate_clip: rates.clip, rate_scale: rates.scale },
    layers: layersOf(checkpoint, options),
    products:
      mode === 'weight-only' || options.activations === 'dynamic'
        ? []
        : listings.flatMap(([prefix, { operands }]) => operands.map((o) => prefix + o)),
    norms: Object.fromEntries(norms),
    losses: blocks.map((b, i) => ({
      block: blocksOf(model)[i]!.prefix.replace(/\.$/, ''),
      first: byGroup(b.first),
      last: byGroup(b.last),
    })),
  };
}
