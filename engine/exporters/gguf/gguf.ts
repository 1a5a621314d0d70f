/** GGUF, which llama.cpp and what is built on it (Ollama, LM Studio) load: one file with weights, tokenizer and chat template. */
import { UserError } from '../../errors.js';
import { makeFileAtomic } from '../../formats/atomic.js';
import { float32ToHalf } from '../../formats/floats.js';
import { DIVISORS, isTurned, rowOfHalves, tensorName } from '../../formats/gguf/names.js';
import { show } from '../../formats/paths.js';
import { silu } from '../../models/activations.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { LinearEntry, ParameterEntry } from '../../models/listing.js';
import { partsOf, type DecoderLayout, type LanguageModel, type Part } from '../../models/model.js';
import { toFloats, type QuantizedWeight } from '../../quantized/weight.js';
import type { ExportContext, Exporter } from '../exporter.js';
import { exportedBits, exportedForm, exportedWeight } from '../layer-weight.js';
import { linearOf, partReader, refuseMoreThanWeights, withProgress } from '../parameters.js';
import { distanceOf } from '../distance.js';
import { serveGguf } from '../serve.js';
import {
  bytesOfTensor,
  f32,
  ggufBytes,
  ggufPieces,
  text,
  u32,
  type GgufLayout,
  type Metadata,
} from './file.js';
import { tokenizerMetadata } from './tokenizer.js';
import { bytesOf, decodeWeight, encodeWeight, F16, F32, typeFor } from './weights.js';

export const gguf: Exporter = {
  name: 'gguf',
  ending: '.gguf',
  words: {
    title: 'GGUF',
    description: 'one file for llama.cpp, Ollama and LM Studio, with tokenizer and chat template',
  },
  refuse,
  holderOf: (context, part, layer) => {
    const { type, isOnGrid, isExact } = typeFor(exportedForm(context, part, layer));
    const stored = (weight: QuantizedWeight) => decodeWeight(encodeWeight(weight, type, isOnGrid), type);
    return { container: type.name, isExact, stored };
  },
  serve: serveGguf,
  size: async (context) => {
    const tensors = layoutsOf(context);
    return { bytes: ggufBytes(await metadataOf(context, tensors), tensors), isExact: true };
  },
  write: async (context, out) => {
    const tensors = layoutsOf(context);
    const metadata = await metadataOf(context, tensors);
    const bytes = tensorReader(context);
    const entries = tensors.map((layout) => ({ ...layout, data: () => bytes(layout) }));
    await makeFileAtomic(out, ggufPieces(metadata, withProgress(entries, context)));
  },
};

/** llama.cpp's name of a family, and whether it turns neighbouring channels of queries and keys instead of halves of a head. */
const ARCHITECTURES: Readonly<Record<string, { readonly name: string; readonly turnsNeighbours: boolean }>> =
  {
    llama: { name: 'llama', turnsNeighbours: true },
    mistral: { name: 'llama', turnsNeighbours: true },
    qwen2: { name: 'qwen2', turnsNeighbours: false },
    qwen3: { name: 'qwen3', turnsNeighbours: false },
  };

const modelOf = ({ original }: ExportContext) => original.model as LanguageModel;
const layoutOf = (context: ExportContext) => modelOf(context).layout!;
const architectureOf = (context: ExportContext) => ARCHITECTURES[modelOf(context).family]!;

function refuse(context: ExportContext): string | undefined {
  const { family, layout } = modelOf(context);
  const architecture = ARCHITECTURES[family];
  if (!layout || !architecture)
    return `GGUF is written of language models (${Object.keys(ARCHITECTURES).join(', ')}), not of ${show(family, 40)}.`;
  if (layout.activation !== silu)
    return `The model's activation is not SiLU, which is all that llama.cpp knows of ${family}.`;
  if (layout.rope.beyond) return 'The model turns positions by the length of a text, which GGUF cannot say.';
  if (layout.rope.gain !== 1)
    return 'The model stretches its context by YaRN, which is not written as GGUF yet.';
  if (stretchOf(layout) === undefined && architecture.name !== 'llama')
    return `The model stretches some waves of its positions, which GGUF cannot say of ${family}.`;
  if (family === 'qwen3' && layout.bias?.qkv)
    return 'The model has biases in attention, which llama.cpp does not read of qwen3.';
  return refuseMoreThanWeights(context, 'GGUF');
}

/** Divisors of the plain frequencies of positions. */
const divisorsOf = ({ headSize, rope: { theta, frequencies } }: DecoderLayout) =>
  frequencies.map((f, i) => theta ** ((-2 * i) / headSize) / f);

/** What all of them are divided by; undefined where it is not one number. */
function stretchOf(layout: DecoderLayout): number | undefined {
  const divisors = divisorsOf(layout);
  return divisors.every((d) => Math.abs(d / divisors[0]! - 1) < 1e-9) ? divisors[0] : undefined;
}

/** A tensor of the file. */
export interface Tensor extends GgufLayout {
  /** What it is; absent for the divisors of frequencies. */
  readonly owner?: { readonly part: Part; readonly entry: ParameterEntry };
  /** The layer whose weight it is, where it is quantized. */
  readonly layer?: LinearEntry;
}

