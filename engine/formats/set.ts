/** Adapter sets on disk: a config and a file of tensors, whose names and shapes follow from the config (docs/FORMATS.md). */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { removeStaleTemporaries, stageFile } from './atomic.js';
import { makeFolder } from './folders.js';
import { expectObject, readJsonFile } from './json.js';
import { sha256 } from './json-fields.js';
import { fileError, show, sizeOfFile } from './paths.js';
import { stageSafetensors } from './safetensors-write.js';
import { openSafetensors, type TensorSource } from './safetensors.js';
import { parseSetConfig, type SetConfig } from './set-config.js';

/** A float32 tensor in memory, row-major. */
export interface SetTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

type Elements = Float32Array | Uint8Array | Int8Array;

/** A tensor to write, floating-point numbers or bytes; its elements may be had only when their turn comes. */
export interface WrittenTensor {
  readonly shape: readonly number[];
  readonly data: Elements | (() => Promise<Elements>);
}

/** What a tensor must be. An optional one may be absent; optional ones of one `group`, only all together. */
export interface ExpectedTensor {
  readonly shape: readonly number[];
  /** Default `F32`. */
  readonly dtype?: 'F32' | 'F16' | 'BF16' | 'U8' | 'I8';
  readonly positive?: boolean;
  readonly optional?: boolean;
  readonly group?: string;
}

export type ExpectedTensors = ReadonlyMap<string, ExpectedTensor>;

