/**
 * ONNX for ONNX Runtime, transformers.js and onnxruntime-genai: a folder with the model's own files and `onnx/model….onnx`, its
 * weights beside it in one file. Weights alone are quantized in ONNX Runtime's own operator; where activations are too, products are of
 * integers.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic, writeFolderAtomic } from '../../formats/atomic.js';
import { encodeOnnxModel, onnxByteLength, type OnnxTensor } from '../../formats/onnx.js';
import { show } from '../../formats/paths.js';
import { silu } from '../../models/activations.js';
import type { LanguageModel } from '../../models/model.js';
import { layerNames } from '../../execution/model.js';
import { toFloats } from '../../quantized/weight.js';
import type { ExportContext, Exporter } from '../exporter.js';
import { made, modelFiles, withConfig, withValue, writeInto } from '../model-files.js';
import { refuseCache, refuseChanges, withProgress } from '../parameters.js';
import { serveOnnx } from '../serve.js';
import { classifierNetwork } from './classifier.js';
import { containerName, containerOf, heldIn, isOnGrid } from './containers.js';
import { decoderNetwork } from './decoder.js';
import { tableGroups, type TableBits } from './ends.js';
import { genaiConfig } from './genai.js';
import { MICROSOFT, type Network, type Stored } from './network.js';
import { isRotated } from './rotated.js';

export const onnx = onnxExporter({
  name: 'onnx',
  words: {
    title: 'ONNX',
    description: 'a folder for ONNX Runtime and transformers.js, weights in 2, 4 and 8 bits',
  },
});

/** The same with less of what a set leaves in floating point, which is most of a small model. */
export const onnxTables = ([8, 4] as const).map((tables) =>
  onnxExporter({
    name: `onnx-embedding${tables}`,
    words: {
      title: `ONNX, embedding and head in ${tables} bits`,
      description: `the same, the table of embeddings and the head in ${tables} bits too`,
    },
    tables,
  }),
);

interface Variant extends Pick<Exporter, 'name' | 'words'> {
  /** Bits of the table of embeddings and the head's weight; default as the set has them. */
  readonly tables?: TableBits;
}

function onnxExporter({ name: format, words, tables }: Variant): Exporter {
  return {
    name: format,
    words,
    refuse: (context) => refuse(context) ?? (tables && refuseTables(context, tables)),
    holderOf: (context, part, layer) => {
      const container = containerOf(context, part, layer);
      return {
        container: containerName(container),
        isExact: isOnGrid(container),
        stored: (weight) => toFloats(heldIn(weight, container)),
      };
    },
    ...(tables && {
      warn: () =>
        `The table of embeddings and the head are rounded to ${tables} bits, which the set does not say; verify shows what that costs.`,
    }),
    serve: (context, out) => serveOnnx(context, out, DTYPES[suffixFor(context)]),
    size: async (context) => {
      const { files, network, name } = await contentOf(context, tables);
      const placed = placedIn(network.stored, `${name}_data`);
      const model = encoded(context, network, placed.tensors).length;
      return { bytes: files.reduce((sum, file) => sum + file.bytes, model + placed.end), isExact: true };
    },
    write: (context, out) =>
      writeFolderAtomic(out, async (folder) => {
        const { files, network, name } = await contentOf(context, tables);
        for (const file of files) await writeInto(folder, file.name, await file.read());
        await mkdir(join(folder, FOLDER));
        const placed = placedIn(network.stored, `${name}_data`);
        const inline = new Map<string, Uint8Array>();
        const stored = withProgress(network.stored, context);
        await writeFileAtomic(join(folder, FOLDER, `${name}_data`), pieces(stored, placed.tensors, inline));
        const tensors = placed.tensors.map((tensor) =>
          'data' in tensor ? { ...tensor, data: inline.get(tensor.name)! } : tensor,
        );
        await writeInto(folder, join(FOLDER, name), encoded(context, network, tensors));
      }),
  };
}

const FOLDER = 'onnx';

