/** A whole calibration: block after block, resumable at every epoch, ending in an adapter set. */
import { UserError } from '../../errors.js';
import { writeAdapterSet, type AdapterSetConfig } from '../../formats/adapter-set.js';
import type { Checkpoint, HostTensor } from '../../models/checkpoint.js';
import type { PartListing } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { adapterLayout, type AdapterLayout } from './adapters.js';
import { openElasticPart, openPlainPart } from './execution.js';
import { checkOptions, groupSizesOf, MAX_BITS, type QueptOptions } from './options.js';
import { hasOwnStreams } from './merge.js';
import { keepBetter } from './guard.js';
import { openProgress, type FinishedBlock, type SavedProgress } from './progress.js';
import { reconstruct } from './reconstruct.js';
import { foldedParameters } from './reparameterise.js';
import { inputImportance, observe, startActivations, startWeights } from './start.js';
import type { NamedTensors } from './state.js';
import { advanceStreams, runAll, type Samples } from './streams.js';

/** The calibration set, preprocessed. */
export interface CalibrationSet {
  /** Model inputs, sample after sample: pixels [samples, channels, height, width], or ids [samples, tokens]. */
  readonly inputs: Samples;
  readonly samples: number;
  readonly name: string;
  readonly fingerprint: string;
}

export interface CalibrationStatus {
  readonly block: number;
  readonly blocks: number;
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
  readonly engineVersion: string;
}

/** Calibrates a model and writes its adapter set; returns the set's configuration. */
export async function calibrate(
  programs: Programs,
  request: CalibrationRequest,
  hooks: CalibrationHooks,
): Promise<AdapterSetConfig> {
  const { checkpoint, set, options, out, engineVersion } = request;
  const { model } = checkpoint;
  checkOptions(options);
  if (set.samples === 0)
    throw new UserError(`${set.name}: no picture could be read; calibration needs some.`);
  const identity = {
    engine_version: engineVersion,
    model: await checkpoint.fingerprint(),
    calibration: set.fingerprint,
    samples: set.samples,
    device: programs.runtime.device,
    options: { ...options },
  };
  const progress = await openProgress(out, identity, request.resume);
  const blocks = await reconstructBlocks(programs, request, progress, hooks);

  const whole = (pick: (block: FinishedBlock) => NamedTensors): NamedTensors =>
    new Map(
      model.blocks.flatMap((part, i) =>
        [...pick(blocks[i]!)].map(([name, tensor]) => [part.prefix + name, tensor] as const),
      ),
    );
  const learned = whole((block) => block.tensors);
  const { groups, tensors } = options.guard
    ? await keepBetter(
        programs,
        checkpoint,
        learned,
        whole((block) => block.started),
        set.inputs,
        set.samples,
        options,
        layersOf(checkpoint, options),
        hooks.signal,
      )
    : { groups: options.groups, tensors: learned };
  const config = describe(request, identity.model, blocks, groups);
  await writeAdapterSet(out, config, tensors);
  await progress.remove();
  return config;
}

async function reconstructBlocks(
  programs: Programs,
  { checkpoint, set, options }: CalibrationRequest,
  progress: SavedProgress,
  hooks: CalibrationHooks,
): Promise<FinishedBlock[]> {
  const { model } = checkpoint;
  const { samples } = set;
  const batch = Math.min(options.batch, samples);
  const sampleSize = model.tokens * model.width;
  let { plain, streams } = await embed(programs, checkpoint, set, options, sampleSize, batch);

  const finished: FinishedBlock[] = [];
  for (const [index, part] of model.blocks.entries()) {
    const listing = checkpoint.listing(part);
    const layout = layoutOf(listing, options);
    const parameters = await checkpoint.read(part);
    const original = await openPlainPart(programs, part, parameters);
    const target = await runAll(programs, part, original, plain, samples, sampleSize, batch).finally(() =>
      original.dispose(),
    );

    const saved = await progress.block(index);
    const block = saved ?? (await learnBlock());
    if (!saved) await progress.finishBlock(index, block);
    finished.push(block);

    if (index + 1 < model.blocks.length) {
      const elastic = await openElasticPart(
        programs,
        part,
        listing,
        foldedParameters(parameters, block.tensors),
        block.tensors,
      );
      streams = await advanceStreams(programs, part, elastic, layout, streams, samples, options).finally(() =>
        elastic.dispose(),
      );
    }
    plain = target;

    async function learnBlock(): Promise<FinishedBlock> {
      const start = await startBlock(programs, part, listing, layout, parameters, plain, samples, options);
      const task = {
        part,
        layout,
        parameters: foldedParameters(parameters, start),
        start,
        streams,
        target,
        samples,
        block: part.prefix,
      };
      const { learned, first, last } = await reconstruct(
        programs,
        task,
        options,
        {
          signal: hooks.signal,
          onStep: (epoch, step, steps, losses) =>
            hooks.status({
              ...{ block: index, blocks: model.blocks.length, epoch, epochs: options.epochs, losses },
              groups: options.groups.map((g) => g.bits),
              done: (index + step / steps) / model.blocks.length,
            }),
          save: (snapshot) => progress.saveEpoch(index, snapshot),
        },
        await progress.epoch(index),
      );
      return { tensors: new Map([...start, ...learned]), started: changedByTraining(start), first, last };
    }
  }
  return finished;
}

