/** Exported files, opened to be scored: what each is, and what runs it. */
import { open, readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { readGgufHeader } from '../formats/gguf/header.js';
import { readOnnxModel, type OnnxValueInfo } from '../formats/onnx.js';
import { isThere, show, sizeOfFile, statPath } from '../formats/paths.js';
import type { TensorSource } from '../formats/safetensors.js';
import { bytesAt } from '../formats/sizes.js';
import { holdsElastic } from '../formats/weights.js';
import { openAdapterSet, requireMatch, type AdapterSet } from '../methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { storedName } from '../models/listing.js';
import { outputSize, partsOf } from '../models/model.js';
import { runtimeName } from '../runtime/written-file.js';
import { requireLlama } from './library.js';
import { openForeign, type ForeignFile, type ForeignModel } from './process.js';

/** What an exported file holds, and how it is run. */
export type ExportedContent =
  /** Weights of the model, read by this engine from the written bytes. */
  | { readonly kind: 'weights'; readonly source: TensorSource }
  /** A model and its set. */
  | { readonly kind: 'elastic'; readonly source: TensorSource; readonly set: AdapterSet }
  /** A runtime that is not this engine's. @param tokens the most of a text */
  | { readonly kind: 'foreign'; start(tokens: number, signal: AbortSignal): Promise<ForeignModel> };

export interface Exported {
  /** The file's name. */
  readonly label: string;
  /** All that lies on disk. */
  readonly bytes: number;
  /** For people. */
  readonly runtime: string;
  readonly content: ExportedContent;
  close(): Promise<void>;
}

const OWN = 'read by this engine';
const nothing = () => Promise.resolve();

/**
 * Opens what an export of the model wrote: a GGUF file, a folder with `onnx/model….onnx` or such a file, an elastic file's folder, or a
 * checkpoint folder. Nothing runs yet. Throws UserError for anything else, and for what is not of this model.
 */
export async function openExported(
  path: string,
  checkpoint: Checkpoint,
  threads: number | undefined,
): Promise<Exported> {
  const isFolder = (await statPath(path)).isDirectory();
  const common = { label: basename(resolve(path)), bytes: await bytesAt(path) };
  const placed = threads === undefined ? {} : { threads };
  if (!isFolder && (await beginsWith(path, 'GGUF')))
    return { ...common, ...(await openGguf(path, checkpoint, placed)) };
  const onnx = isFolder ? await onnxIn(path) : path.endsWith('.onnx') ? path : undefined;
  if (onnx !== undefined) return { ...common, ...(await openOnnx(onnx, checkpoint, placed)) };
  if (!isFolder)
    throw new UserError(
      `${common.label} is no export that can be verified: give a GGUF file, or the folder that an export wrote.`,
    );
  return { ...common, runtime: OWN, ...(await openWeights(path, checkpoint)) };
}

type Opened = Pick<Exported, 'content' | 'close' | 'runtime'>;

async function beginsWith(path: string, magic: string): Promise<boolean> {
  if ((await sizeOfFile(path)) < magic.length) return false;
  const handle = await open(path, 'r');
  try {
    const { buffer } = await handle.read(Buffer.alloc(magic.length), 0, magic.length, 0);
    return buffer.toString('latin1') === magic;
  } finally {
    await handle.close();
  }
}

/** The one model in the folder `onnx` of a folder; undefined where it has no such folder. */
async function onnxIn(folder: string): Promise<string | undefined> {
  const inner = join(folder, 'onnx');
  if (!(await isThere(inner))) return undefined;
  const names = (await readdir(inner)).filter((name) => /^model.*\.onnx$/.test(name));
  if (names.length === 1) return join(inner, names[0]!);
  throw new UserError(
    `${inner} holds ${names.length === 0 ? 'no model' : `${names.length} models`}; give the file itself.`,
  );
}

const foreign = (file: ForeignFile, title: string): Opened => ({
  runtime: title,
  content: { kind: 'foreign', start: (tokens, signal) => openForeign({ ...file, tokens }, title, signal) },
  close: nothing,
});

type Placed = Pick<ForeignFile, 'threads'>;

async function openGguf(path: string, { model }: Checkpoint, placed: Placed): Promise<Opened> {
  const where = basename(path);
  if (model.reads !== 'tokens')
    throw new UserError(`${where} is GGUF, a language model, and ${model.family} is none.`);
  const tokens = (await readGgufHeader(path)).count('tokenizer.ggml.tokens');
  requireOutputs(where, tokens, outputSize(model.head));
  const { folder, title } = await requireLlama();
  return foreign({ kind: 'gguf', path, library: folder, ...placed }, title);
}

function requireOutputs(where: string, found: number | string | undefined, expected: number): void {
  if (found !== expected)
    throw new UserError(
      `${where} has ${show(found ?? 'unknown', 20)} outputs, and the model ${expected}: it is an export of another one.`,
    );
}

async function openOnnx(path: string, { model }: Checkpoint, placed: Placed): Promise<Opened> {
  const where = basename(path);
  const { inputs, outputs, initializers } = (await readOnnxModel(path)).graph;
  const constants = new Set(initializers.map(({ name }) => name));
  const fed = inputs.filter(({ name }) => !constants.has(name));
  const logits = outputs.find(({ name }) => name === 'logits');
  if (!logits) throw new UserError(`${where} has no output "logits"; it is no export of such a model.`);
  requireOutputs(where, logits.shape?.at(-1), outputSize(model.head));
  const known = model.reads === 'tokens' ? ['input_ids', 'attention_mask', 'position_ids'] : ['pixel_values'];
  for (const name of known)
    if (!fed.some((one) => one.name === name))
      throw new UserError(`${where} has no input ${show(name)}; it is no export of such a model.`);
  const caches = fed.filter(({ name }) => !known.includes(name)).map((info) => cacheOf(info, where));
  return foreign({ kind: 'onnx', path, caches: Object.fromEntries(caches), ...placed }, runtimeName());
}

/** An input of keys or values before a text, and its shape where there are none. */
function cacheOf({ name, shape, dataType }: OnnxValueInfo, where: string): [string, number[]] {
  const [, heads, , size] = shape ?? [];
  const isCache = name.startsWith('past_key_values.') && shape?.length === 4 && dataType === 'float32';
  if (!isCache || typeof heads !== 'number' || typeof size !== 'number')
    throw new UserError(`${where} has an input ${show(name)} that nothing is known of.`);
  return [name, [1, heads, 0, size]];
}

async function openWeights(
  path: string,
  checkpoint: Checkpoint,
): Promise<Pick<Exported, 'content' | 'close'>> {
  const isElastic = await holdsElastic(path);
  const own = await openCheckpoint(path, { packed: true });
  try {
    requireSameModel(own, checkpoint);
    const { source } = own;
    if (!isElastic) return { content: { kind: 'weights', source }, close: () => own.close() };
    const set = await openAdapterSet(path);
    try {
      await requireMatch(own, set, path);
    } catch (error) {
      await set.close();
      throw error;
    }
    const close = async () => {
      await set.close();
      await own.close();
    };
    return { content: { kind: 'elastic', source, set }, close };
  } catch (error) {
    await own.close();
    throw error;
  }
}

/** Throws UserError where the tensors that the model reads are not there, or of another shape. */
function requireSameModel(own: Checkpoint, { model, listing, name }: Checkpoint): void {
  for (const part of partsOf(model))
    for (const entry of listing(part).parameters) {
      const tensor = storedName(part, entry);
      const found = own.source.tensors.get(tensor)?.shape.join(', ');
      if (found !== entry.storedShape.join(', '))
        throw new UserError(
          `${own.name} is no export of ${name}: the tensor ${show(tensor)} ${found === undefined ? 'is missing' : `has the shape [${found}]`}.`,
        );
    }
}
