/** A checkpoint folder: configuration, weights by range, and the model they make. */
import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { fingerprintModel } from '../formats/fingerprint.js';
import { expectObject, readJsonFile } from '../formats/json.js';
import { refuseOtherFormats } from '../formats/other-formats.js';
import { isPacked, unpacked } from '../formats/packed.js';
import { show } from '../formats/paths.js';
import { isFloat, type TensorSource } from '../formats/safetensors.js';
import { openWeights } from '../formats/weights.js';
import { sizeOf, type Shape } from '../graph/ir.js';
import { ModelConfig } from './config.js';
import { listPart, storedName, type PartListing } from './listing.js';
import { partsOf, type Model, type Part } from './model.js';
import type { BuildOptions, Family } from './family.js';
import { buildModel, familyOf } from './registry.js';
import { fromStored } from './stored-form.js';
import { findOwnHead, neededTensors, renameTensors, storedNames, unreadTensors } from './stored-tensors.js';

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
  /** What somebody who reads its results should know, a line each: what was read in one of two ways, or not at all. */
  readonly warnings: readonly string[];
  readonly listing: (part: Part) => PartListing;
  /** The parameters of one part by local name, in float32. Throws UserError for one that is not finite. */
  read(part: Part): Promise<Map<string, HostTensor>>;
  /** Identifies configuration and weights (see docs/FORMATS.md). */
  fingerprint(): Promise<string>;
  close(): Promise<void>;
}

export interface OpenOptions extends BuildOptions {
  /** Tensors of weights that are not in the folder yet, by their headers: the checkpoint can be described, and not be read. */
  readonly outline?: TensorSource;
}

/** A configuration is small; more than this is not one. */
export const MAX_CONFIG_BYTES = 4 << 20;

/**
 * Opens a folder with `config.json` and safetensors, or an elastic file. Every tensor that the model needs is checked for presence and
 * shape before any is read. Tensors go by the family's names in all that follows, however the checkpoint calls them. `families`
 * are those of the registry by default. Throws UserError with the reason for a model that is not supported or does not fit.
 */
export async function openCheckpoint(
  folder: string,
  { outline, ...options }: OpenOptions = {},
  families?: readonly Family[],
): Promise<Checkpoint> {
  await refuseOtherFormats(folder);
  const name = basename(resolve(folder));
  const configPath = join(folder, 'config.json');
  const values = expectObject(
    await readJsonFile(configPath, { maxBytes: MAX_CONFIG_BYTES, python: true }),
    'config.json',
  );
  const packed = options.packed === true && isPacked(values);
  const build = (known: BuildOptions) => {
    const config = new ModelConfig(values, `${name}/config.json`);
    return { model: buildModel(config, { ...options, packed, ...known }, families), notes: config.notes };
  };
  // What is refused by its configuration is refused before weights are looked at.
  build({});
  const { weights, isElastic } = outline ? { weights: outline, isElastic: false } : await openWeights(folder);
  try {
    const stored = packed ? await unpacked(weights, values, name) : weights;
    const family = familyOf(new ModelConfig(values, `${name}/config.json`), families);
    const names = storedNames(stored, family);
    const stores = (tensor: string) => names.find(tensor) !== undefined;
    const untied = outline ? undefined : await findOwnHead(build({ stores }).model, stored, names);
    const { model, notes } = build({ stores, untied: untied !== undefined });
    const listings = listParts(model);
    const needed = neededTensors(model, listings);
    const source = renameTensors(stored, names.of(needed));
    for (const { tensor, storedShape } of needed.values()) checkTensor(source, tensor, storedShape, name);
    return {
      folder: resolve(folder),
      name,
      model,
      source,
      parameters: [...needed.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0),
      warnings: [
        ...notes,
        ...(isElastic
          ? [
              `${name}: an elastic file; what it is compared with as full precision are its own 8-bit weights.`,
            ]
          : []),
        ...(untied === undefined ? [] : [`${name}: ${untied}`]),
        ...unreadTensors(source, needed, family).map((line) => `${name}: ${line}`),
      ],
      listing: listings,
      read: (part) => readPart(source, part, listings(part), name),
      fingerprint: async () => fingerprintModel(stored, await readFile(configPath, 'utf8')),
      close: () => stored.close(),
    };
  } catch (error) {
    await weights.close();
    throw error;
  }
}

/** A checkpoint with the weights of another source, which has the same tensors by the same names, and stays its owner's. */
export const withWeights = <M extends Model>(
  checkpoint: Checkpoint<M>,
  source: TensorSource,
): Checkpoint<M> => ({
  ...checkpoint,
  source,
  read: (part) => readPart(source, part, checkpoint.listing(part), checkpoint.name),
});

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
  if (!isFloat(info))
    throw new UserError(
      `${checkpoint}: the tensor "${tensor}" holds ${show(info.dtype, 24)}; models are read in F64, F32, F16 and BF16.`,
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
    tensors.set(entry.name, { data: fromStored(entry, data), shape: entry.shape });
  }
  return tensors;
}
