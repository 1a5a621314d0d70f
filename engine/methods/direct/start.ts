/**
 * What weights and activations start from (docs/METHOD.md, section 13): a language model is rotated; where activations have
 * grids, norms are folded, so that one grid fits all channels, and grids are searched on the model in full precision.
 */
import { percentileStart } from '../../execution/activation-ranges.js';
import { batchesOf } from '../../execution/batches.js';
import { observe } from '../../execution/observe.js';
import { plainParts } from '../../execution/part-by-part.js';
import type { ActivationForm } from '../../execution/source.js';
import type { ModelInputs } from '../../execution/sample-store.js';
import type { NamedTensors } from '../../execution/tensors.js';
import type { WrittenTensor } from '../../formats/set.js';
import type { Named } from '../../formats/set-config.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import { blocksOf, streamFeatures, type Part } from '../../models/model.js';
import { MAX_BITS } from '../../plans/bits.js';
import type { Programs } from '../../runtime/programs.js';
import { foldedNorm } from '../../transforms/fold-norms.js';
import { rescaled } from '../../transforms/rescaling.js';
import { rotateCheckpoint } from '../../transforms/rotation/checkpoint.js';
import { drawSigns, signsToText } from '../../transforms/rotation/signs.js';
import { GRID, gridName, gridTensors } from '../activation-grids.js';
import type { CalibrationContext } from '../method.js';
import { blockFile, type KeptTensor } from '../progress.js';
import { walkBlocks, type BlockAt } from '../walk.js';
import { ownersOf } from './quantizers.js';
import { cut } from './samples.js';
import type { DirectSettings } from './settings.js';

/** Ranges of activations that are tried, by their quantiles, and samples that are looked at (docs/METHOD.md, section 3). */
const PERCENTILES = [0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 0.9999, 0.99999];
const RANGE_SAMPLES = 256;

export interface Started {
  /** The checkpoint that is calibrated. */
  readonly checkpoint: Checkpoint;
  readonly transforms: readonly Named[];
  /** What a set keeps of the transforms. */
  readonly tensors: ReadonlyMap<string, WrittenTensor>;
}

const startFile = (index: number): string => blockFile(index, 'start-');

export async function start(
  context: CalibrationContext,
  settings: DirectSettings,
  status: (done: number, block: number) => void,
): Promise<Started> {
  const { programs, checkpoint } = context;
  if (settings.rotate) return rotated(programs, checkpoint, settings);
  if (settings.activations !== 'static') return { checkpoint, transforms: [], tensors: new Map() };
  const { inputs } = context.set!;
  await searchStarts(context, settings, cut(inputs, 0, Math.min(RANGE_SAMPLES, inputs.samples)), status);
  return folded(context);
}

function rotated(programs: Programs, checkpoint: Checkpoint, { seed, kvBits }: DirectSettings): Started {
  const signs = drawSigns(streamFeatures(checkpoint.model), seed);
  const keys = kvBits <= MAX_BITS;
  return {
    checkpoint: rotateCheckpoint(programs, checkpoint, { signs, keys }),
    transforms: [{ name: 'rotation', signs: signsToText(signs), keys }],
    tensors: new Map(),
  };
}

/** Keeps of every block what folds its norms, and grids of the folded block's activations. */
async function searchStarts(
  context: CalibrationContext,
  settings: DirectSettings,
  inputs: ModelInputs,
  status: (done: number, block: number) => void,
): Promise<void> {
  const { programs, checkpoint, progress } = context;
  const blocks = blocksOf(checkpoint.model).length;
  const plain = plainParts(programs, checkpoint);
  await walkBlocks(context, inputs, [plain], async (block) => {
    const { index } = block;
    status(index / blocks, index);
    if (!progress.has(startFile(index)))
      await progress.save(startFile(index), await startOf(programs, settings, block), {});
    return [block.parameters];
  });
}

async function startOf(
  programs: Programs,
  settings: DirectSettings,
  { part, listing, parameters, streams, batch }: BlockAt,
): Promise<Map<string, KeptTensor>> {
  const { offered } = settings;
  const [{ x, side }] = streams as [BlockAt['streams'][number]];
  const owners = ownersOf(listing, settings);
  const batches = batchesOf(part, x, side, x.samples, batch);
  const seen = await observe(programs, part, owners, parameters, batches, batch);
  const kept = new Map<string, KeptTensor>();
  for (const owner of owners) {
    const own = seen.get(owner)!;
    const norm = listing.linears.find(({ name }) => name === owner)?.norm;
    // What a norm is shifted by goes into its bias, and out again in those of all layers that read it.
    const readers = listing.linears.filter((layer) => layer.norm === norm);
    const hasBias = (name: string) => parameters.has(`${name}.bias`);
    if (norm !== undefined && [norm, ...readers.map(({ name }) => name)].every(hasBias)) {
      const lowest = Math.min(...offered);
      for (const [name, tensor] of foldedNorm({ listing, parameters }, norm, own, lowest, PERCENTILES))
        kept.set(name, tensor);
    }
    percentileStart(own.data, offered, PERCENTILES).forEach((grid, i) => {
      for (const [name, tensor] of gridTensors(owner, grid, offered[i]!)) kept.set(name, tensor);
    });
    // Nothing else is made of them.
    seen.delete(owner);
  }
  return kept;
}

/** The checkpoint with its norms folded, as they were found. */
async function folded({ checkpoint, progress }: CalibrationContext): Promise<Started> {
  const { model, listing } = checkpoint;
  const blocks = blocksOf(model);
  const tensors = new Map<string, WrittenTensor>();
  const norms: Record<string, number> = {};
  const kept = new Map<Part, NamedTensors>();
  for (const [index, part] of blocks.entries()) {
    const own = foldsIn((await progress.load(startFile(index)))!.tensors);
    kept.set(part, own);
    for (const [name, { shape, data }] of own)
      tensors.set(part.prefix + name, { shape, data: () => Promise.resolve(data) });
    for (const { name, features } of listing(part).norms)
      if (own.has(`${name}.weight`)) norms[part.prefix + name] = features;
  }
  if (tensors.size === 0) return { checkpoint, transforms: [], tensors };
  return {
    checkpoint: rescaled(checkpoint, (part) => Promise.resolve(kept.get(part)!)),
    transforms: [{ name: 'rescaling', norms }],
    tensors,
  };
}

const isGrid = (name: string) => /\.act_(scale|zero)\.\d+$/.test(name);
const foldsIn = (tensors: NamedTensors): NamedTensors =>
  new Map([...tensors].filter(([name]) => !isGrid(name)));

/** The grids of a block that the model in full precision has. */
export async function startedGrids(
  { progress }: Pick<CalibrationContext, 'progress'>,
  index: number,
): Promise<NamedTensors> {
  const kept = await progress.load(startFile(index));
  return new Map([...(kept?.tensors ?? [])].filter(([name]) => isGrid(name)));
}

/** How the activations of a block are quantized at a bit-width: on its grids, or per token where it has none. */
export const formIn =
  (grids: NamedTensors, bits: number) =>
  (owner: string): ActivationForm => {
    const [scale, zero] = GRID.map((what) => grids.get(gridName(owner, what, bits))?.data[0]);
    return scale === undefined || zero === undefined ? 'token' : { scale, zero };
  };
