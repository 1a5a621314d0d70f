/**
 * A checkpoint folder as the original is one, which everything that loads the original loads: transforms and adapters merged,
 * every quantized weight replaced by the values that the set makes of it. It saves no space; it shows in any tool what a set
 * does to the model.
 */
import { join } from 'node:path';
import { parseTree } from 'jsonc-parser';
import { CancelledError, UserError } from '../errors.js';
import { writeFolderAtomic } from '../formats/atomic.js';
import { decodeUtf8 } from '../formats/json.js';
import { show } from '../formats/paths.js';
import {
  safetensorsBytes,
  type SafetensorsData,
  type SafetensorsLayout,
} from '../formats/safetensors-write.js';
import { isKnownDtype, writeSafetensors, type SafetensorsDType } from '../formats/safetensors.js';
import type { HostTensor } from '../models/checkpoint.js';
import { storedName, type ParameterEntry } from '../models/listing.js';
import { partsOf, type Part } from '../models/model.js';
import { toFloats } from '../quantized/weight.js';
import type { ExportContext, Exporter } from './exporter.js';
import { exportedBits, exportedWeight } from './layer-weight.js';
import { modelFiles, writeInto, type ModelFile } from './model-files.js';

/**
 * Weights keep their tensor's dtype. Rounding to it changes what the set makes of them by at most 2⁻¹¹ of each value for F16 and
 * 2⁻⁸ for BF16: little beside the steps of a few bits, but as much as half a step of 8.
 */
export const mergedCheckpoint = merged({
  name: 'safetensors',
  words: {
    title: 'Checkpoint',
    description: "a checkpoint folder with the set merged into its weights, in the model's own data types",
  },
  dtypeOf: (stored) => stored,
  configured: (config) => config,
});

/** The values exactly as the set makes them. */
export const float32Checkpoint = merged({
  name: 'safetensors-f32',
  words: {
    title: 'Checkpoint in float32',
    description: 'the same in float32, where the values are exactly those that this engine runs',
  },
  dtypeOf: () => 'F32',
  configured: float32Config,
});

interface Variant extends Pick<Exporter, 'name' | 'words'> {
  /** The dtype that a parameter of the model gets. */
  readonly dtypeOf: (stored: SafetensorsDType) => SafetensorsDType;
  /** The content of `config.json`. */
  readonly configured: (config: Uint8Array) => Uint8Array;
}

const METADATA = { format: 'pt' };
const WEIGHTS = 'model.safetensors';

function merged({ name, words, dtypeOf, configured }: Variant): Exporter {
  const layoutsOf = (context: ExportContext) => {
    const owners = ownersOf(context);
    return [...context.original.source.tensors.values()].flatMap(({ name, shape, dtype }): Merged[] => {
      const owner = owners.get(name)?.[0];
      // Nothing of the model has another dtype.
      return isKnownDtype(dtype) ? [{ name, shape, dtype: owner ? dtypeOf(dtype) : dtype, owner }] : [];
    });
  };
  const filesOf = async ({ original }: ExportContext) =>
    Promise.all((await modelFiles(original.folder)).map((file) => withConfig(file, configured)));
  return {
    name,
    words,
    refuse,
    size: async (context) => {
      const files = await filesOf(context);
      const weights = safetensorsBytes(layoutsOf(context), METADATA);
      return { bytes: files.reduce((sum, { bytes }) => sum + bytes, weights), isExact: true };
    },
    write: (context, out) =>
      writeFolderAtomic(out, async (folder) => {
        for (const file of await filesOf(context)) await writeInto(folder, file.name, await file.read());
        const elements = elementsOf(context);
        const entries = layoutsOf(context).map((layout) => ({ ...layout, data: () => elements(layout) }));
        await writeSafetensors(join(folder, WEIGHTS), withProgress(entries, context), METADATA);
      }),
  };
}

/** A tensor of the exported file. */
interface Merged extends SafetensorsLayout {
  /** The parameter that it is; undefined for what the model does not use. */
  readonly owner: Owner | undefined;
}

interface Owner {
  readonly part: Part;
  readonly entry: ParameterEntry;
}

/** The parameters that each stored tensor is. */
function ownersOf({ source }: Pick<ExportContext, 'source'>): Map<string, Owner[]> {
  const owners = new Map<string, Owner[]>();
  for (const part of partsOf(source.checkpoint.model))
    for (const entry of source.checkpoint.listing(part).parameters) {
      const name = storedName(part, entry);
      owners.set(name, [...(owners.get(name) ?? []), { part, entry }]);
    }
  return owners;
}

