/**
 * Checkpoint folders whose quantized weights are packed integers with a `quantization_config`, for transformers and vLLM:
 * compressed-tensors, GPTQ and AWQ. Layers of blocks are quantized, everything else is as in a merged checkpoint.
 */
import { join } from 'node:path';
import { writeFolderAtomic } from '../../formats/atomic.js';
import { bfloat16ToFloat32, float32ToBfloat16, float32ToHalf, halfToFloat32 } from '../../formats/floats.js';
import {
  safetensorsBytes,
  type SafetensorsData,
  type SafetensorsLayout,
} from '../../formats/safetensors-write.js';
import { byteLengthOf, DTYPE_BYTES } from '../../formats/safetensors-header.js';
import { writeSafetensors, type SafetensorsDType } from '../../formats/safetensors.js';
import { show } from '../../formats/paths.js';
import type { LinearEntry } from '../../models/listing.js';
import { blocksOf, type Part } from '../../models/model.js';
import { toFloats, type GridWeight } from '../../quantized/weight.js';
import { distanceOf } from '../distance.js';
import type { ExportContext, Exporter } from '../exporter.js';
import { withZeroInside } from '../grids.js';
import { exportedForm, exportedWeight } from '../layer-weight.js';
import { elementsOf, layoutsOf, METADATA, refuseMerged, WEIGHTS, type Merged } from '../merged.js';
import { made, modelFiles, withConfig, withValue, writeInto } from '../model-files.js';
import { isQuantized, linearOf, ownersOf, partReader, withProgress } from '../parameters.js';
import {
  awq,
  compressedTensors,
  containerFor,
  gptqV2,
  integersOf,
  type Container,
  type PackedFormat,
} from './containers.js';

/** Bytes of weights in one file. */
const SHARD = 5e9;

export const compressedTensorsCheckpoint = packedCheckpoint('compressed-tensors', compressedTensors, {
  title: 'compressed-tensors',
  description: 'a checkpoint folder with packed weights of any bits, for transformers and vLLM',
});

export const gptqCheckpoint = packedCheckpoint('gptq', gptqV2, {
  title: 'GPTQ',
  description: "a checkpoint folder in GPTQModel's format gptq_v2, of 2, 3, 4 and 8 bits",
});

export const awqCheckpoint = packedCheckpoint('awq', awq, {
  title: 'AWQ',
  description: "a checkpoint folder in AutoAWQ's format gemm, of 4 bits, for vLLM and transformers",
});

/** @param shard the most bytes of weights in one file, unless one tensor has more */
export function packedCheckpoint(
  name: string,
  format: PackedFormat,
  words: Exporter['words'],
  shard = SHARD,
): Exporter {
  return {
    name,
    words,
    refuse: (context) => refuse(context, words.title, format),
    size: async (context) => {
      const shards = shardsOf(entriesOf(context, format), shard);
      const files = await filesOf(context, format, shards);
      const weights = shards.reduce((sum, { entries }) => sum + safetensorsBytes(entries, METADATA), 0);
      return { bytes: files.reduce((sum, { bytes }) => sum + bytes, weights), isExact: true };
    },
    write: (context, out) =>
      writeFolderAtomic(out, async (folder) => {
        const shards = shardsOf(withProgress(entriesOf(context, format), context), shard);
        for (const file of await filesOf(context, format, shards))
          await writeInto(folder, file.name, await file.read());
        for (const { file, entries } of shards) await writeSafetensors(join(folder, file), entries, METADATA);
      }),
  };
}

/** A quantized layer. */
interface Layer {
  readonly part: Part;
  readonly entry: LinearEntry;
}

const nameOf = ({ part, entry }: Layer) => part.prefix + entry.name;

/** Quantized layers by the names of their weights in the checkpoint. */
function layersOf(context: ExportContext): ReadonlyMap<string, Layer> {
  const layers = [...ownersOf(context)].flatMap(([name, owners]) =>
    owners
      .filter((owner) => isQuantized(context, owner))
      .map((owner) => [name, { part: owner.part, entry: linearOf(context, owner)! }] as const),
  );
  return new Map(layers);
}

const containerOf = (context: ExportContext, format: PackedFormat, { part, entry }: Layer) =>
  containerFor(format, exportedForm(context, part, entry));

