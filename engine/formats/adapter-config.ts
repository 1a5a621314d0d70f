import { UserError } from '../errors.js';
import {
  expectInteger,
  expectNumber,
  expectNumberArray,
  expectObject,
  expectObjectAt,
  expectString,
  expectStringArray,
} from './json.js';
import { sha256 } from './json-fields.js';
import type { JsonObject, JsonValue } from './json.js';
import { show } from './paths.js';
import type { BitGroup, BlockLosses, Mode } from '../protocol/protocol.js';

export const SCHEMA_VERSION = 1;
const MODES: readonly Mode[] = ['weight-activation', 'weight-only'];

/** One quantized linear layer: W is [out, in]. */
export interface AdapterLayer {
  readonly in: number;
  readonly out: number;
  /** Input columns that share a weight scale, -1 for a whole row; one number, or one per bit-width. */
  readonly group_size: number | Readonly<Record<string, number>>;
  /** The first layer that reads the same input, and holds its activation quantizer; often itself. */
  readonly input: string;
}

/** `adapter_config.json`. Keys are written as they stand here, and there is no date: same run, same bytes. */
export interface AdapterSetConfig {
  readonly schema_version: typeof SCHEMA_VERSION;
  readonly engine_version: string;
  readonly method: 'quept';
  readonly mode: Mode;
  readonly model: { readonly family: string; readonly fingerprint: string; readonly name: string };
  readonly calibration: { readonly fingerprint: string; readonly samples: number; readonly name: string };
  /** From high to low bits; ranks do not fall. */
  readonly bit_groups: readonly BitGroup[];
  /** 2 to 8, or 16 or 32 for floating point. */
  readonly embedding_bits: number;
  readonly head_bits: number;
  readonly seed: number;
  /** The signs of the stream's rotation as hex digits; absent where the model is not rotated. */
  readonly rotation?: { readonly signs: string };
  /** Bits of keys and values in the cache, 2 to 8; absent where they stay in floating point. */
  readonly kv_bits?: number;
  readonly hyperparameters: Readonly<Record<string, string | number | boolean | readonly number[]>>;
  readonly layers: Readonly<Record<string, AdapterLayer>>;
  /** Names of quantized operands of attention products, which have an activation quantizer and no weight. */
  readonly products: readonly string[];
  /** Names of norms whose weight (and bias) differ from the model's, with their size. */
  readonly norms: Readonly<Record<string, number>>;
  readonly losses: readonly BlockLosses[];
}

/** The bit-widths of all groups, from high to low. */
export const bitsOf = (config: Pick<AdapterSetConfig, 'bit_groups'>): number[] =>
  config.bit_groups.flatMap((group) => group.bits).sort((a, b) => b - a);

/** The group size of a layer at a bit-width; -1 for a whole row. */
export const groupSizeOf = (layer: AdapterLayer, bits: number): number =>
  typeof layer.group_size === 'number' ? layer.group_size : layer.group_size[bits]!;

/**
 * Checks the content of an `adapter_config.json` and returns it with its keys in their written order. Keys
 * it does not know are dropped. Throws `UserError`, starting with `where`, for the first thing wrong.
 */
export function parseAdapterConfig(value: unknown, where: string): AdapterSetConfig {
  const root = expectObject(value, where);
  const version = expectInteger(root, 'schema_version', where, { min: 1 });
  if (version > SCHEMA_VERSION)
    throw new UserError(
      `${where}: made by a newer version of Elastic Precision (schema ${version}, this one reads up to ${SCHEMA_VERSION}); update it.`,
    );
  const model = expectObjectAt(root, 'model', where);
  const calibration = expectObjectAt(root, 'calibration', where);
  const bit_groups = parseBitGroups(root, where);
  return {
    schema_version: SCHEMA_VERSION,
    engine_version: expectString(root, 'engine_version', where),
    method: expectString(root, 'method', where, { oneOf: ['quept'] }),
    mode: expectString(root, 'mode', where, { oneOf: MODES }),
    model: {
      family: expectString(model, 'family', `${where}: model`),
      fingerprint: expectSha256(model, 'fingerprint', `${where}: model`),
      name: expectString(model, 'name', `${where}: model`),
    },
    calibration: {
      fingerprint: expectSha256(calibration, 'fingerprint', `${where}: calibration`),
      samples: expectInteger(calibration, 'samples', `${where}: calibration`, { min: 1 }),
      name: expectString(calibration, 'name', `${where}: calibration`),
    },
    bit_groups,
    embedding_bits: expectBits(root, 'embedding_bits', where),
    head_bits: expectBits(root, 'head_bits', where),
    seed: expectInteger(root, 'seed', where, { min: 0 }),
    ...(root.rotation !== undefined && { rotation: parseRotation(root, where) }),
    ...(root.kv_bits !== undefined && {
      kv_bits: expectInteger(root, 'kv_bits', where, { min: 2, max: 8 }),
    }),
    hyperparameters: parseHyperparameters(expectObjectAt(root, 'hyperparameters', where), where),
    layers: parseLayers(expectObjectAt(root, 'layers', where), bitsOf({ bit_groups }), where),
    products: expectStringArray(root, 'products', where, { default: [] }),
    norms: mapObject(expectObjectAt({ norms: {}, ...root }, 'norms', where), (object, key) =>
      expectInteger(object, key, `${where}: norms`, { min: 1 }),
    ),
    losses: parseLosses(root.losses, where),
  };
}

