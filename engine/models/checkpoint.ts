/** A checkpoint folder: configuration, weights by range, and the model they make. */
import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { fingerprintModel } from '../formats/fingerprint.js';
import { expectObject, readJsonFile } from '../formats/json.js';
import { openSafetensors, type TensorSource } from '../formats/safetensors.js';
import { sizeOf, type Shape } from '../graph/ir.js';
import { ModelConfig } from './config.js';
import { listPart, storedName, type PartListing } from './listing.js';
import { partsOf, type Model, type Part } from './model.js';
import type { BuildOptions, Family } from './family.js';
import { buildModel } from './registry.js';

/** A tensor in memory, row-major. */
export interface HostTensor {
  readonly data: Float32Array;
  readonly shape: Shape;
}

/** @typeParam M what is known of its model */
export interface Checkpoint<M extends Model = Model> {
  readonly folder: string;
  readonly name: string;
  readonly model: M;
  readonly source: TensorSource;
  /** Parameters of the model, tensors that several parts share counted once, and those that it does not use not at all. */
  readonly parameters: number;
  readonly listing: (part: Part) => PartListing;
  /** The parameters of one part by local name, in float32. Throws UserError for one that is not finite. */
  read(part: Part): Promise<Map<string, HostTensor>>;
  /** Identifies configuration and weights (see docs/FORMATS.md). */
  fingerprint(): Promise<string>;
  close(): Promise<void>;
}

/** A configuration is small; more than this is not one. */
const MAX_CONFIG_BYTES = 4 << 20;

/**
 * Opens a folder with `config.json` and safetensors. Every tensor that the model needs is checked for presence and
 * shape before any is read. `families` are those of the registry by default. Throws UserError with the reason for a model that is not supported or does not fit.
 */
export async function openCheckpoint(
  folder: string,
  options: BuildOptions = {},
  families?: readonly Family[],
): Promise<Checkpoint> {
  const name = basename(resolve(folder));
  const configPath = join(folder, 'config.json');
  const model = buildModel(
    new ModelConfig(
      expectObject(await readJsonFile(configPath, { maxBytes: MAX_CONFIG_BYTES }), 'config.json'),
      `${name}/config.json`,
    ),
    options,
    families,
  );
  const source = await openSafetensors(folder);
  try {
    const listings = listParts(model);
    const sizes = new Map<string, number>();
    for (const part of partsOf(model))
      for (const entry of listings(part).parameters) {
        const tensor = storedName(part, entry);
        checkTensor(source, tensor, entry.storedShape, name);
        sizes.set(tensor, sizeOf(entry.shape));
      }
    return {
      folder: resolve(folder),
      name,
      model,
      source,
      parameters: [...sizes.values()].reduce((a, b) => a + b, 0),
      listing: listings,
      read: (part) => readPart(source, part, listings(part), name),
      fingerprint: async () => fingerprintModel(source, await readFile(configPath, 'utf8')),
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Listings by kind: parts of one kind are listed once. */
function listParts(model: Model): (part: Part) => PartListing {
  const byKind = new Map(partsOf(model).map((part) => [part.kind, part]));
  const listings = new Map([...byKind].map(([kind, part]) => [kind, listPart(part)]));
  return (part) => listings.get(part.kind)!;
}

function checkTensor(source: TensorSource, tensor: string, shape: Shape, checkpoint: string): void {
  const info = source.tensors.get(tensor);
  if (!info)
    throw new UserError(
      `${checkpoint}: the tensor "${tensor}" is missing; config.json says the model has it.`,
    );
  if (info.shape.length !== shape.length || info.shape.some((n, i) => n !== shape[i]))
    throw new UserError(
      `${checkpoint}: the tensor "${tensor}" has the shape [${info.shape.join(', ')}]; by config.json it is [${shape.join(', ')}].`,
    );
  if (!/^(F|BF)\d/.test(info.dtype))
    throw new UserError(
      `${checkpoint}: the tensor "${tensor}" holds ${info.dtype}, not floating-point numbers.`,
    );
}

async function readPart(
  source: TensorSource,
  part: Part,
  listing: PartListing,
  checkpoint: string,
): Promise<Map<string, HostTensor>> {
  const tensors = new Map<string, HostTensor>();
  for (const entry of listing.parameters) {
    const name = storedName(part, entry);
    const data = await source.read(name);
    if (!data.every(Number.isFinite))
      throw new UserError(`${checkpoint}: the tensor "${name}" holds values that are NaN or infinite.`);
    tensors.set(entry.name, { data, shape: entry.shape });
  }
  return tensors;
}