/** The inputs of the first block: in full precision, and with the embedding's weights quantized. */
async function embed(
  programs: Programs,
  checkpoint: Checkpoint,
  set: CalibrationSet,
  options: QueptOptions,
  sampleSize: number,
  batch: number,
) {
  const { stem } = checkpoint.model;
  const parameters = await checkpoint.read(stem);
  const original = await openPlainPart(programs, stem, parameters);
  const quantized = await openElasticPart(programs, stem, checkpoint.listing(stem), parameters, new Map());
  const run = (runnable: typeof original) =>
    runAll(programs, stem, runnable, set.inputs, set.samples, sampleSize, batch);
  const plain = await run(original);
  const embedded = options.embeddingBits > MAX_BITS ? plain : await quantizedEmbedding();
  const streams = hasOwnStreams(options.merge) ? options.groups.map(() => embedded) : [embedded];
  original.dispose();
  quantized.dispose();
  return { plain, streams };

  async function quantizedEmbedding(): Promise<Float32Array> {
    await quantized.use({ weight: options.embeddingBits, rank: 0 });
    return run(quantized);
  }
}

/** Weight-only leaves activations alone and has a finer grid at low bit-widths. */
const layoutOf = (listing: PartListing, options: QueptOptions): AdapterLayout =>
  adapterLayout(listing, options.groups, options.mode === 'weight-activation', true, groupSizesOf(options));

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
  inputs: Float32Array,
  samples: number,
  options: QueptOptions,
): Promise<NamedTensors> {
  const batch = Math.min(options.batch, samples);
  const batches = Math.max(1, Math.floor(Math.min(options.rangeSamples, samples) / batch));
  const size = (inputs.length / samples) * batch;
  const slices = Array.from({ length: batches }, (_, i) => inputs.subarray(i * size, (i + 1) * size));
  const names = new Set([...listing.linears.map((l) => l.input), ...layout.quantizers]);
  const observed = await observe(programs, part, [...names], parameters, slices, batch);
  const activations = startActivations(listing, layout, parameters, observed, options);
  const importance = inputImportance(listing, observed);
  const weights = await startWeights(
    programs,
    layout,
    parameters,
    activations,
    options,
    part.prefix,
    importance,
  );
  return new Map([...activations, ...weights]);
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
    checkpoint.model.blocks.flatMap((part) =>
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
  blocks: readonly FinishedBlock[],
  kept: AdapterSetConfig['bit_groups'],
): AdapterSetConfig {
  const { model, name } = checkpoint;
  const { mode, groups, rates, embeddingBits, headBits, seed, samples: _samples, ...rest } = options;
  const listings = model.blocks.map((part) => [part.prefix, checkpoint.listing(part)] as const);
  const byGroup = (losses: readonly number[]) =>
    Object.fromEntries(groups.map((g, i) => [g.bits.join(), losses[i]!]));
  const norms = listings.flatMap(([prefix, listing], i) =>
    listing.norms
      .filter((n) => blocks[i]!.tensors.has(`${n.name}.weight`))
      .map((n) => [prefix + n.name, n.width] as const),
  );
  return {
    schema_version: 1,
    engine_version: engineVersion,
    method: 'quept',
    mode,
    model: { family: model.family, fingerprint, name },
    calibration: { fingerprint: set.fingerprint, samples: set.samples, name: set.name },
    bit_groups: kept,
    embedding_bits: embeddingBits,
    head_bits: headBits,
    seed,
    hyperparameters: { ...rest, rate_lora: rates.lora, rate_clip: rates.clip, rate_scale: rates.scale },
    layers: layersOf(checkpoint, options),
    products:
      mode === 'weight-only'
        ? []
        : listings.flatMap(([prefix, { operands }]) => operands.map((o) => prefix + o)),
    norms: Object.fromEntries(norms),
    losses: blocks.map((b, i) => ({
      block: model.blocks[i]!.prefix.replace(/\.$/, ''),
      first: byGroup(b.first),
      last: byGroup(b.last),
    })),
  };
}