function refuse(context: ExportContext): string | undefined {
  const { model } = context.original;
  const { family, layout } = model as LanguageModel;
  if (model.towers !== undefined || (model.task !== 'image-classification' && !layout))
    return `ONNX is written of picture classifiers and of language models in LLaMA's layout, not of ${show(family, 40)}.`;
  if (layout?.rope.beyond)
    return 'The model turns positions by the length of a text, which is not written as ONNX.';
  if (layout && layout.activation !== silu)
    return "The model's activation is not SiLU, with which alone language models are written as ONNX.";
  return refuseCache(context, 'ONNX') ?? (isRotated(context) ? undefined : refuseChanges(context, 'ONNX'));
}

function refuseTables({ original }: ExportContext, bits: TableBits): string | undefined {
  const { layout } = original.model as LanguageModel;
  if (!layout) return 'The model has no table of embeddings; export it as onnx.';
  if (tableGroups(layout.features, bits) === undefined)
    return `The table of embeddings has rows of ${layout.features}, which is no multiple of 16; export it as onnx.`;
  return undefined;
}

async function contentOf(context: ExportContext, tables: TableBits | undefined) {
  const { original } = context;
  const isText = original.model.reads === 'tokens';
  const name = nameFor(context);
  const own = await modelFiles(original.folder);
  const files = await Promise.all(
    own.map((file) => withConfig(file, (content) => withValue(content, EXTERNAL, { [name]: 1 }))),
  );
  const network = await (isText ? decoderNetwork(context, tables) : classifierNetwork(context));
  if (isText)
    files.push(
      made('genai_config.json', new TextEncoder().encode(await genaiConfig(context, `${FOLDER}/${name}`))),
    );
  return { files, network, name };
}

/** By the names that transformers.js finds models by: the most bits of a layer decide. */
const nameFor = (context: ExportContext) => `model_${suffixFor(context)}.onnx`;

function suffixFor({ original, bitsOf }: ExportContext): keyof typeof DTYPES {
  const most = Math.max(...layerNames(original).map(bitsOf));
  return most <= 2 ? 'q2' : most <= 4 ? 'q4' : 'quantized';
}

/** What transformers.js calls files with such a suffix. */
const DTYPES = { q2: 'q2', q4: 'q4', quantized: 'q8' } as const;

/** Where transformers.js has to be told of weights beside the model. */
const EXTERNAL = ['transformers.js_config', 'use_external_data_format'];

/** Constants below this lie in the model itself. */
const LEAST_EXTERNAL = 4096;
/** Others begin at multiples of it, so that readers can map them. */
const ALIGNMENT = 4096;

/** Where constants lie; those in the model have zeros for now. */
function placedIn(stored: readonly Stored[], location: string) {
  let end = 0;
  const places = new Map<string, number>();
  const tensors = stored.map(({ name, dataType, shape, same }): OnnxTensor => {
    const length = onnxByteLength(dataType, shape)!;
    if (length < LEAST_EXTERNAL) return { name, dataType, shape, data: new Uint8Array(length) };
    const offset =
      (same === undefined ? undefined : places.get(same)) ?? Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    places.set(name, offset);
    end = Math.max(end, offset + length);
    return { name, dataType, shape, external: { location, offset, length } };
  });
  return { tensors, end };
}

/** The bytes beside the model; those of the model itself go to `inline`, by their names. */
async function* pieces(
  stored: readonly Stored[],
  tensors: readonly OnnxTensor[],
  inline: Map<string, Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (const [i, tensor] of tensors.entries()) {
    if (!('data' in tensor) && tensor.external.offset < at) continue;
    const data = await stored[i]!.data();
    if ('data' in tensor) {
      inline.set(tensor.name, data);
      continue;
    }
    const { offset, length } = tensor.external;
    if (data.length !== length) throw new Error(`Tensor ${tensor.name}: ${data.length} bytes for ${length}.`);
    yield new Uint8Array(offset - at);
    yield data;
    at = offset + length;
  }
}

/** Operators of version 20, which ONNX Runtime has from 1.17 on. */
const OPSET = 20;
const IR_VERSION = 9;

const encoded = ({ original }: ExportContext, network: Network, initializers: readonly OnnxTensor[]) =>
  encodeOnnxModel({
    irVersion: IR_VERSION,
    opsets: [
      { domain: '', version: OPSET },
      { domain: MICROSOFT, version: 1 },
    ],
    producerName: 'elastic-precision',
    graph: { name: original.name, ...network, initializers },
  });
