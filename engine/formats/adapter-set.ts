import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { bitsOf, expectSha256, groupSizeOf, parseAdapterConfig } from './adapter-config.js';
import type { AdapterSetConfig } from './adapter-config.js';
import { removeStaleTemporaries, stageFile } from './atomic.js';
import { expectObject, readJsonFile } from './json.js';
import { fileError, show, sizeOfFile } from './paths.js';
import { stageSafetensors } from './safetensors-write.js';
import { openSafetensors } from './safetensors.js';

export { bitsOf, groupSizeOf } from './adapter-config.js';
export type { BitGroup, BlockLosses } from '../protocol/protocol.js';
export type { AdapterLayer, AdapterSetConfig } from './adapter-config.js';
export { fingerprintModel } from './fingerprint.js';

/** A float32 tensor in memory, row-major. */
export interface AdapterTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A tensor to write; its elements may be had only when their turn comes. */
export interface WrittenTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | (() => Promise<Float32Array>);
}

/** What a calibration yields. The tensors' names and shapes follow from the config (docs/FORMATS.md). */
export interface AdapterSet {
  readonly config: AdapterSetConfig;
  readonly tensors: ReadonlyMap<string, AdapterTensor>;
}

const CONFIG_FILE = 'adapter_config.json';
const TENSORS_FILE = 'adapter_model.safetensors';

/**
 * Writes an adapter set into `folder`, which is made if need be. It is validated before anything there
 * changes. Tensors come first, by name and one in memory at a time, the config last with their SHA-256: until
 * the config is there, the folder holds no adapter set, or the old one, which no longer matches and is refused.
 * The same set gives the same bytes.
 */
export async function writeAdapterSet(
  folder: string,
  config: AdapterSetConfig,
  tensors: ReadonlyMap<string, WrittenTensor>,
): Promise<void> {
  const checked = parseAdapterConfig(config, CONFIG_FILE);
  const checkValues = checkTensors(checked, tensors, TENSORS_FILE);
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError(error, 'write', folder);
  }
  await removeStaleTemporaries(folder);
  const entries = [...tensors].map(([name, { shape, data }]) => ({
    name,
    dtype: 'F32' as const,
    shape,
    data: async () => checkValues(name, typeof data === 'function' ? await data() : data),
  }));
  const { staged, sha256 } = await stageSafetensors(join(folder, TENSORS_FILE), entries, { format: 'pt' });
  try {
    const text = `${JSON.stringify({ ...checked, tensors_sha256: sha256 }, null, 2)}\n`;
    const manifest = await stageFile(join(folder, CONFIG_FILE), text);
    try {
      await staged.commit();
      await manifest.commit();
    } finally {
      await manifest.discard();
    }
  } finally {
    await staged.discard();
  }
}

/** The config alone, without looking at the tensors: enough for a list. */
export async function readAdapterConfig(folder: string): Promise<AdapterSetConfig> {
  return parseAdapterConfig(await readJsonFile(join(folder, CONFIG_FILE)), CONFIG_FILE);
}

/** What the config says the tensors' SHA-256 is: a name for the content of the set. */
export async function readTensorsDigest(folder: string): Promise<string> {
  const value = await readJsonFile(join(folder, CONFIG_FILE));
  return expectSha256(expectObject(value, CONFIG_FILE), 'tensors_sha256', CONFIG_FILE);
}

/** An adapter set on disk, its tensors read as they are asked for. */
export interface AdapterSource {
  readonly config: AdapterSetConfig;
  /**
   * The tensors whose names begin with `prefix`, by the rest of their names; all of them for an empty one. Throws
   * `UserError` for one that is not finite.
   */
  readonly tensors: (prefix: string) => Promise<Map<string, AdapterTensor>>;
  close(): Promise<void>;
}

/**
 * Opens an adapter set. Throws `UserError` for a config or a tensor that is missing, unknown or of the wrong shape, and
 * for tensors that are not the ones the config was written with.
 */