function refuse(context: ExportContext, title: string, format: PackedFormat): string | undefined {
  const { model } = context.original;
  if (model.reads !== 'tokens')
    return `${title} is written of language models, which its readers load, not of ${show(model.family, 40)}.`;
  const reason = refuseMerged(context);
  if (reason !== undefined) return reason;
  const blocks = blocksOf(model);
  const containers: Container[] = [];
  for (const layer of layersOf(context).values()) {
    if (!blocks.includes(layer.part))
      return `The adapter set quantizes ${show(nameOf(layer))}, outside of the blocks, where readers of ${title} quantize nothing.`;
    const container = containerOf(context, format, layer);
    if (typeof container === 'string')
      return `The layer ${show(nameOf(layer))} ${container}, which ${title} cannot hold.`;
    containers.push(container);
  }
  if (format === awq && new Set(containers.map(({ groupSize }) => groupSize)).size > 1)
    return 'The layers have groups of different sizes, which AWQ cannot say.';
  return undefined;
}

interface Entry extends SafetensorsLayout {
  readonly data: () => Promise<SafetensorsData>;
}

/** All tensors of the folder in the order of the model's. */
function entriesOf(context: ExportContext, format: PackedFormat): Entry[] {
  const layers = layersOf(context);
  const elements = elementsOf(context);
  const parametersOf = partReader(context);
  return layoutsOf(context, (stored) => stored).flatMap((layout): Entry[] => {
    const layer = layers.get(layout.name);
    if (!layer) return [{ ...layout, data: () => elements(layout) }];
    return packedEntries(context, format, layout, layer, parametersOf);
  });
}

function packedEntries(
  context: ExportContext,
  format: PackedFormat,
  { dtype }: Merged,
  layer: Layer,
  parametersOf: ReturnType<typeof partReader>,
): Entry[] {
  const { part, entry } = layer;
  const container = containerOf(context, format, layer) as Container;
  const scaleType = format.scaleType(dtype);
  const tensors = format.tensors(container, entry, scaleType);
  const integers = async (isFirst: boolean) => {
    const parameters = await parametersOf(part);
    const weight = (await exportedWeight(context, part, entry, parameters)) as GridWeight;
    const inside = withZeroInside(weight);
    const held = { ...inside, scale: asType(inside.scale, scaleType) };
    if (isFirst) {
      const own = parameters.get(`${entry.name}.weight`)!.data;
      const distance = distanceOf(toFloats(held), toFloats(weight), own);
      context.hooks.fit({ tensor: nameOf(layer), container: `${container.bits} bits`, distance });
    }
    return integersOf(held, container);
  };
  return tensors.map(({ suffix, dtype: type, shape, data }, i) => ({
    name: `${nameOf(layer)}.${suffix}`,
    dtype: type,
    shape,
    data: async () => data(await integers(i === 0)),
  }));
}

/** Values as a dtype holds them. */
function asType(values: Float32Array, dtype: SafetensorsDType): Float32Array {
  if (dtype === 'F16') return halfToFloat32(float32ToHalf(values));
  return dtype === 'BF16' ? bfloat16ToFloat32(float32ToBfloat16(values)) : values;
}

interface Shard {
  readonly file: string;
  readonly entries: readonly Entry[];
}

const bytesOf = ({ shape, dtype }: Entry) => byteLengthOf(shape, DTYPE_BYTES.get(dtype)!)!;

/** Tensors in files of so many bytes, in order. */
function shardsOf(entries: readonly Entry[], most: number): Shard[] {
  const shards: Entry[][] = [[]];
  let bytes = 0;
  for (const entry of entries) {
    const own = bytesOf(entry);
    if (bytes > 0 && bytes + own > most) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(entry);
    bytes += own;
  }
  const count = String(shards.length).padStart(5, '0');
  const fileOf = (i: number) =>
    shards.length === 1 ? WEIGHTS : `model-${String(i + 1).padStart(5, '0')}-of-${count}.safetensors`;
  return shards.map((own, i) => ({ file: fileOf(i), entries: own }));
}

/** The files beside the weights: the model's own, and the index of shards where there are several. */
async function filesOf(context: ExportContext, format: PackedFormat, shards: readonly Shard[]) {
  const layers = [...layersOf(context).values()];
  const containers = new Map(
    layers.map((layer) => [nameOf(layer), containerOf(context, format, layer) as Container]),
  );
  const config = format.config(containers);
  const own = await modelFiles(context.original.folder);
  const files = await Promise.all(
    own.map((file) => withConfig(file, (content) => withValue(content, ['quantization_config'], config))),
  );
  if (shards.length === 1) return files;
  const index = {
    metadata: {
      total_size: shards.flatMap(({ entries }) => entries).reduce((sum, e) => sum + bytesOf(e), 0),
    },
    weight_map: Object.fromEntries(
      shards.flatMap(({ file, entries }) => entries.map(({ name }) => [name, file])),
    ),
  };
  const text = new TextEncoder().encode(JSON.stringify(index, undefined, 2));
  return [...files, made(`${WEIGHTS}.index.json`, text)];
}
