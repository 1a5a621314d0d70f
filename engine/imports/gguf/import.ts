/** A GGUF file as a checkpoint folder: weights in floating point, configuration and tokenizer as the file says them. */
import { open, type FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CancelledError, UserError } from '../../errors.js';
import { writeFileAtomic, writeFolderAtomic } from '../../formats/atomic.js';
import { readGgufHeader, type GgufHeader, type GgufTensor } from '../../formats/gguf/header.js';
import { DIVISORS, isTurned, rowOfHalves, tensorName } from '../../formats/gguf/names.js';
import type { JsonObject } from '../../formats/json.js';
import { show } from '../../formats/paths.js';
import { safetensorsBytes, writeSafetensors } from '../../formats/safetensors-write.js';
import { ModelConfig } from '../../models/config.js';
import { listPart } from '../../models/listing.js';
import { partsOf, type LanguageModel } from '../../models/model.js';
import { buildModel } from '../../models/registry.js';
import { ARCHITECTURES, configOf, requireDivisors } from './config.js';
import { tokenizerFiles, type TokenizerFiles } from './tokenizer.js';
import { readTensor, typeOf } from './values.js';

/** What weights are written in. */
export const DTYPES = ['F32', 'F16', 'BF16'] as const;
export type ImportDtype = (typeof DTYPES)[number];

const IN_CONFIG: Readonly<Record<ImportDtype, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };
const METADATA = { format: 'pt' };

export interface ImportHooks {
  /** Each tensor is a safe point: where it is aborted, CancelledError is thrown there. */
  readonly signal: AbortSignal;
  status(done: number, phase: string): void;
}

/** A file that is understood, of which no tensor has been read. */
export interface GgufImport {
  /** Bytes of the weights that will be written. */
  readonly bytes: number;
  /** Names of ggml's types that the tensors are in. */
  readonly types: readonly string[];
  /** Makes the folder `out`, which must not be there, whole or not at all. Throws UserError for values that are not finite. */
  write(out: string, hooks: ImportHooks): Promise<void>;
}

interface Stored {
  readonly name: string;
  readonly shape: readonly number[];
  readonly tensor: GgufTensor;
  /** Whether rows are of halves in the model, and of neighbours in the file. */
  readonly isTurned: boolean;
}

/** Reads and checks all but the weights. Throws UserError for what cannot be a checkpoint of a model that is supported. */
export async function openGgufImport(path: string, dtype: ImportDtype): Promise<GgufImport> {
  const where = basename(path);
  const header = await readGgufHeader(path);
  const divisors = await divisorsOf(path, header, where);
  const config = configOf(header, divisors, IN_CONFIG[dtype], where);
  const model = buildModel(new ModelConfig(config, where)) as LanguageModel;
  const layout = model.layout!;
  if (divisors) requireDivisors(divisors, layout.rope, where);
  const files = tokenizerFiles(header, where);
  const stored = storedTensors(header, model, where);
  const layouts = stored.map(({ name, shape }) => ({ name, shape, dtype }));
  return {
    bytes: safetensorsBytes(layouts, METADATA),
    types: [...new Set(stored.map(({ tensor }) => typeOf(tensor, header.size, where).name))],
    write: (out, hooks) =>
      writeFolderAtomic(out, async (folder) => {
        await writeJson(folder, { 'config.json': config, ...files });
        const file = await open(path, 'r');
        try {
          await writeWeights(folder, file);
        } finally {
          await file.close();
        }

        async function writeWeights(to: string, from: FileHandle): Promise<void> {
          let done = 0;
          const entries = stored.map((each) => ({
            ...{ name: each.name, shape: each.shape, dtype },
            data: async () => {
              if (hooks.signal.aborted) throw new CancelledError();
              hooks.status(done / stored.length, `tensor ${++done}/${stored.length}`);
              return valuesOf(from, each);
            },
          }));
          await writeSafetensors(join(to, 'model.safetensors'), entries, METADATA);
        }
      }),
  };

  async function valuesOf(
    file: FileHandle,
    { tensor, shape, isTurned: turned }: Stored,
  ): Promise<Float32Array> {
    const values = await readTensor(file, tensor, header.size, where);
    const largest = values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    if (!Number.isFinite(largest))
      throw new UserError(`${where}: the tensor ${show(tensor.name)} holds values that are NaN or infinite.`);
    if (dtype === 'F16' && largest > MAX_HALF)
      throw new UserError(
        `${where}: the tensor ${show(tensor.name)} has values that float16 cannot hold; choose another --dtype.`,
      );
    return turned ? byHalves(values, shape[0]!, layout.headSize) : values;
  }
}

const MAX_HALF = 65504;

async function divisorsOf(
  path: string,
  { tensors, size }: GgufHeader,
  where: string,
): Promise<Float32Array | undefined> {
  const tensor = tensors.get(DIVISORS);
  if (!tensor) return undefined;
  if (tensor.shape.length !== 1 || tensor.shape[0]! > 1 << 12)
    throw new UserError(`${where}: "${DIVISORS}" is no list of numbers.`);
  const file = await open(path, 'r');
  try {
    return await readTensor(file, tensor, size, where);
  } finally {
    await file.close();
  }
}

/** The tensors of a model, each once; refuses files that lack one or have others, which the model as configured has no place for. */
function storedTensors(header: GgufHeader, model: LanguageModel, where: string): Stored[] {
  const { turnsNeighbours } = ARCHITECTURES[header.architecture]!;
  const found = new Map<string, Stored>();
  for (const part of partsOf(model))
    for (const { name: local, shape, storedName } of listPart(part).parameters) {
      const name = storedName ?? part.prefix + local;
      // A tied head is its table.
      if (found.has(name)) continue;
      const theirs = tensorName(local, model.blocks.indexOf(part));
      const tensor = theirs === undefined ? undefined : header.tensors.get(theirs);
      if (!tensor) throw new UserError(`${where}: the tensor ${show(theirs ?? name)} is missing.`);
      if (tensor.shape.join() !== shape.join())
        throw new UserError(
          `${where}: the tensor ${show(tensor.name)} has the shape [${tensor.shape.join(', ')}]; by its keys it is [${shape.join(', ')}].`,
        );
      typeOf(tensor, header.size, where);
      found.set(name, { name, shape, tensor, isTurned: turnsNeighbours && isTurned(local) });
    }
  const read = new Set([...found.values()].map(({ tensor }) => tensor.name).concat(DIVISORS));
  const other = [...header.tensors.keys()].find((name) => !read.has(name));
  if (other !== undefined)
    throw new UserError(
      `${where}: has the tensor ${show(other)}, which ${header.architecture} as it is read here has no place for.`,
    );
  return [...found.values()];
}

/** Rows of queries or keys, or their biases, so that a head's first half is turned with its second. */
function byHalves(values: Float32Array, rows: number, headSize: number): Float32Array {
  const size = values.length / rows;
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    out.set(values.subarray(row * size, (row + 1) * size), rowOfHalves(row, headSize) * size);
  return out;
}

async function writeJson(
  folder: string,
  files: TokenizerFiles & { readonly 'config.json': JsonObject },
): Promise<void> {
  for (const [name, value] of Object.entries(files))
    await writeFileAtomic(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
}