/** A SHA-256 under a key, as 64 hex digits. */
export const expectSha256 = sha256();

function parseRotation(root: JsonObject, where: string) {
  const at = `${where}: rotation`;
  const signs = expectString(expectObjectAt(root, 'rotation', where), 'signs', at);
  if (!/^[0-9a-f]+$/.test(signs))
    throw new UserError(`${at}: "signs" must be hex digits, found ${show(signs, 40)}.`);
  return { signs };
}

function expectBits(object: JsonObject, key: string, where: string): number {
  const bits = expectInteger(object, key, where, { min: 2, max: 32 });
  if (bits > 8 && bits !== 16 && bits !== 32)
    throw new UserError(`${where}: "${key}" must be 2 to 8, or 16 or 32 for floating point, found ${bits}.`);
  return bits;
}

function parseBitGroups(root: JsonObject, where: string): BitGroup[] {
  const list = expectList(root.bit_groups, 'bit_groups', where);
  if (list.length === 0) throw new UserError(`${where}: "bit_groups" must not be empty.`);
  let [lowest, rank] = [9, 0];
  return list.map((item, index) => {
    const at = `${where}: bit_groups[${index}]`;
    const group = expectObject(item, at);
    const bits = expectNumberArray(group, 'bits', at, { integer: true, min: 2, max: 8 });
    if (bits.length === 0 || new Set(bits).size !== bits.length)
      throw new UserError(`${at}: "bits" must be different bit-widths, found ${show(bits, 40)}.`);
    if (Math.max(...bits) >= lowest)
      throw new UserError(`${at}: bit groups must go from high to low, found ${show(bits, 40)}.`);
    lowest = Math.min(...bits);
    rank = expectInteger(group, 'rank', at, { min: index === list.length - 1 ? Math.max(rank, 1) : rank });
    return { bits, rank, gain: expectNumber(group, 'gain', at, { min: 0, max: 1, default: 1 }) };
  });
}

function parseLayers(layers: JsonObject, bits: readonly number[], where: string) {
  const parsed = mapObject(layers, (object, name): AdapterLayer => {
    const at = `${where}: layer ${show(name)}`;
    const layer = expectObject(object[name], at);
    return {
      in: expectInteger(layer, 'in', at, { min: 1 }),
      out: expectInteger(layer, 'out', at, { min: 1 }),
      group_size: parseGroupSize(layer, bits, at),
      input: expectString(layer, 'input', at),
    };
  });
  for (const [name, layer] of Object.entries(parsed)) {
    const first = Object.hasOwn(parsed, layer.input) ? parsed[layer.input] : undefined;
    if (!first || first.input !== layer.input || first.in !== layer.in)
      throw new UserError(
        `${where}: layer ${show(name)}: "input" must name the first layer that reads the same input, found ${show(layer.input)}.`,
      );
  }
  return parsed;
}

function parseGroupSize(layer: JsonObject, bits: readonly number[], where: string) {
  const size = (object: JsonObject, key: string, at: string) => {
    const value = expectInteger(object, key, at, { min: -1 });
    if (value === 0) throw new UserError(`${at}: "${key}" must be -1 or a positive integer, found 0.`);
    return value;
  };
  if (typeof layer.group_size === 'number') return size(layer, 'group_size', where);
  const sizes = expectObjectAt(layer, 'group_size', where);
  return Object.fromEntries(bits.map((b) => [b, size(sizes, String(b), `${where}: group_size`)]));
}

function parseHyperparameters(object: JsonObject, where: string) {
  return mapObject(object, (_, key) => {
    const value = object[key]!;
    const isList = Array.isArray(value) && value.every((item) => typeof item === 'number');
    if (!isList && !['string', 'number', 'boolean'].includes(typeof value))
      throw new UserError(`${where}: hyperparameters: ${show(key)} has an unexpected value.`);
    return value as string | number | boolean | number[];
  });
}

function parseLosses(value: JsonValue | undefined, where: string): BlockLosses[] {
  return expectList(value, 'losses', where).map((item, index) => {
    const at = `${where}: losses[${index}]`;
    const entry = expectObject(item, at);
    const byGroup = (key: string) =>
      mapObject(expectObjectAt(entry, key, at), (losses, label) => {
        const loss = losses[label];
        if (!Number.isFinite(loss)) throw new UserError(`${at}: ${key} of ${show(label)} must be a number.`);
        return loss as number;
      });
    return { block: expectString(entry, 'block', at), first: byGroup('first'), last: byGroup('last') };
  });
}

function expectList(value: JsonValue | undefined, key: string, where: string): JsonValue[] {
  if (!Array.isArray(value)) throw new UserError(`${where}: "${key}" must be a list.`);
  return value;
}

/** `object` with every value replaced, on an ordinary prototype. */
const mapObject = <T>(object: JsonObject, make: (object: JsonObject, key: string) => T): Record<string, T> =>
  Object.fromEntries(Object.keys(object).map((key) => [key, make(object, key)]));
