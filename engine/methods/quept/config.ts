/** What an adapter set's config says of QuEPT (docs/FORMATS.md). */
import { UserError } from '../../errors.js';
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
  type Field,
  type Fields,
} from '../../formats/json-fields.js';
import { show } from '../../formats/paths.js';
import type { ExpectedTensor, ExpectedTensors } from '../../formats/set.js';
import { groupSizeOf, type SetConfig } from '../../formats/set-config.js';
import { scaleRows } from '../../graph/quantizers.js';
import { MAX_BITS } from '../../plans/bits.js';
import type { SetPart } from '../../protocol/protocol.js';
import type { BitGroup } from './adapters.js';
import type { ElasticSettings } from './source.js';
import { storedForms, type Storage } from './stored.js';

/** Mean reconstruction loss of a block over its first and last epoch, by label of the bit group. */
export interface BlockLosses {
  readonly block: string;
  readonly first: Readonly<Record<string, number>>;
  readonly last: Readonly<Record<string, number>>;
}

export type Hyperparameters = Readonly<Record<string, string | number | boolean | readonly number[]>>;

export interface QueptConfig {
  /** From high to low bits; ranks do not fall. */
  readonly bit_groups: readonly BitGroup[];
  /** Full names of quantized operands of attention products, which have an activation quantizer and no weight. */
  readonly products: readonly string[];
  readonly hyperparameters: Hyperparameters;
  readonly losses: readonly BlockLosses[];
  /** How adapters and clip logits are stored; absent where it is in float32. */
  readonly storage?: Storage;
  /** Bit-widths whose zero points are halves; absent where there are none. */
  readonly half_zeros?: readonly number[];
}

/** @param config of a set */
export const storageOf = ({ storage = 'float32' }: Pick<QueptConfig, 'storage'>): Storage => storage;

const bitGroups: Field<readonly BitGroup[]> = (object, key, where) => {
  const groups = list(
    record<BitGroup>({ bits: list(integer(2, 8), 1), rank: integer(0), gain: gainOf }, 'dropped'),
    1,
  )(object, key, where);
  let [lowest, rank] = [9, 0];
  groups.forEach((group, i) => {
    const at = `${where}: ${key}[${i}]`;
    if (new Set(group.bits).size !== group.bits.length)
      throw new UserError(`${at}: "bits" must be different bit-widths, found ${show(group.bits, 40)}.`);
    if (Math.max(...group.bits) >= lowest)
      throw new UserError(`${at}: bit groups must go from high to low, found ${show(group.bits, 40)}.`);
    const isUsed = i === groups.length - 1 && groups.some(({ gain }) => gain > 0);
    const least = isUsed ? Math.max(rank, 1) : rank;
    if (group.rank < least)
      throw new UserError(`${at}: "rank" must be an integer of at least ${least}, found ${group.rank}.`);
    lowest = Math.min(...group.bits);
    rank = group.rank;
  });
  return groups;
};

/** Sets of the first version may lack it. */
function gainOf(...[object, key, where]: Parameters<Field<number>>): number {
  return Object.hasOwn(object, key) ? number(0, 1)(object, key, where) : 1;
}

const setting: Field<Hyperparameters[string]> = (object, key, where) => {
  const value = object[key];
  const isList = Array.isArray(value) && value.every((item) => typeof item === 'number');
  if (!isList && !['string', 'number', 'boolean'].includes(typeof value))
    throw new UserError(`${where}: ${show(key)} has an unexpected value.`);
  return value as Hyperparameters[string];
};

const fields: Fields<QueptConfig> = {
  bit_groups: bitGroups,
  products: list(text()),
  hyperparameters: mapOf(setting),
  losses: list(record({ block: text(), first: mapOf(number()), last: mapOf(number()) }, 'dropped')),
  storage: optional(oneOf('float32', 'int8')),
  half_zeros: optional(list(integer(2, 8))),
};

/** Throws UserError for a config that is not QuEPT's, or whose groups do not offer what its head says. */
export function readQueptConfig({ method, offered }: SetConfig): QueptConfig {
  const where = 'adapter_config.json: method';
  const { name: _name, ...own } = method;
  const config = readFields(own, fields, where, 'dropped');
  const bits = config.bit_groups.flatMap((group) => group.bits).sort((a, b) => b - a);
  if (bits.join() !== offered.join())
    throw new UserError(`${where}: its bit groups hold ${bits.join(', ')} bits, not ${offered.join(', ')}.`);
  return config;
}

