/** How large a model is: on disk, and as integers at a bit-width. */
import { groupSizeOf, type AdapterLayer } from '../formats/adapter-set.js';
import { sizeOf } from '../graph/ir.js';
import type { Adapters, Widths } from '../execution/quantized-model.js';
import { MAX_BITS } from '../plans/bits.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { storedName, type ParameterEntry } from '../models/listing.js';
import { blocksOf, partsOf, type Part } from '../models/model.js';
import type { RowHead } from '../protocol/protocol.js';

/** Of a float16. */
const FLOAT_BYTES = 2;

/** Bytes on disk of the parameters that the model uses; a tensor that several parts share counts once. */
export function checkpointBytes(checkpoint: Checkpoint): number {
  const names = new Set(
    partsOf(checkpoint.model).flatMap((part) =>
      checkpoint.listing(part).parameters.map((entry) => storedName(part, entry)),
    ),
  );
  return [...names].reduce((sum, name) => sum + checkpoint.source.tensors.get(name)!.byteLength, 0);
}

/** What the row of full precision says of its model. */
export const fullHead = (checkpoint: Checkpoint): RowHead => ({
  ...{ label: 'full', kind: 'full', bits: 'fp' },
  bytes: checkpointBytes(checkpoint),
});

/**
 * Bytes of a weight [out, in] at `bits`: its integers packed without gaps, and for each group of `groupSize` columns of a
 * row (-1: for each row) a float16 scale and a zero point of `bits` bits, packed likewise.
 */
export function weightBytes(
  { in: columns, out }: Pick<AdapterLayer, 'in' | 'out'>,
  bits: number,
  groupSize = -1,
): number {
  const scales = out * (groupSize === -1 ? 1 : Math.ceil(columns / groupSize));
  return Math.ceil((out * columns * bits) / 8) + scales * FLOAT_BYTES + Math.ceil((scales * bits) / 8);
}

/**
 * Bytes of the model with the linear layers of its blocks at their widths, embedding and head at widths of their own, and
 * everything else in float16. A tensor that several parts share counts once, unless they store it differently, as those of
 * a rotated model do.
 */
export function quantizedBytes(
  checkpoint: Checkpoint,
  config: Pick<Adapters['config'], 'embedding_bits' | 'head_bits' | 'layers' | 'rotation'>,
  widths: Widths,
): number {
  const { model } = checkpoint;
  const blocks = new Set(blocksOf(model));
  const bitsOf = (part: Part, layer: string) => {
    if (part === model.head) return config.head_bits;
    if (!blocks.has(part)) return config.embedding_bits;
    return typeof widths === 'number' ? widths : (widths(part.prefix + layer) ?? Infinity);
  };
  const stored = new Map<string, number>();
  const addParameter = (part: Part, entry: ParameterEntry) => {
    const name = config.rotation ? part.prefix + entry.name : storedName(part, entry);
    const linear = checkpoint.listing(part).linears.find((l) => entry.name === `${l.name}.weight`);
    const width = linear && bitsOf(part, linear.name);
    if (!linear || width === undefined || width > MAX_BITS)
      return stored.set(name, sizeOf(entry.shape) * FLOAT_BYTES);
    const layer = config.layers[part.prefix + linear.name];
    const size = weightBytes(linear, width, layer && groupSizeOf(layer, width));
    return stored.set(`${name} at ${width} bits`, size);
  };
  for (const part of partsOf(model))
    for (const entry of checkpoint.listing(part).parameters) addParameter(part, entry);
  return [...stored.values()].reduce((sum, size) => sum + size, 0);
}
