/**
 * `adapter_config.json`, schema version 2: a head that every method's sets have, what the transforms and the method say
 * of themselves left to their own readers (docs/FORMATS.md). Version 1, which held QuEPT's sets alone, is still read.
 */
import { UserError } from '../errors.js';
import { expectObject, type JsonObject, type JsonValue } from './json.js';
import {
  integer,
  list,
  mapOf,
  number,
  oneOf,
  optional,
  readFields,
  record,
  sha256,
  text,
  type Field,
  type Fields,
} from './json-fields.js';
import { show } from './paths.js';
import { upgradeSetConfig } from './set-config-v1.js';

export const SCHEMA_VERSION = 2;
/** What a set quantizes. */
export type Mode = 'weight-activation' | 'weight-only';
export const MODES = ['weight-activation', 'weight-only'] as const;

/** One quantized linear layer: W is [out, in]. */
export interface SetLayer {
  readonly in: number;
  readonly out: number;
  /** Input columns that share a weight scale, -1 for a whole row; one number, or one per bit-width. */
  readonly group_size: number | Readonly<Record<string, number>>;
  /** The first layer that reads the same input, and holds its activation quantizer; often itself. */
  readonly input: string;
}

/** A part of the config that its own reader knows; the name says which. */
export type Named = JsonObject & { readonly name: string };

/** Keys are written as they stand here, and there is no date: same run, same bytes. */
export interface SetConfig {
  readonly schema_version: typeof SCHEMA_VERSION;
  readonly engine_version: string;
  readonly mode: Mode;
  readonly model: { readonly family: string; readonly fingerprint: string; readonly name: string };
  /** Fingerprint of the set's own folder as a model; absent where it is none. */
  readonly standalone?: string;
  /** Absent where nothing was calibrated on. */
  readonly calibration?: { readonly fingerprint: string; readonly samples: number; readonly name: string };
  readonly seed: number;
  /** Bit-widths that every layer can be run at, from high to low: 1 to 8, or averages such as 2.3. */
  readonly offered: readonly number[];
  /** 2 to 8, or 16 or 32 for floating point. */
  readonly embedding_bits: number;
  readonly head_bits: number;
  /** Bits of keys and values in the cache, 2 to 8; absent where they stay in floating point. */
  readonly kv_bits?: number;
  /** In the order they were applied (`engine/transforms/`). */
  readonly transforms: readonly Named[];
  readonly layers: Readonly<Record<string, SetLayer>>;
  /** How the set was made, and what its method keeps. */
  readonly method: Named;
}

/** The fingerprints of the models that a set can be used with: what it was made for, and its own folder where that is one. */
export const fingerprintsOf = ({ model, standalone }: Pick<SetConfig, 'model' | 'standalone'>): string[] =>
  standalone === undefined ? [model.fingerprint] : [model.fingerprint, standalone];

/** The group size of a layer at a bit-width; -1 for a whole row. */
export const groupSizeOf = (layer: Pick<SetLayer, 'group_size'>, bits: number): number =>
  typeof layer.group_size === 'number' ? layer.group_size : layer.group_size[bits]!;

const groupSize: Field<number> = (object, key, where) => {
  const size = integer(-1)(object, key, where);
  if (size === 0) throw new UserError(`${where}: "${key}" must be -1 or a positive integer, found 0.`);
  return size;
};

const layer: Fields<SetLayer> = {
  in: integer(1),
  out: integer(1),
  group_size: (object, key, where) =>
    typeof object[key] === 'number' ? groupSize(object, key, where) : mapOf(groupSize)(object, key, where),
  input: text(),
};

const floatOrBits: Field<number> = (object, key, where) => {
  const bits = integer(2, 32)(object, key, where);
  if (bits > 8 && bits !== 16 && bits !== 32)
    throw new UserError(`${where}: "${key}" must be 2 to 8, or 16 or 32 for floating point, found ${bits}.`);
  return bits;
};

const offered: Field<readonly number[]> = (object, key, where) => {
  const found = list(number(1, 8), 1)(object, key, where);
  if (found.some((bits, i) => i > 0 && bits >= found[i - 1]!))
    throw new UserError(`${where}: "${key}" must go from high to low, found ${show(found, 40)}.`);
  return found;
};

const named: Field<Named> = (object, key, where) => {
  const value = expectObject(object[key], `${where}: ${key}`);
  text()(value, 'name', `${where}: ${key}`);
  return value as Named;
};

const fields: Fields<Omit<SetConfig, 'schema_version'>> = {
  engine_version: text(),
  mode: oneOf(...MODES),
  model: record({ family: text(), fingerprint: sha256(), name: text() }, 'dropped'),
  standalone: optional(sha256()),
  calibration: optional(record({ fingerprint: sha256(), samples: integer(1), name: text() }, 'dropped')),
  seed: integer(0),
  offered,
  embedding_bits: floatOrBits,
  head_bits: floatOrBits,
  kv_bits: optional(integer(2, 8)),
  transforms: list(named),
  layers: mapOf(record(layer, 'dropped')),
  method: named,
};

/**
 * Checks the content of an `adapter_config.json`, but for what transforms and method say of themselves, and returns it with
 * its keys in their written order. Keys it does not know are dropped. Throws `UserError`, starting with `where`, for
 * the first thing wrong.
 */
export function parseSetConfig(value: unknown, where: string): SetConfig {
  const root = expectObject(value, where);
  const version = integer(1)(root, 'schema_version', where);
  if (version > SCHEMA_VERSION)
    throw new UserError(
      `${where}: made by a newer version of Elastic Precision (schema ${version}, this one reads up to ${SCHEMA_VERSION}); update it.`,
    );
  const current: JsonValue = version === 1 ? upgradeSetConfig(root, where) : root;
  const config = {
    schema_version: SCHEMA_VERSION,
    ...readFields(current, fields, where, 'dropped'),
  } as const;
  checkLayers(config, where);
  return config;
}

function checkLayers({ layers, offered: widths }: Omit<SetConfig, 'schema_version'>, where: string): void {
  for (const [name, own] of Object.entries(layers)) {
    const first = Object.hasOwn(layers, own.input) ? layers[own.input] : undefined;
    if (first?.input !== own.input || first.in !== own.in)
      throw new UserError(
        `${where}: layer ${show(name)}: "input" must name the first layer that reads the same input, found ${show(own.input)}.`,
      );
    const lacking = widths.find((bits) => groupSizeOf(own, bits) === undefined);
    if (lacking !== undefined)
      throw new UserError(`${where}: layer ${show(name)}: "group_size" has no size at ${lacking} bits.`);
  }
}
