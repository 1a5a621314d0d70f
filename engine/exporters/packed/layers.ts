/** The layers of a packed checkpoint, and what holds each. */
import { show } from '../../formats/paths.js';
import type { LinearEntry } from '../../models/listing.js';
import { blocksOf, partsOf, type LanguageModel, type Part } from '../../models/model.js';
import type { ExportContext } from '../exporter.js';
import { exportedForm } from '../layer-weight.js';
import { refuseMerged } from '../merged.js';
import { isQuantized, linearOf, ownersOf } from '../parameters.js';
import { containerFor, type Container, type PackedFormat } from './containers.js';

/** A quantized layer. */
export interface Layer {
  readonly part: Part;
  readonly entry: LinearEntry;
}

export const nameOf = ({ part, entry }: Layer) => part.prefix + entry.name;

/**
 * Layers that are packed, by the names of their weights in the checkpoint: those of blocks. Readers pack no others, which have the
 * values that the set makes of them, as in a merged checkpoint.
 */
export function layersOf(context: ExportContext): ReadonlyMap<string, Layer> {
  const blocks = blocksOf(context.source.checkpoint.model);
  const layers = [...ownersOf(context)].flatMap(([name, owners]) =>
    owners
      .filter((owner) => blocks.includes(owner.part) && isQuantized(context, owner))
      .map((owner) => [name, { part: owner.part, entry: linearOf(context, owner)! }] as const),
  );
  return new Map(layers);
}

/** Full names of layers that are not packed. */
export function floatingLayers(context: ExportContext): string[] {
  const { model, listing } = context.source.checkpoint;
  const packed = new Set([...layersOf(context).values()].map(nameOf));
  const names = partsOf(model).flatMap((part) => listing(part).linears.map(({ name }) => part.prefix + name));
  return names.filter((name) => !packed.has(name));
}

/** What holds each quantized layer by its full name, or why the format cannot hold one, in a line. */
export function containersOf(
  context: ExportContext,
  title: string,
  format: PackedFormat,
): ReadonlyMap<string, Container> | string {
  const containers = new Map<string, Container>();
  for (const layer of layersOf(context).values()) {
    const container = containerFor(format, exportedForm(context, layer.part, layer.entry));
    if (typeof container === 'string')
      return `The layer ${show(nameOf(layer))} ${container}, which ${title} cannot hold.`;
    containers.set(nameOf(layer), container);
  }
  const isText = context.original.model.reads === 'tokens';
  const { leastGroup = isText ? undefined : 1 } = format;
  if (leastGroup === undefined) return containers;
  const shared = inOneGroupSize(containers, title, leastGroup);
  if (isText || typeof shared === 'string') return shared;
  // transformers calls layers of pictures' models otherwise than their checkpoints do, so that the config cannot name some of them.
  const kinds = new Set([...shared.values()].map(({ bits, isSymmetric }) => `${bits} ${isSymmetric}`));
  return kinds.size === 1
    ? shared
    : `The plan's bits take several containers, which ${title} cannot tell apart in a picture classifier; give all layers the same bits, or export it as onnx.`;
}

/** All in groups of one size, which all of them are made of. */
function inOneGroupSize(
  containers: ReadonlyMap<string, Container>,
  title: string,
  least: number,
): ReadonlyMap<string, Container> | string {
  const sizes = [...new Set([...containers.values()].map(({ groupSize }) => groupSize))];
  if (sizes.length === 1 && (sizes[0] === -1 || isKnown(sizes[0]!))) return containers;
  // The columns of whole rows are a multiple of it too.
  const columns = [...containers.values()].map((one) => (one.groupSize === -1 ? one.columns : one.groupSize));
  const common = columns.reduce((a, b) => {
    while (b > 0) [a, b] = [b, a % b];
    return a;
  });
  const groupSize = common & -common;
  if (!isKnown(groupSize))
    return `The layers have groups of no one size of at least ${least} columns, which all layers of ${title} share.`;
  return new Map([...containers].map(([name, container]) => [name, { ...container, groupSize }]));

  function isKnown(size: number): boolean {
    return size >= least && (size & -size) === size;
  }
}

/** Why a packed checkpoint cannot hold a set. */
export function refusePacked(
  context: ExportContext,
  title: string,
  format: PackedFormat,
): string | undefined {
  const { model } = context.original;
  if (model.reads !== 'tokens' && !format.holdsPictures)
    return `${title} is written of language models, which its readers load, not of ${show(model.family, 40)}.`;
  const { layersAre } = model as LanguageModel;
  if (layersAre !== undefined)
    return `${title} holds linear modules, and the layers of ${show(model.family, 40)} are ${layersAre}.`;
  const reason = refuseMerged(context);
  if (reason !== undefined) return reason;
  const containers = containersOf(context, title, format);
  return typeof containers === 'string' ? containers : undefined;
}