function refuse(context: ExportContext): string | undefined {
  const { original, source, config } = context;
  if (config.mode !== 'weight-only')
    return 'The adapter set quantizes activations, which a checkpoint cannot say; calibrate weights alone (--mode weight-only).';
  if (source.cache !== undefined)
    return 'The adapter set quantizes keys and values, which a checkpoint cannot say; calibrate without --kv-bits.';
  if (source.checkpoint.model !== original.model) {
    const names = config.transforms.map((transform) => transform.name).join(', ');
    return `The adapter set changes what the model computes, not its weights alone (${names}), which a checkpoint cannot say.`;
  }
  for (const [name, owners] of ownersOf(context))
    if (owners.length > 1 && owners.some((owner) => isQuantized(context, owner)))
      return `The tensor ${show(name)} is shared, and quantized in one of its places alone; a checkpoint cannot hold both.`;
  return undefined;
}

const linearOf = ({ source }: Pick<ExportContext, 'source'>, { part, entry }: Owner) =>
  source.checkpoint.listing(part).linears.find((layer) => entry.name === `${layer.name}.weight`);

function isQuantized(context: ExportContext, owner: Owner): boolean {
  const layer = linearOf(context, owner);
  return layer !== undefined && exportedBits(context, owner.part, layer) !== undefined;
}

/** What a tensor is exported as; parameters of the part that was asked for last are kept. */
function elementsOf(context: ExportContext): (layout: Merged) => Promise<SafetensorsData> {
  const { original, source } = context;
  let last: { readonly part: Part; readonly parameters: ReadonlyMap<string, HostTensor> } | undefined;
  const parametersOf = async (part: Part) => {
    if (last?.part !== part) {
      last = undefined;
      last = { part, parameters: await source.checkpoint.read(part) };
      requireOwnParameters(context, part, last.parameters);
    }
    return last.parameters;
  };
  return async ({ name, dtype, owner }) => {
    if (!owner) return original.source.readBytes(name);
    const { part, entry } = owner;
    const parameters = await parametersOf(part);
    const layer = linearOf(context, owner);
    const weight = layer && (await exportedWeight(context, part, layer, parameters));
    const floats = weight ? toFloats(weight) : parameters.get(entry.name)!.data;
    requireRange(name, dtype, floats);
    return dtype === 'F64' ? Float64Array.from(floats) : floats;
  };
}

/** Transforms may give a layer a bias that the model's graph, and so its config, has no place for. */
function requireOwnParameters(
  { source }: ExportContext,
  part: Part,
  parameters: ReadonlyMap<string, HostTensor>,
): void {
  const known = new Set(source.checkpoint.listing(part).parameters.map(({ name }) => name));
  const added = [...parameters.keys()].find((name) => !known.has(name));
  if (added !== undefined)
    throw new UserError(
      `The adapter set adds ${show(part.prefix + added)}, which the model's config has no place for; it cannot be exported as a checkpoint.`,
    );
}

const MAX_HALF = 65504;

function requireRange(name: string, dtype: SafetensorsDType, floats: Float32Array): void {
  if (dtype === 'F16' && floats.some((x) => Math.abs(x) > MAX_HALF))
    throw new UserError(
      `The tensor ${show(name)} has values that float16 cannot hold; export it as ${float32Checkpoint.name}.`,
    );
}

/** Each tensor's turn is a safe point. */
function withProgress<T extends Merged & { readonly data: () => Promise<SafetensorsData> }>(
  entries: readonly T[],
  { hooks }: ExportContext,
) {
  let done = 0;
  return entries.map((entry) => ({
    ...entry,
    data: async () => {
      if (hooks.signal.aborted) throw new CancelledError();
      hooks.status(done / entries.length, `tensor ${done + 1}/${entries.length}`);
      done++;
      return entry.data();
    },
  }));
}

async function withConfig(file: ModelFile, change: Variant['configured']): Promise<ModelFile> {
  if (file.name !== 'config.json') return file;
  const content = change(await file.read());
  return { name: file.name, bytes: content.byteLength, read: () => Promise.resolve(content) };
}

/**
 * Loaders go by the dtype that the config names, whatever the tensors have. All else stays as it is written, numbers that only Python
 * reads among it.
 */
function float32Config(content: Uint8Array): Uint8Array {
  const text = decodeUtf8(content, 'config.json');
  const values = (parseTree(text)?.children ?? []).flatMap(({ children: [key, value] = [] }) =>
    value && ['torch_dtype', 'dtype'].includes(key?.value as string) ? [value] : [],
  );
  let [written, at] = ['', 0];
  for (const { offset, length } of values) {
    written += `${text.slice(at, offset)}"float32"`;
    at = offset + length;
  }
  return new TextEncoder().encode(written + text.slice(at));
}
