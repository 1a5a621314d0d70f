/** What a calibration keeps on its way: a file for each block and stage, with the tensors of a set. */
import type { WrittenTensor } from '../../formats/set.js';
import type { PartListing } from '../../models/listing.js';
import { blocksOf, type Model, type Part } from '../../models/model.js';
import { GRID, gridName } from '../activation-grids.js';
import { blockFile, type Kept, type KeptTensor, type ProgressFiles } from '../progress.js';
import { ownersOf } from './quantizers.js';
import type { DirectSettings } from './settings.js';
import { storedBits, tensorsAt, type ReadTensor } from './stored.js';

/** How the weights of a bit-width were made: from one pass, on a stream of their own, trained on one, or trained all at once. */
export const STAGES = ['once', 'stream', 'trained', 'distilled'] as const;
export type Stage = (typeof STAGES)[number];

/** Bit-widths that are trained all blocks at once have a file each. */
export const stageFile = (stage: Stage, index: number, bits?: number): string =>
  blockFile(index, stage === 'once' ? '' : stage === 'distilled' ? `${stage}-${bits!}-` : `${stage}-`);

export const keptName = (layer: string, what: string, bits: number): string => `${layer}.${what}.${bits}`;

export function keepBlock(
  into: Map<string, KeptTensor>,
  layer: string,
  bits: number,
  kept: ReadonlyMap<string, KeptTensor>,
): void {
  for (const [what, tensor] of kept) into.set(keptName(layer, what, bits), tensor);
}

/** Reads the tensors of layers, a block's file at a time. @param stageOf how the weights of a bit-width were made */
export function keptReader(
  model: Model,
  progress: ProgressFiles,
  stageOf: (bits: number) => Stage,
): (part: Part, layer: string) => ReadTensor {
  const latest = new Map<Stage, { readonly file: string; readonly kept: Promise<Kept> }>();
  return (part, layer) => async (what, bits) => {
    const stage = stageOf(bits);
    const file = stageFile(stage, blocksOf(model).indexOf(part), bits);
    if (latest.get(stage)?.file !== file)
      latest.set(stage, { file, kept: progress.load(file).then((kept) => kept!) });
    const { tensors, bytes } = await latest.get(stage)!.kept;
    const name = keptName(layer, what, bits);
    return (bytes.get(name) ?? tensors.get(name)!).data;
  };
}

/** Every tensor of the set, read as its turn comes. */
export function setTensors(
  { model, listing }: { readonly model: Model; readonly listing: (part: Part) => PartListing },
  settings: DirectSettings,
  read: ReturnType<typeof keptReader>,
): Map<string, WrittenTensor> {
  const found = new Map<string, WrittenTensor>();
  if (settings.activations === 'static')
    for (const part of blocksOf(model))
      for (const owner of ownersOf(listing(part), settings))
        for (const bits of settings.offered)
          for (const what of GRID)
            found.set(part.prefix + gridName(owner, what, bits), {
              shape: [1],
              data: () => read(part, owner)(what, bits),
            });
  for (const bits of storedBits(settings))
    for (const part of blocksOf(model))
      for (const layer of listing(part).linears)
        for (const [what, { shape }] of tensorsAt(settings, layer, bits))
          found.set(part.prefix + keptName(layer.name, what, bits), {
            shape,
            data: () => read(part, layer.name)(what, bits),
          });
  return found;
}
