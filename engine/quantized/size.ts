/**
 * How large a model is: in full precision, and with its weights quantized. Every size of a model that people are shown, and
 * every budget of bytes, is one of these two (docs/EVALUATION.md, Size).
 */
import { sizeOf } from '../graph/ir.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { storedName, type ParameterEntry } from '../models/listing.js';
import { blocksOf, partsOf, type Part } from '../models/model.js';
import { bytesOf, FLOAT_BYTES, type WeightForm } from './form.js';

/** What sizes need of a quantized model; a `QuantizedSource` has it. */
export interface SizedModel {
  /** Transforms applied. */
  readonly checkpoint: Pick<Checkpoint, 'model' | 'listing'>;
  /** The one bit-width of a stem's or head's layers; undefined where they stay in floating point. */
  readonly fixedBits: (part: Part) => number | undefined;
  /** @param layer its full name */
  readonly form: (layer: string, bits: number) => WeightForm;
}

/** Bytes on disk of the parameters that the model uses: its size in full precision. A tensor that several parts share counts once. */
export function checkpointBytes(checkpoint: Checkpoint): number {
  const names = new Set(
    partsOf(checkpoint.model).flatMap((part) =>
      checkpoint.listing(part).parameters.map((entry) => storedName(part, entry)),
    ),
  );
  return [...names].reduce((sum, name) => sum + checkpoint.source.tensors.get(name)!.byteLength, 0);
}

/**
 * Bits per weight of the linear layers of blocks, everything stored counted.
 * @param widths one for all layers, or by full name; a layer of none stays in floating point
 */
export function storedAverage(
  { checkpoint: { model, listing }, form }: SizedModel,
  widths: number | ((layer: string) => number | undefined),
): number {
  let [bytes, weights] = [0, 0];
  for (const part of blocksOf(model))
    for (const { name, in: columns, out } of listing(part).linears) {
      const layer = part.prefix + name;
      const bits = typeof widths === 'number' ? widths : widths(layer);
      bytes += bits === undefined ? columns * out * FLOAT_BYTES : bytesOf(form(layer, bits));
      weights += columns * out;
    }
  return (8 * bytes) / weights;
}

/**
 * Bytes of the model as it would ship: the linear layers of its blocks at their bit-widths, adapters folded in, embedding
 * and head at those of their own, and everything else in float16. A tensor that several parts share counts once, unless they store it differently.
 * @param widths one for all layers of blocks, or by full name; a layer of none stays in floating point
 */
export function quantizedBytes(
  { checkpoint, fixedBits, form }: SizedModel,
  widths: number | ((layer: string) => number | undefined),
): number {
  const { model, listing } = checkpoint;
  const blocks = new Set(blocksOf(model));
  const formOf = (
    part: Part,
    linear: { readonly name: string; readonly in: number; readonly out: number },
  ) => {
    const name = part.prefix + linear.name;
    if (blocks.has(part)) {
      const bits = typeof widths === 'number' ? widths : widths(name);
      return bits === undefined ? undefined : { bits, form: form(name, bits) };
    }
    const bits = fixedBits(part);
    const { in: columns, out } = linear;
    return bits === undefined
      ? undefined
      : { bits, form: { kind: 'grid', in: columns, out, bits, groupSize: -1 } as const };
  };
  const stored = new Map<string, number>();
  const addParameter = (part: Part, entry: ParameterEntry) => {
    const name = storedName(part, entry);
    const linear = listing(part).linears.find((l) => entry.name === `${l.name}.weight`);
    const found = linear && formOf(part, linear);
    if (found) stored.set(`${name} at ${found.bits} bits`, bytesOf(found.form));
    else stored.set(name, sizeOf(entry.shape) * FLOAT_BYTES);
  };
  for (const part of partsOf(model)) for (const entry of listing(part).parameters) addParameter(part, entry);
  return [...stored.values()].reduce((sum, size) => sum + size, 0);
}
