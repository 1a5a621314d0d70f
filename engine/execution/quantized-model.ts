/** A quantized source opened: a model that is run at any of its bit-widths, whole or part by part. */
import { blocksOf, partsOf, type Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { joinParts, type RunnableModel } from './model.js';
import { plainParts, type OpenPart } from './part-by-part.js';
import type { RunnablePart } from './part.js';
import { openElasticPart, type ElasticPart, type Widths } from './quantized-part.js';
import { fixedSource } from './rounded.js';
import { wideLayers, type OpenOptions } from './wide-layers.js';
import { partOf, requireOffered, type KeptMemory, type QuantizedSource } from './source.js';

export type { Widths } from './quantized-part.js';

export interface ElasticModel extends RunnableModel {
  /** Offered bit-widths, from high to low. */
  readonly bits: readonly number[];
  /**
   * Switches layers of blocks, embedding and head keeping theirs; resolves to how many weights had to change.
   * Throws UserError, before anything changes, for a bit-width that is not offered. @param widths by full names
   */
  use(widths: Widths): Promise<number>;
}

/** The widths of a plan that has one for each layer, in the order of `layerNames`. */
export function widthsOf(layers: readonly string[], bits: readonly number[]): Widths {
  const byName = new Map(layers.map((name, i) => [name, bits[i]]));
  return (name) => byName.get(name);
}

/** @param memory bytes for what the source keeps between switches */
export async function openElasticModel(
  programs: Programs,
  source: QuantizedSource,
  memory = 0,
  options: OpenOptions = {},
): Promise<ElasticModel> {
  const { model } = source.checkpoint;
  const kept: KeptMemory = { left: memory };
  const blocks = new Map<Part, ElasticPart>();
  for (const part of blocksOf(model))
    blocks.set(part, await openBlock(programs, source, part, kept, options));
  const parts = new Map<Part, RunnablePart>(blocks);
  for (const part of partsOf(model))
    if (!blocks.has(part)) parts.set(part, await openFixedPart(programs, source, part, options));
  let current: ReadonlyMap<Part, Widths> = new Map();
  let version = 0;
  const switchTo = async (own: ReadonlyMap<Part, Widths>) => {
    let changed = 0;
    version++;
    for (const [part, block] of blocks) changed += await block.use(own.get(part) ?? (() => undefined));
    return changed;
  };
  return {
    ...joinParts(programs, model, parts, () => version),
    bits: [...source.offered].sort((a, b) => b - a),
    use: async (widths) => {
      const own = new Map([...blocks.keys()].map((part) => [part, widthsIn(source, part, widths)]));
      try {
        const changed = await switchTo(own);
        current = own;
        return changed;
      } catch (error) {
        // A model that is half one plan and half another answers for neither.
        await switchTo(current);
        throw error;
      }
    },
  };
}

/** The parts of a quantized model at these bit-widths, for running it part by part. */
export const quantizedParts =
  (programs: Programs, source: QuantizedSource, widths: Widths): OpenPart =>
  async (part) => {
    if (!blocksOf(source.checkpoint.model).includes(part)) return openFixedPart(programs, source, part);
    const own = widthsIn(source, part, widths);
    const block = await openBlock(programs, source, part);
    await block.use(own);
    return block;
  };

/** A block that can be switched, in full precision to begin with. */
export const openBlock = async (
  programs: Programs,
  source: QuantizedSource,
  part: Part,
  memory?: KeptMemory,
  options: OpenOptions = {},
): Promise<ElasticPart> => {
  const listing = source.checkpoint.listing(part);
  const wide = wideLayers(programs, listing, options);
  return openElasticPart(programs, part, listing, await partOf(source, part), memory, wide);
};

/** A stem or head at its one bit-width, or in floating point. */
async function openFixedPart(
  programs: Programs,
  source: QuantizedSource,
  part: Part,
  options: OpenOptions = {},
): Promise<RunnablePart> {
  const bits = source.fixedBits(part);
  if (bits === undefined) return plainParts(programs, source.checkpoint, options)(part);
  const { checkpoint } = source;
  const own = fixedSource(await checkpoint.read(part));
  const listing = checkpoint.listing(part);
  const wide = wideLayers(programs, listing, options);
  const opened = await openElasticPart(programs, part, listing, own, undefined, wide);
  await opened.use(bits);
  return opened;
}

/** Widths by full names as those of a part's layers by local name. Throws UserError for one that is not offered. */
export function widthsIn({ offered, checkpoint }: QuantizedSource, part: Part, widths: Widths): Widths {
  const bitsOf = typeof widths === 'number' ? () => widths : widths;
  const own = new Map(checkpoint.listing(part).linears.map(({ name }) => [name, bitsOf(part.prefix + name)]));
  for (const bits of own.values()) if (bits !== undefined) requireOffered(offered, bits);
  return (layer) => own.get(layer);
}
