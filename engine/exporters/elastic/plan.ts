/** How an elastic file holds the bit-widths of a set: decided without a weight, so that its size is known. */
import {
  BASE_BITS,
  ELASTIC,
  type Directions,
  type ElasticConfig,
  type Scheme,
} from '../../elastic/layout.js';
import { elasticTensors } from '../../elastic/tensors.js';
import type { QuantizedSource } from '../../execution/source.js';
import { byteLengthOf } from '../../formats/safetensors-header.js';
import type { SetConfig } from '../../formats/set-config.js';
import { blocksOf } from '../../models/model.js';
import type { GridForm } from '../../quantized/form.js';
import { exportedBits } from '../layer-weight.js';
import type { ExportContext } from '../exporter.js';
import { linearOf, ownersOf } from '../parameters.js';

export interface ElasticPlan {
  /** But for fingerprints. */
  readonly set: SetConfig;
  readonly own: ElasticConfig;
}

type Context = Pick<ExportContext, 'original' | 'source' | 'config'>;

/** When codes are rounded anew as the file is opened: where that makes it at most half as large as with codes, or as told. */
export type Rounding = 'where smaller' | 'always' | 'never';

export async function elasticPlan(context: Context, rounding: Rounding): Promise<ElasticPlan> {
  const { source, config } = context;
  const common = { ...parametersOf(context), ...(await activationsOf(context)) };
  const stored = planned(context, storedSchemes(source, config), {}, common);
  if (!source.nearest || rounding === 'never') return stored;
  const rounded = planned(context, roundedSchemes(source), directions(source), common);
  const isSmaller = bytesOf(rounded) <= bytesOf(stored) / 2;
  return rounding === 'always' || isSmaller ? rounded : stored;
}

type Schemes = Readonly<Record<string, Scheme>>;

/** The 8-bit weight is the base where it lies on whole rows. */
const isBase = (source: QuantizedSource, config: SetConfig): boolean =>
  source.offered.includes(BASE_BITS) &&
  Object.keys(config.layers).every((layer) => {
    const { groupSize, zeroBits = BASE_BITS } = source.form(layer, BASE_BITS) as GridForm;
    return groupSize === -1 && zeroBits <= BASE_BITS;
  });

function storedSchemes(source: QuantizedSource, config: SetConfig): Schemes {
  const hasBase = isBase(source, config);
  return byBits(source, (bits) => {
    if (hasBase && bits === BASE_BITS) return 'base';
    const count = hasBase ? source.beside?.(bits) : undefined;
    return count === 2 ? 'up' : count === 4 ? 'near' : 'codes';
  });
}

const roundedSchemes = (source: QuantizedSource): Schemes =>
  byBits(source, (bits) => (bits === BASE_BITS ? 'base' : 'rounded'));

const byBits = <T>({ offered }: QuantizedSource, of: (bits: number) => T): Record<string, T> =>
  Object.fromEntries([...offered].reverse().map((bits) => [String(bits), of(bits)]));

/** What each bit-width adds to W; the base is W where 8 bits are not offered. */
function directions(source: QuantizedSource): Readonly<Record<string, Directions>> {
  const none = { rank: 0, gain: 0 };
  const at = (bits: number) => {
    const found = source.nearest!.at(bits);
    return found.rank > 0 && found.gain > 0 ? found : none;
  };
  return { [BASE_BITS]: none, ...byBits(source, at) };
}

function planned(
  { source, config }: Context,
  codes: Schemes,
  own: Readonly<Record<string, Directions>>,
  common: Pick<ElasticConfig, 'activations' | 'products' | 'parameters' | 'tables'>,
): ElasticPlan {
  const layers = Object.keys(config.layers);
  const isRounded = Object.values(codes).includes('rounded');
  const half = source.offered.filter((bits) => {
    const { zeroBits = bits } = source.form(layers[0]!, bits) as GridForm;
    return zeroBits > bits;
  });
  const elastic: ElasticConfig = {
    codes,
    ...(isRounded && { directions: own }),
    half_zeros: half,
    scales: isRounded ? 'F16' : 'F32',
    ...common,
  };
  const sizes = (layer: string) => byBits(source, (bits) => (source.form(layer, bits) as GridForm).groupSize);
  const set: SetConfig = {
    ...config,
    transforms: [],
    layers: Object.fromEntries(
      layers.map((name) => [name, { ...config.layers[name]!, group_size: sizes(name) }]),
    ),
    method: { name: ELASTIC, ...elastic } as unknown as SetConfig['method'],
  };
  return { set, own: elastic };
}

/** Grids are stored where activations have them; else they are quantized per token. */
async function activationsOf({
  source,
  config,
}: Pick<Context, 'source' | 'config'>): Promise<Pick<ElasticConfig, 'activations' | 'products'>> {
  if (config.mode === 'weight-only') return {};
  const { model, listing } = source.checkpoint;
  const [bits] = source.offered;
  const isGrid = async (owner: string) => typeof (await source.activation(owner, bits!)) === 'object';
  const [first] = Object.values(config.layers);
  if (!(await isGrid(first!.input))) return { activations: 'token' };
  const products: string[] = [];
  for (const part of blocksOf(model))
    for (const name of listing(part).operands)
      if (await isGrid(part.prefix + name)) products.push(part.prefix + name);
  return { activations: 'static', products };
}

/** Each parameter once: in floating point, or in codes of 8 bits where all that read it have it at one bit-width. */
function parametersOf(
  context: Pick<Context, 'original' | 'source'>,
): Pick<ElasticConfig, 'parameters' | 'tables'> {
  const parameters: Record<string, readonly number[]> = {};
  const tables: Record<string, readonly number[]> = {};
  const blocks = new Set(blocksOf(context.source.checkpoint.model));
  for (const [name, owners] of ownersOf(context)) {
    const [{ part, entry }] = owners as [(typeof owners)[number]];
    const bits = owners.map((owner) => {
      const layer = linearOf(context, owner);
      return layer && exportedBits({ ...context, bitsOf: () => BASE_BITS }, owner.part, layer);
    });
    if (blocks.has(part) && bits[0] !== undefined) continue;
    const isCoded = bits.every((b) => b !== undefined && b === bits[0]) && name.endsWith('.weight');
    (isCoded ? tables : parameters)[name] = entry.storedShape;
  }
  return { parameters, tables };
}

/** What layers take, about: what tells two plans from each other. */
function bytesOf({ set, own }: ElasticPlan): number {
  let sum = 0;
  for (const [name, { shape, dtype = 'F32' }] of elasticTensors(own, set))
    if (!Object.hasOwn(own.parameters, name)) sum += byteLengthOf(shape, ELEMENT_BYTES[dtype])!;
  return sum;
}

const ELEMENT_BYTES = { F32: 4, F16: 2, BF16: 2, U8: 1, I8: 1 } as const;