export function layoutsOf(context: ExportContext): Tensor[] {
  const layout = layoutOf(context);
  const { checkpoint } = context.source;
  const tensors = partsOf(checkpoint.model).flatMap((part) =>
    checkpoint.listing(part).parameters.flatMap((entry): Tensor[] => {
      const owner = { part, entry };
      const { shape } = entry;
      const layer = linearOf(context, owner);
      const bits = layer && exportedBits(context, part, layer);
      // A tied head that is not quantized is the table of embeddings, which readers take for it.
      if (part === checkpoint.model.head && layer && layout.tied && bits === undefined) return [];
      const name = nameOf(context, part, entry.name);
      const float = shape.length === 1 ? F32 : F16;
      if (!layer || bits === undefined) return [{ name, shape, type: float, owner }];
      return [{ name, shape, type: typeFor(exportedForm(context, part, layer)).type, owner, layer }];
    }),
  );
  if (stretchOf(layout) !== undefined) return tensors;
  return [...tensors, { name: DIVISORS, shape: [layout.headSize / 2], type: F32 }];
}

function nameOf({ source }: ExportContext, part: Part, local: string): string {
  return tensorName(local, source.checkpoint.model.blocks.indexOf(part))!;
}

/** What a file says of the model. */
export async function metadataOf(context: ExportContext, tensors: readonly GgufLayout[]): Promise<Metadata> {
  const { original } = context;
  const { vocabulary, context: length, blocks } = modelOf(context);
  const layout = layoutOf(context);
  const { features, hidden, heads, keyHeads, headSize, epsilon, rope, windows = [] } = layout;
  const { name } = architectureOf(context);
  const stretch = stretchOf(layout) ?? 1;
  const own = (key: string) => `${name}.${key}`;
  return [
    ['general.architecture', text(name)],
    ['general.type', text('model')],
    ['general.name', text(original.name)],
    ['general.quantization_version', u32(2)],
    ['general.file_type', u32(commonest(tensors))],
    // llama.cpp knows no windows in these layers: within one, all tokens before are seen.
    [own('context_length'), u32(Math.min(length, ...windows.map((window) => window ?? length)))],
    [own('embedding_length'), u32(features)],
    [own('block_count'), u32(blocks.length)],
    [own('feed_forward_length'), u32(hidden)],
    [own('attention.head_count'), u32(heads)],
    [own('attention.head_count_kv'), u32(keyHeads)],
    [own('attention.key_length'), u32(headSize)],
    [own('attention.value_length'), u32(headSize)],
    [own('attention.layer_norm_rms_epsilon'), f32(epsilon)],
    [own('rope.dimension_count'), u32(headSize)],
    [own('rope.freq_base'), f32(rope.theta)],
    ...(Math.abs(stretch - 1) < 1e-9
      ? []
      : ([
          [own('rope.scaling.type'), text('linear')],
          [own('rope.scaling.factor'), f32(stretch)],
        ] as const)),
    [own('vocab_size'), u32(vocabulary)],
    ...(await tokenizerMetadata(original.folder, vocabulary)),
  ];
}

/** The file type of what most bytes are. */
function commonest(tensors: readonly GgufLayout[]): number {
  const bytes = new Map<number, number>();
  for (const tensor of tensors)
    if (tensor.shape.length > 1 && tensor.name !== 'token_embd.weight')
      bytes.set(tensor.type.fileType, (bytes.get(tensor.type.fileType) ?? 0) + bytesOfTensor(tensor));
  return [...bytes].reduce((a, b) => (b[1] > a[1] ? b : a))[0];
}

/** The bytes of a tensor; says how far quantized ones are from the set. */
export function tensorReader(context: ExportContext): (tensor: Tensor) => Promise<Uint8Array> {
  const parametersOf = partReader(context);
  return async (tensor) => {
    const { name, type, owner, layer } = tensor;
    if (!owner) return bytesOf(Float32Array.from(divisorsOf(layoutOf(context))));
    const { part, entry } = owner;
    const parameters = await parametersOf(part);
    const { data } = parameters.get(entry.name)!;
    const bytes = layer
      ? await quantizedBytes(context, tensor, { part, layer }, parameters)
      : type === F32
        ? bytesOf(data.slice())
        : bytesOf(halvesOf(name, data));
    return architectureOf(context).turnsNeighbours && isTurned(entry.name)
      ? byNeighbours(bytes, entry.shape[0]!, layoutOf(context).headSize)
      : bytes;
  };
}

async function quantizedBytes(
  context: ExportContext,
  { name, type }: Tensor,
  { part, layer }: { readonly part: Part; readonly layer: LinearEntry },
  parameters: ReadonlyMap<string, HostTensor>,
): Promise<Uint8Array> {
  const weight = (await exportedWeight(context, part, layer, parameters))!;
  const { isOnGrid } = typeFor(exportedForm(context, part, layer));
  const bytes = encodeWeight(weight, type, isOnGrid);
  const distance = distanceOf(
    decodeWeight(bytes, type),
    toFloats(weight),
    parameters.get(`${layer.name}.weight`)!.data,
  );
  context.hooks.fit({ tensor: name, container: type.name, distance });
  return bytes;
}

const MAX_HALF = 65504;

function halvesOf(name: string, data: Float32Array): Uint16Array {
  if (data.some((x) => Math.abs(x) > MAX_HALF))
    throw new UserError(
      `The tensor ${show(name)} has values that float16 cannot hold, in which GGUF would store it.`,
    );
  return float32ToHalf(data);
}

/** Rows of queries or keys so that channels which are turned together are neighbours. */
function byNeighbours(bytes: Uint8Array, rows: number, headSize: number): Uint8Array {
  const size = bytes.length / rows;
  const out = new Uint8Array(bytes.length);
  for (let row = 0; row < rows; row++) {
    const from = rowOfHalves(row, headSize);
    out.set(bytes.subarray(from * size, (from + 1) * size), row * size);
  }
  return out;
}
