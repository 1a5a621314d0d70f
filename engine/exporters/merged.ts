/**
 * A checkpoint folder as the original is one, which everything that loads the original loads: transforms and adapters merged,
 * every quantized weight replaced by the values that the set makes of it. It saves no space; it shows in any tool what a set
 * does to the model.
 */
import { join } from 'node:path';
import { parseTree } from 'jsonc-parser';
import { UserError } from '../errors.js';
import { writeFolderAtomic } from '../formats/atomic.js';
import { decodeUtf8 } from '../formats/json.js';
import { show } from '../formats/paths.js';
import {
  safetensorsBytes,
  type SafetensorsData,
  type SafetensorsLayout,
} from '../formats/safetensors-write.js';
import { isKnownDtype, writeSafetensors, type SafetensorsDType } from '../formats/safetensors.js';
import { toStored } from '../models/stored-form.js';
import { toFloats } from '../quantized/weight.js';
import { isFull, roundedTo, storedDtype } from './dtypes.js';
import type { ExportContext, Exporter } from './exporter.js';
import { exportedWeight } from './layer-weight.js';
import { modelFiles, withConfig, writeInto } from './model-files.js';
import {
  isQuantized,
  linearOf,
  ownersOf,
  partReader,
  refuseMoreThanWeights,
  withProgress,
  type Owner,
} from './parameters.js';
import { serveCheckpoint } from './serve.js';

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

export const METADATA = { format: 'pt' };
export const WEIGHTS = 'model.safetensors';

function merged({ name, words, dtypeOf, configured }: Variant): Exporter {
  const filesOf = async ({ original }: ExportContext) =>
    Promise.all((await modelFiles(original.folder)).map((file) => withConfig(file, configured)));
  return {
    name,
    words,
    refuse: refuseMerged,
    holderOf: ({ original }, part, layer) => {
      const dtype = dtypeOf(storedDtype(original, part, layer));
      return {
        container: dtype,
        isExact: isFull(dtype),
        stored: (weight) => roundedTo(toFloats(weight), dtype),
      };
    },
    serve: serveCheckpoint,
    size: async (context) => {
      const files = await filesOf(context);
      const weights = safetensorsBytes(layoutsOf(context, dtypeOf), METADATA);
      return { bytes: files.reduce((sum, { bytes }) => sum + bytes, weights), isExact: true };
    },
    write: (context, out) =>
      writeFolderAtomic(out, async (folder) => {
        for (const file of await filesOf(context)) await writeInto(folder, file.name, await file.read());
        const elements = elementsOf(context);
        const entries = layoutsOf(context, dtypeOf).map((layout) => ({
          ...layout,
          data: () => elements(layout),
        }));
        await writeSafetensors(join(folder, WEIGHTS), withProgress(entries, context), METADATA);
      }),
  };
}

/** A tensor of the exported file. */
export interface Merged extends SafetensorsLayout {
  /** The parameter that it is; undefined for what the model does not use. */
  readonly owner: Owner | undefined;
}

/** All tensors that the model's files hold. @param dtypeOf the dtype that a parameter of the model gets */
export function layoutsOf(context: ExportContext, dtypeOf: Variant['dtypeOf']): Merged[] {
  const owners = ownersOf(context);
  return [...context.original.source.tensors.values()].flatMap(({ name, shape, dtype }): Merged[] => {
    const owner = owners.get(name)?.[0];
    // Nothing of the model has another dtype.
    return isKnownDtype(dtype) ? [{ name, shape, dtype: owner ? dtypeOf(dtype) : dtype, owner }] : [];
  });
}

/** Why a checkpoint folder cannot hold a set. */
export function refuseMerged(context: ExportContext): string | undefined {
  const reason = refuseMoreThanWeights(context, 'a checkpoint');
  if (reason !== undefined) return reason;
  for (const [name, owners] of ownersOf(context))
    if (owners.length > 1 && owners.some((owner) => isQuantized(context, owner)))
      return `The tensor ${show(name)} is shared, and quantized in one of its places alone; a checkpoint cannot hold both.`;
  return undefined;
}

/** What a tensor is exported as. */
export function elementsOf(context: ExportContext): (layout: Merged) => Promise<SafetensorsData> {
  const parametersOf = partReader(context);
  return async ({ name, dtype, owner }) => {
    if (!owner) return context.original.source.readBytes(name);
    const { part, entry } = owner;
    const parameters = await parametersOf(part);
    const layer = linearOf(context, owner);
    const weight = layer && (await exportedWeight(context, part, layer, parameters));
    const floats = toStored(entry, weight ? toFloats(weight) : parameters.get(entry.name)!.data);
    requireRange(name, dtype, floats);
    return dtype === 'F64' ? Float64Array.from(floats) : floats;
  };
}

const MAX_HALF = 65504;

function requireRange(name: string, dtype: SafetensorsDType, floats: Float32Array): void {
  if (dtype === 'F16' && floats.some((x) => Math.abs(x) > MAX_HALF))
    throw new UserError(
      `The tensor ${show(name)} has values that float16 cannot hold; export it as ${float32Checkpoint.name}.`,
    );
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
