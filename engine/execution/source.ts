/** What a calibration yielded, as everything that runs, measures or exports it sees it, whatever the method. */
import { UserError } from '../errors.js';
import type { Checkpoint, HostTensor } from '../models/checkpoint.js';
import type { LinearEntry } from '../models/listing.js';
import { blocksOf, type Model, type Part } from '../models/model.js';
import type { WeightForm } from '../quantized/form.js';
import { toFloats, type QuantizedWeight } from '../quantized/weight.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';
import type { Grid } from './activation-ranges.js';

/** How an activation is quantized: on a static grid, or per token as it comes. */
export type ActivationForm = Grid | 'token';

export interface QuantizedSource {
  /** Bit-widths that every layer of the blocks can be run at, ascending: 1 to 8, or averages such as 2.3. */
  readonly offered: readonly number[];
  /** Transforms applied: unquantized, its function is the original model's. */
  readonly checkpoint: Checkpoint;
  /** Bit-width of keys and values in the cache; undefined where they stay in floating point. */
  readonly cache: number | undefined;
  /** The one bit-width of a stem's or head's layers; undefined where they stay in floating point. */
  readonly fixedBits: (part: Part) => number | undefined;
  /** What a layer takes at an offered bit-width. @param layer its full name */
  readonly form: (layer: string, bits: number) => WeightForm;
  /** The weight of a layer at an offered bit-width. @param layer its full name */
  weight(layer: string, bits: number): Promise<QuantizedWeight>;
  /**
   * How an activation is quantized when layers that read it run at `bits`; undefined where it is not.
   * @param owner full name of the first layer that reads it, or of the operand
   */
  activation(owner: string, bits: number): Promise<ActivationForm | undefined>;
  /** Absent where weights are not all rounded to nearest, from the checkpoint's own and products of low rank. */
  readonly nearest?: NearestWeights;
  /**
   * How many codes one at `bits` can be of, counted from what the 8-bit weight comes to on its grid (`elastic/codes.ts`):
   * 2, 4, or undefined where it can be any.
   */
  readonly beside?: (bits: number) => 2 | 4 | undefined;
  /** Opens a block to be run; absent where `weight` and `activation` are all there is to it (`partOf`). */
  readonly part?: (part: Part) => Promise<PartSource>;
}

/** Weights that are the nearest of their grid to W + gain · B[:, :rank] A[:rank, :], W the checkpoint's. */
export interface NearestWeights {
  /** Directions of every layer: the rows of A. */
  readonly rank: number;
  /** Those that a bit-width uses, and what multiplies their product. */
  at(bits: number): { readonly rank: number; readonly gain: number };
  /** A [rank, in] and B [out, rank]. @param layer its full name */
  factors(layer: string): Promise<{ readonly a: Float32Array; readonly b: Float32Array }>;
}

/** What running one part needs. Names are local to the part. */
export interface PartSource {
  /** Of the part, transforms applied. */
  readonly parameters: ReadonlyMap<string, HostTensor>;
  activation(owner: string, bits: number): ActivationForm | undefined;
  readonly cache: number | undefined;
  /**
   * Makes the weights of the part's layers on the device.
   * @param placed their unquantized weights there, by layer; they stay the caller's
   */
  weights(programs: Programs, placed: ReadonlyMap<string, Tensor>, memory: KeptMemory): PartWeights;
}

export interface PartWeights {
  /** Q(W) in float32 [out, in], the caller's to dispose of. */
  quantize(layer: LinearEntry, bits: number): Promise<Tensor>;
  /** Gives back what was kept between switches. */
  dispose(): void;
}

/** Memory for what a source keeps on the device between switches, shared by all parts that are given it. */
export interface KeptMemory {
  /** Bytes. */
  left: number;
}

/** The highest bit-width that is quantized: 16 and 32 stand for floating point. */
const MOST_BITS = 8;

/** The bit-widths of stems and head (`QuantizedSource.fixedBits`). @param embedding,head 2 to 8, or more for floating point */
export function fixedBits(model: Model, embedding: number, head: number): (part: Part) => number | undefined {
  const blocks = new Set(blocksOf(model));
  return (part) => {
    if (blocks.has(part)) return undefined;
    const bits = part === model.head ? head : embedding;
    return bits <= MOST_BITS ? bits : undefined;
  };
}

/** Throws UserError for a bit-width that is not offered. */
export function requireOffered(offered: readonly number[], bits: number): void {
  if (!offered.includes(bits))
    throw new UserError(
      `The adapter set has no ${bits}-bit setting; it has ${[...offered].sort((a, b) => b - a).join(', ')}.`,
    );
}

/** Opens a block of a source, by the weights and activations that it names where it does not do so itself. */
export async function partOf(source: QuantizedSource, part: Part): Promise<PartSource> {
  if (source.part) return source.part(part);
  const { checkpoint, cache } = source;
  const { linears, operands } = checkpoint.listing(part);
  const forms = new Map<string, ActivationForm>();
  for (const owner of new Set([...linears.map(({ input }) => input), ...operands]))
    for (const bits of source.offered) {
      const form = await source.activation(part.prefix + owner, bits);
      if (form !== undefined) forms.set(`${owner} ${bits}`, form);
    }
  return {
    parameters: await checkpoint.read(part),
    activation: (owner, bits) => forms.get(`${owner} ${bits}`),
    cache,
    weights: ({ runtime }) => ({
      quantize: async ({ name }, bits) => {
        const weight = await source.weight(part.prefix + name, bits);
        return runtime.place(runtime.tensor(toFloats(weight), weight.shape));
      },
      dispose: () => undefined,
    }),
  };
}