/** How a set's blocks run. */
export const elasticSettings = (
  { mode, layers, embedding_bits, head_bits, kv_bits }: SetConfig,
  { bit_groups: groups, half_zeros = [] }: QueptConfig,
): ElasticSettings => ({
  groups,
  groupSizeOf: (layer, bits) => groupSizeOf(layers[layer]!, bits),
  hasHalves: (bits) => half_zeros.includes(bits),
  isActivationQuantized: mode === 'weight-activation',
  embeddingBits: embedding_bits,
  headBits: head_bits,
  cacheBits: kv_bits !== undefined && kv_bits <= MAX_BITS ? kv_bits : undefined,
});

/** Every tensor of a set, but for its transforms'. */
export function queptTensors(config: SetConfig): ExpectedTensors {
  const own = readQueptConfig(config);
  const { bit_groups, products } = own;
  const { offered, layers, mode } = config;
  const stored = (name: string, shape: readonly number[]) => storedForms(storageOf(own), name, shape);
  const rank = bit_groups.at(-1)!.rank;
  const grids = (owner: string, optional: boolean): (readonly [string, ExpectedTensor])[] =>
    offered.flatMap((bits) => [
      [`${owner}.act_scale.${bits}`, { shape: [1], positive: true, optional, group: owner }] as const,
      [`${owner}.act_zero.${bits}`, { shape: [1], optional, group: owner }] as const,
    ]);
  const expected = Object.entries(layers).flatMap(([name, layer]): (readonly [string, ExpectedTensor])[] => [
    ...(rank > 0
      ? [...stored(`${name}.lora_A`, [rank, layer.in]), ...stored(`${name}.lora_B`, [layer.out, rank])]
      : []),
    ...offered.flatMap((bits): (readonly [string, ExpectedTensor])[] => {
      const shape = [scaleRows(layer, groupSizeOf(layer, bits)), 1];
      return [...stored(`${name}.clip_upper.${bits}`, shape), ...stored(`${name}.clip_lower.${bits}`, shape)];
    }),
    ...(mode === 'weight-activation' && layer.input === name ? grids(name, true) : []),
  ]);
  return new Map([...expected, ...products.flatMap((name) => grids(name, false))]);
}

/** What each bit group of a set is, for people. */
export function queptParts(config: SetConfig): SetPart[] {
  const { bit_groups, losses } = readQueptConfig(config);
  return bit_groups.map(({ bits, rank, gain }) => {
    // A group may have been divided after its calibration, which recorded the losses of the whole.
    const isWhole = (label: string) => bits.every((b) => label.split(',').includes(`${b}`));
    const mean = (epoch: 'first' | 'last') => {
      const values = losses.flatMap((block) =>
        Object.entries(block[epoch]).flatMap(([label, loss]) => (isWhole(label) ? [loss] : [])),
      );
      return values.length > 0 ? values.reduce((a, b) => a + b, 0) / values.length : undefined;
    };
    const [first, last] = [mean('first'), mean('last')];
    const labels = Object.keys(losses[0]?.first ?? {}).filter(isWhole);
    const others = labels.flatMap((label) => label.split(',').map(Number)).filter((b) => !bits.includes(b));
    const together =
      others.length > 0 ? ` Calibrated together with ${others.join(', ')} bits, whose loss is in it.` : '';
    return {
      bits: [...bits].sort((a, b) => b - a),
      facts: [
        { label: 'rank', value: `${rank}`, help: `${rank} adapter directions.` },
        ...(first !== undefined && last !== undefined
          ? [
              {
                label: 'loss',
                value: `${short(first)} → ${short(last)}`,
                help:
                  `Mean loss of all ${losses.length} blocks, first epoch → last: ${short(first)} → ${short(last)}.` +
                  `${together} A job shows the loss of one block at a time.`,
              },
            ]
          : []),
        ...(gain === 0
          ? [
              {
                label: 'not improved, runs as it started',
                value: '',
                help:
                  'On the calibration set it was not better by a tenth than before its calibration, so it runs as it started: ' +
                  'rounded within searched ranges, without adapters.',
              },
            ]
          : []),
      ],
    };
  });
}

const short = (x: number): string => `${Number(x.toPrecision(3))}`;