export async function openAdapterSet(folder: string): Promise<AdapterSource> {
  const value = await readJsonFile(join(folder, CONFIG_FILE));
  const config = parseAdapterConfig(value, CONFIG_FILE);
  const path = join(folder, TENSORS_FILE);
  const sha256 = expectSha256(expectObject(value, CONFIG_FILE), 'tensors_sha256', CONFIG_FILE);
  if ((await hashFile(path)) !== sha256)
    throw new UserError(
      `${TENSORS_FILE} in ${folder} is not the file that ${CONFIG_FILE} was written with; copy both again or calibrate again.`,
    );
  const source = await openSafetensors(path);
  try {
    const checkValues = checkTensors(config, source.tensors, TENSORS_FILE);
    return {
      config,
      tensors: async (prefix) => {
        const found = new Map<string, AdapterTensor>();
        for (const { name, shape } of source.tensors.values())
          if (name.startsWith(prefix))
            found.set(name.slice(prefix.length), { shape, data: checkValues(name, await source.read(name)) });
        return found;
      },
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** An adapter set read into memory whole. Throws `UserError` as `openAdapterSet` and its tensors do. */
export async function readAdapterSet(folder: string): Promise<AdapterSet> {
  const source = await openAdapterSet(folder);
  try {
    return { config: source.config, tensors: await source.tensors('') };
  } finally {
    await source.close();
  }
}

async function hashFile(path: string): Promise<string> {
  await sizeOfFile(path);
  const hash = createHash('sha256');
  try {
    for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  return hash.digest('hex');
}

/** What a tensor must be. An optional one may be absent; optional ones of one `group`, only all together. */
interface Expected {
  readonly shape: readonly number[];
  readonly positive?: boolean;
  readonly optional?: boolean;
  readonly group?: string;
}

/** Checks names and shapes; what it returns checks the elements of one tensor, and hands them back. */
function checkTensors(
  config: AdapterSetConfig,
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  where: string,
): (name: string, data: Float32Array) => Float32Array {
  const expected = expectedTensors(config, where);
  const groups = new Set([...tensors.keys()].map((name) => expected.get(name)?.group));
  for (const [name, { shape, optional, group }] of expected) {
    const tensor = tensors.get(name);
    if (!tensor) {
      if (optional && !(group && groups.has(group))) continue;
      throw new UserError(`${where}: tensor ${show(name)} is missing.`);
    }
    if (tensor.shape.join() !== shape.join())
      throw new UserError(
        `${where}: tensor ${show(name)} must have shape [${shape.join(', ')}], found [${tensor.shape.join(', ')}].`,
      );
  }
  for (const name of tensors.keys())
    if (!expected.has(name))
      throw new UserError(`${where}: tensor ${show(name)} belongs to nothing in ${CONFIG_FILE}.`);
  return (name, data) => {
    const { positive } = expected.get(name)!;
    const isBad = positive ? (x: number) => !(x > 0 && x < Infinity) : (x: number) => !Number.isFinite(x);
    const bad = data.findIndex(isBad);
    if (bad >= 0)
      throw new UserError(
        `${where}: tensor ${show(name)} must hold ${positive ? 'positive' : 'finite'} numbers, found ${data[bad]!} at ${bad}.`,
      );
    return data;
  };
}

/** Every tensor that a set with this config must or may hold. */
function expectedTensors(config: AdapterSetConfig, where: string): Map<string, Expected> {
  const expected = new Map<string, Expected>();
  const add = (name: string, rule: Expected) => {
    if (expected.has(name)) throw new UserError(`${where}: two parts of the config claim ${show(name)}.`);
    expected.set(name, rule);
  };
  const bits = bitsOf(config);
  const rank = config.bit_groups.at(-1)!.rank;

  function addQuantizer(owner: string, optional: boolean): void {
    for (const b of bits) {
      add(`${owner}.act_scale.${b}`, { shape: [1], positive: true, optional, group: owner });
      add(`${owner}.act_zero.${b}`, { shape: [1], optional, group: owner });
    }
  }

  for (const [name, layer] of Object.entries(config.layers)) {
    add(`${name}.lora_A`, { shape: [rank, layer.in] });
    add(`${name}.lora_B`, { shape: [layer.out, rank] });
    for (const b of bits) {
      const size = groupSizeOf(layer, b);
      const rows = layer.out * (size === -1 ? 1 : Math.ceil(layer.in / size));
      add(`${name}.clip_upper.${b}`, { shape: [rows, 1] });
      add(`${name}.clip_lower.${b}`, { shape: [rows, 1] });
    }
    add(`${name}.bias`, { shape: [layer.out], optional: true });
    add(`${name}.input_scale`, { shape: [layer.in], positive: true, optional: true });
    add(`${name}.output_scale`, { shape: [layer.out], positive: true, optional: true });
    if (config.mode === 'weight-activation' && layer.input === name) addQuantizer(name, true);
  }
  for (const name of config.products) addQuantizer(name, false);
  for (const [name, size] of Object.entries(config.norms)) {
    add(`${name}.weight`, { shape: [size] });
    add(`${name}.bias`, { shape: [size], optional: true });
  }
  return expected;
}
