/** What an elastic file says of itself (docs/FORMATS.md, "Elastic file"); `tensors.ts` has the tensors that follow from it. */
import { UserError } from '../errors.js';
import {
  integer,
  list,
  mapOf,
  number,
  oneOf,
  optional,
  readFields,
  record,
  text,
  type Fields,
} from '../formats/json-fields.js';
import { groupSizeOf, type SetConfig } from '../formats/set-config.js';
import type { GridForm } from '../quantized/form.js';

/** By which sets of this kind are known among those of methods. */
export const ELASTIC = 'elastic';

/**
 * Where the codes of a bit-width come from: they are the base's; the base, with directions added, is rounded to nearest; they are
 * stored as one of 2 or of 4 codes beside what the base rounds to; or they are stored whole.
 */
export const SCHEMES = ['base', 'rounded', 'up', 'near', 'codes'] as const;
export type Scheme = (typeof SCHEMES)[number];
export const BASE_BITS = 8;

/** How much of the directions is added to the weight that a bit-width rounds. */
export interface Directions {
  readonly rank: number;
  readonly gain: number;
}

export interface ElasticConfig {
  /** Of every offered bit-width. */
  readonly codes: Readonly<Record<string, Scheme>>;
  /** Of every offered bit-width, and of the base, where any is `rounded`. */
  readonly directions?: Readonly<Record<string, Directions>>;
  /** Bit-widths below 8 whose zero points are halves. */
  readonly half_zeros: readonly number[];
  /** Element type of scales of groups of columns; those of whole rows are F32. */
  readonly scales: 'F16' | 'F32';
  /** How activations are quantized, and full names of operands that are; absent with weights alone. */
  readonly activations?: 'static' | 'token';
  readonly products?: readonly string[];
  /** Parameters in floating point, with their shapes. */
  readonly parameters: Readonly<Record<string, readonly number[]>>;
  /** Weights of stem and head that are at one bit-width, with the shapes of their codes. */
  readonly tables: Readonly<Record<string, readonly number[]>>;
}

export const where = 'adapter_config.json: method';
const shape = list(integer(1), 1);
const fields: Fields<ElasticConfig> = {
  codes: mapOf(oneOf(...SCHEMES)),
  directions: optional(mapOf(record<Directions>({ rank: integer(0), gain: number(0, 1) }, 'dropped'))),
  half_zeros: list(integer(1, BASE_BITS - 1)),
  scales: oneOf('F16', 'F32'),
  activations: optional(oneOf('static', 'token')),
  products: optional(list(text())),
  parameters: mapOf(shape),
  tables: mapOf(shape),
};

/** Throws UserError for a config that is not whole. */
export function readElasticConfig({ method, offered }: Pick<SetConfig, 'method' | 'offered'>): ElasticConfig {
  const { name: _name, ...own } = method;
  const config = readFields(own, fields, where, 'dropped');
  for (const bits of offered) {
    if (!Number.isInteger(bits))
      throw new UserError(`adapter_config.json: "offered" must hold whole bit-widths, found ${bits}.`);
    const scheme = schemeOf(config, bits);
    if (scheme === undefined) throw new UserError(`${where}: "codes" says nothing of ${bits} bits.`);
    if (scheme === 'base' && bits !== BASE_BITS)
      throw new UserError(`${where}: "codes" must not be "base" at ${bits} bits; the base has 8.`);
    if (bits < LEAST_BITS[scheme])
      throw new UserError(`${where}: "codes" must not be "${scheme}" at ${bits} bits.`);
    if (scheme === 'rounded' && !(directionsOf(config, bits) && directionsOf(config, BASE_BITS)))
      throw new UserError(`${where}: "directions" says nothing of ${bits} bits or of the base's 8.`);
  }
  return config;
}

/** Codes of fewer bits have no such neighbours. */
const LEAST_BITS: Readonly<Record<Scheme, number>> = { base: 8, rounded: 1, up: 1, near: 2, codes: 1 };

const own = <T>(map: Readonly<Record<string, T>>, key: number): T | undefined =>
  Object.hasOwn(map, key) ? map[key] : undefined;

export const schemeOf = ({ codes }: Pick<ElasticConfig, 'codes'>, bits: number): Scheme | undefined =>
  own(codes, bits);

export const directionsOf = (
  { directions = {} }: Pick<ElasticConfig, 'directions'>,
  bits: number,
): Directions | undefined => own(directions, bits);

/** Directions that are stored of every layer. */
export const rankOf = ({ directions = {} }: Pick<ElasticConfig, 'directions'>): number =>
  Math.max(0, ...Object.values(directions).map(({ rank, gain }) => (gain > 0 ? rank : 0)));

/** Bits of what is stored of a code. */
export const STORED_BITS = { up: 1, near: 2 } as const;

/** Bits of a stored zero point: halves take one more. */
export const zeroBitsOf = ({ half_zeros }: Pick<ElasticConfig, 'half_zeros'>, bits: number): number =>
  half_zeros.includes(bits) ? bits + 1 : bits;

/** What a layer takes at an offered bit-width, as a weight of its own. */
export function elasticForm(
  config: ElasticConfig,
  { layers }: Pick<SetConfig, 'layers'>,
  layer: string,
  bits: number,
): GridForm {
  const { in: columns, out } = layers[layer]!;
  const groupSize = groupSizeOf(layers[layer]!, bits);
  const zeroBits = zeroBitsOf(config, bits);
  return { kind: 'grid', in: columns, out, bits, groupSize, ...(zeroBits > bits && { zeroBits }) };
}
