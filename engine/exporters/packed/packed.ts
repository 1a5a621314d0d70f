/**
 * Checkpoint folders whose quantized weights are packed integers with a `quantization_config`, for transformers and vLLM:
 * compressed-tensors, GPTQ and AWQ. Layers of blocks are quantized, everything else is as in a merged checkpoint.
 */
import { join } from 'node:path';
import { writeFolderAtomic } from '../../formats/atomic.js';
import {
  safetensorsBytes,
  type SafetensorsData,
  type SafetensorsLayout,
} from '../../formats/safetensors-write.js';
import { writeSafetensors, type SafetensorsDType } from '../../formats/safetensors.js';
import { toFloats, type GridWeight } from '../../quantized/weight.js';
import { distanceOf } from '../distance.js';
import { roundedTo, storedDtype } from '../dtypes.js';
import type { ExportContext, Exporter } from '../exporter.js';
import { untied } from '../fused.js';
import { withZeroInside } from '../grids.js';
import { exportedWeight } from '../layer-weight.js';
import { elementsOf, layoutsOf, mergedCheckpoint, METADATA, type Merged } from '../merged.js';
import { modelFiles, withConfig, withValue, writeInto } from '../model-files.js';
import { partReader, withProgress } from '../parameters.js';
import { serveCheckpoint } from '../serve.js';
import {
  awq,
  compressedTensors,
  gptqV2,
  integersOf,
  type Container,
  type PackedFormat,
} from './containers.js';
import { containersOf, floatingLayers, layersOf, nameOf, refusePacked, type Layer } from './layers.js';
import { indexOf, shardsOf, type Shard } from './shards.js';

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
  const contentOf = async (context: ExportContext) => {
    const containers = containersOf(context, words.title, format) as ReadonlyMap<string, Container>;
    const shards = shardsOf(withProgress(entriesOf(context, format, containers), context), shard);
    return { shards, files: await filesOf(context, format, containers, shards) };
  };
  return {
    name,
    words,
    refuse: (context) => refusePacked(context, words.title, format),
    holderOf: (context, part, entry) => {
      const containers = containersOf(context, words.title, format) as ReadonlyMap<string, Container>;
      const container = containers.get(nameOf({ part, entry }));
      if (!container) return mergedCheckpoint.holderOf!(context, part, entry);
      const scaleType = format.scaleType(storedDtype(context.original, part, entry));
      return {
        container: containerName(container),
        isExact: scaleType !== 'BF16',
        stored: (weight) => toFloats(heldWeight(weight as GridWeight, scaleType)),
      };
    },
    warn: (context) => {
      const containers = containersOf(context, words.title, format) as ReadonlyMap<string, Container>;
      return untied(new Map([...containers].map(([layer, one]) => [layer, containerName(one)])));
    },
    serve: serveCheckpoint,
    size: async (context) => {
      const { shards, files } = await contentOf(context);
      const weights = shards.reduce((sum, { entries }) => sum + safetensorsBytes(entries, METADATA), 0);
      return { bytes: files.reduce((sum, { bytes }) => sum + bytes, weights), isExact: true };
    },
    write: (context, out) =>
      writeFolderAtomic(out, async (folder) => {
        const { shards, files } = await contentOf(context);
        for (const file of files) await writeInto(folder, file.name, await file.read());
        for (const { file, entries } of shards) await writeSafetensors(join(folder, file), entries, METADATA);
      }),
  };
}

const containerName = ({ bits, isSymmetric }: Container) =>
  `${bits} bits${isSymmetric ? ' without zero points' : ''}`;

/** With zero points among its codes, and scales as a dtype holds them. */
function heldWeight(weight: GridWeight, scaleType: SafetensorsDType): GridWeight {
  const inside = withZeroInside(weight);
  return { ...inside, scale: roundedTo(inside.scale, scaleType) };
}

interface Entry extends SafetensorsLayout {
  readonly data: () => Promise<SafetensorsData>;
}

/** All tensors of the folder in the order of the model's. */
function entriesOf(
  context: ExportContext,
  format: PackedFormat,
  containers: ReadonlyMap<string, Container>,
): Entry[] {
  const layers = layersOf(context);
  const elements = elementsOf(context);
  const parametersOf = partReader(context);
  return layoutsOf(context, (stored) => stored).flatMap((layout): Entry[] => {
    const layer = layers.get(layout.name);
    if (!layer) return [{ ...layout, data: () => elements(layout) }];
    const container = containers.get(nameOf(layer))!;
    return packedEntries(context, format, container, layout, layer, parametersOf);
  });
}

function packedEntries(
  context: ExportContext,
  format: PackedFormat,
  container: Container,
  { dtype }: Merged,
  layer: Layer,
  parametersOf: ReturnType<typeof partReader>,
): Entry[] {
  const { part, entry } = layer;
  const scaleType = format.scaleType(dtype);
  const tensors = format.tensors(container, entry, scaleType);
  const integers = async (isFirst: boolean) => {
    const parameters = await parametersOf(part);
    const weight = (await exportedWeight(context, part, entry, parameters)) as GridWeight;
    const held = heldWeight(weight, scaleType);
    if (isFirst) {
      const own = parameters.get(`${entry.name}.weight`)!.data;
      const distance = distanceOf(toFloats(held), toFloats(weight), own);
      context.hooks.fit({ tensor: nameOf(layer), container: containerName(container), distance });
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

/** The files beside the weights: the model's own, and the index of shards where there are several. */
async function filesOf(
  context: ExportContext,
  format: PackedFormat,
  containers: ReadonlyMap<string, Container>,
  shards: readonly Shard<SafetensorsLayout>[],
) {
  const config = format.config(containers, floatingLayers(context));
  const own = await modelFiles(context.original.folder);
  const files = await Promise.all(
    own.map((file) => withConfig(file, (content) => withValue(content, ['quantization_config'], config))),
  );
  return [...files, ...indexOf(shards)];
}