/** The tensors of an adapter set, read as they are asked for. */
export interface SetTensors {
  /**
   * The floating-point tensors whose names begin with `prefix`, by the rest of their names; all of them for an empty one. Throws
   * `UserError` for one that is not finite.
   */
  floats(prefix: string): Promise<Map<string, SetTensor>>;
  /** The elements of one tensor of bytes, signed or not. */
  bytes(name: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

export const CONFIG_FILE = 'adapter_config.json';
export const TENSORS_FILE = 'adapter_model.safetensors';

/**
 * Writes an adapter set into `folder`, which is made if need be. It is validated before anything there
 * changes. Tensors come first, by name and one in memory at a time, the config last with their SHA-256: until
 * the config is there, the folder holds no adapter set, or the old one, which no longer matches and is refused.
 * The same set gives the same bytes.
 * @param expected what its transforms and its method say of the tensors
 */
export async function writeSetFiles(
  folder: string,
  config: SetConfig,
  expected: ExpectedTensors,
  tensors: ReadonlyMap<string, WrittenTensor>,
): Promise<void> {
  const checked = parseSetConfig(config, CONFIG_FILE);
  checkTensors(expected, tensors);
  await makeFolder(folder);
  await removeStaleTemporaries(folder);
  const entries = [...tensors].map(([name, { shape, data }]) => ({
    name,
    dtype: expected.get(name)!.dtype ?? 'F32',
    shape,
    data: async () => {
      const elements = typeof data === 'function' ? await data() : data;
      return elements instanceof Float32Array ? checkValues(expected, name, elements) : elements;
    },
  }));
  const written = await stageSafetensors(join(folder, TENSORS_FILE), entries, { format: 'pt' });
  try {
    const text = `${JSON.stringify({ ...checked, tensors_sha256: written.sha256 }, null, 2)}\n`;
    const manifest = await stageFile(join(folder, CONFIG_FILE), text);
    try {
      await written.staged.commit();
      await manifest.commit();
    } finally {
      await manifest.discard();
    }
  } finally {
    await written.staged.discard();
  }
}

/** The config alone, without looking at the tensors: enough for a list. */
export async function readSetConfig(folder: string): Promise<SetConfig> {
  return parseSetConfig(await readJsonFile(join(folder, CONFIG_FILE)), CONFIG_FILE);
}

/** What the config says the tensors' SHA-256 is: a name for the content of the set. */
export async function readTensorsDigest(folder: string): Promise<string> {
  const value = await readJsonFile(join(folder, CONFIG_FILE));
  return sha256()(expectObject(value, CONFIG_FILE), 'tensors_sha256', CONFIG_FILE);
}

/** What a set takes on disk. Throws UserError where its tensors are missing. */
export async function setBytes(folder: string): Promise<number> {
  const [config, tensors] = await Promise.all(
    [CONFIG_FILE, TENSORS_FILE].map((name) => stat(join(folder, name)).catch(() => undefined)),
  );
  if (!tensors) throw new UserError(`${TENSORS_FILE} is missing; calibrate again.`);
  return tensors.size + (config?.size ?? 0);
}

/** Whether the tensors in the folder are those that its config was written with. Throws UserError where one is missing. */
export const isWholeSet = async (folder: string): Promise<boolean> =>
  (await hashFile(join(folder, TENSORS_FILE))) === (await readTensorsDigest(folder));

/**
 * Opens the tensors of an adapter set. Throws `UserError` for one that is missing, unknown or of the wrong shape, and for
 * a file that is not the one the config was written with.
 */
export async function openSetTensors(folder: string, expected: ExpectedTensors): Promise<SetTensors> {
  const path = join(folder, TENSORS_FILE);
  if (!(await isWholeSet(folder)))
    throw new UserError(
      `${TENSORS_FILE} in ${folder} is not the file that ${CONFIG_FILE} was written with; copy both again or calibrate again.`,
    );
  const source = await openSafetensors(path);
  try {
    checkTensors(expected, source.tensors);
    checkTypes(expected, source);
  } catch (error) {
    await source.close();
    throw error;
  }
  return {
    floats: async (prefix) => {
      const found = new Map<string, SetTensor>();
      for (const { name, shape } of source.tensors.values())
        if (name.startsWith(prefix) && !bytesType(expected, name))
          found.set(name.slice(prefix.length), {
            shape,
            data: checkValues(expected, name, await source.read(name)),
          });
      return found;
    },
    bytes: (name) => source.readBytes(name),
    close: () => source.close(),
  };
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

/** Checks names and shapes. */
function checkTensors(
  expected: ExpectedTensors,
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): void {
  const groups = new Set([...tensors.keys()].map((name) => expected.get(name)?.group));
  for (const [name, { shape, optional, group }] of expected) {
    const tensor = tensors.get(name);
    if (!tensor) {
      if (optional && !(group && groups.has(group))) continue;
      throw new UserError(`${TENSORS_FILE}: tensor ${show(name)} is missing.`);
    }
    if (tensor.shape.join() !== shape.join())
      throw new UserError(
        `${TENSORS_FILE}: tensor ${show(name)} must have shape [${shape.join(', ')}], found [${tensor.shape.join(', ')}].`,
      );
  }
  for (const name of tensors.keys())
    if (!expected.has(name))
      throw new UserError(`${TENSORS_FILE}: tensor ${show(name)} belongs to nothing in ${CONFIG_FILE}.`);
}

function checkTypes(expected: ExpectedTensors, { tensors }: TensorSource): void {
  for (const { name, dtype } of tensors.values()) {
    const bytes = bytesType(expected, name);
    if (bytes ? dtype !== bytes : !/^(F|BF)\d/.test(dtype))
      throw new UserError(
        `${TENSORS_FILE}: tensor ${show(name)} must hold ${bytes ? `bytes (${bytes})` : 'floating-point numbers'}, found ${dtype}.`,
      );
  }
}

function bytesType(expected: ExpectedTensors, name: string): 'U8' | 'I8' | undefined {
  const { dtype } = expected.get(name)!;
  return dtype === 'U8' || dtype === 'I8' ? dtype : undefined;
}

/** The elements, where they may be written or used. */
function checkValues(expected: ExpectedTensors, name: string, data: Float32Array): Float32Array {
  const { positive } = expected.get(name)!;
  const isBad = positive ? (x: number) => !(x > 0 && x < Infinity) : (x: number) => !Number.isFinite(x);
  const bad = data.findIndex(isBad);
  if (bad >= 0)
    throw new UserError(
      `${TENSORS_FILE}: tensor ${show(name)} must hold ${positive ? 'positive' : 'finite'} numbers, found ${data[bad]!} at ${bad}.`,
    );
  return data;
}
