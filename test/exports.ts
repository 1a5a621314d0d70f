/** What tests of exports share: a tokenizer, and a toy format. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { meanDivergence } from '../engine/execution/logit-divergence.js';
import { layerNames } from '../engine/execution/model.js';
import { openSampleCache, samplesIn } from '../engine/execution/sample-store.js';
import { normals } from '../engine/execution/testing.js';
import type { ExportContext, Exporter, Fit } from '../engine/exporters/exporter.js';
import type { OnnxModel } from '../engine/formats/onnx.js';
import { calibrate } from '../engine/methods/calibrate.js';
import type { CalibrationSet } from '../engine/methods/method.js';
import { resolveRequest } from '../engine/methods/request.js';
import { openAdapterSet, openSource } from '../engine/methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../engine/models/checkpoint.js';
import { inputSize } from '../engine/models/model.js';
import type { CalibrateRequest } from '../engine/protocol/protocol.js';
import type { Programs } from '../engine/runtime/programs.js';

/** Tokens of `writeTokenizer`. */
export const TOKENS = ['<s>', '</s>', 'a', 'b', 'c', 'ab', 'abc'];

/** A tokenizer of bytes as GPT-2 has it, with three letters, a token before every text, and a chat template. */
export async function writeTokenizer(folder: string): Promise<void> {
  const special = TOKENS.slice(0, 2).map((content, id) => ({ id, content, special: true }));
  const tokenizer = {
    added_tokens: special,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    },
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(TOKENS.map((token, id) => [token, id])),
      merges: ['a b', ['ab', 'c']],
    },
  };
  const config = { bos_token: '<s>', eos_token: { content: '</s>' }, chat_template: 'talk' };
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
}

/** A toy export format: one line of text for each layer. Long names of layers are more than it holds. */
const LINES = 'lines';

/** Bytes of a line: the layer, its bits, and what is between and behind them. */
const LINE = 100;

export const lines: Exporter = {
  name: LINES,
  words: { title: 'Lines', description: 'a line of text for each layer' },
  ending: '.txt',
  refuse: ({ source }) =>
    source.offered.includes(7) ? 'Seven is no number for lines; calibrate at other bits.' : undefined,
  size: ({ original }) => Promise.resolve({ bytes: LINE * layerNames(original).length, isExact: false }),
  write: async ({ original, source, bitsOf, hooks }, out) => {
    const written: string[] = [];
    for (const name of layerNames(original)) {
      const { kind } = await source.weight(name, bitsOf(name));
      hooks.status(written.length / 12, `layer ${name}`);
      written.push(`${name} ${bitsOf(name)} ${kind}\n`);
    }
    await writeFile(out, written.join(''));
  },
};

/** Says that it would take more than any drive has. */
export const boundless: Exporter = {
  ...lines,
  name: 'boundless',
  size: () => Promise.resolve({ bytes: 2 ** 80, isExact: false }),
};

/** An adapter set of the method that rounds, at 2 to 8 bits. */
export async function makeRoundingSet(programs: Programs, model: string, out: string): Promise<void> {
  const checkpoint = await openCheckpoint(model);
  const request = {
    model,
    method: 'rounding',
    mode: 'weight-only',
    bits: [2, 3, 4, 5, 6, 7, 8],
    options: {},
  } as const;
  const cache = await openSampleCache(Infinity);
  const resolved = resolveRequest(checkpoint, request);
  const common = { resume: false, distance: meanDivergence, engineVersion: '0' };
  const hooks = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
  await calibrate(programs, { checkpoint, ...resolved, out, cache, ...common }, hooks);
  await checkpoint.close();
}

/** Few: for sets of small models that are quick to make. */
export const SAMPLES = 3;

export function samplesOf({ model }: Pick<Checkpoint, 'model'>) {
  const size = SAMPLES * inputSize(model.stem);
  if (model.stem.inputType !== 'int64') {
    const { data } = normals([size], 'samples');
    return { data, inputs: samplesIn(data, SAMPLES) };
  }
  const data = BigInt64Array.from({ length: size }, (_, i) => BigInt((i * 7 + 3) % 11));
  return { data, inputs: samplesIn(data, SAMPLES) };
}

/**
 * An adapter set of any method, calibrated on those.
 * @param changed settings that no option has @param given other samples
 */
export async function makeSmallSet(
  programs: Programs,
  model: string,
  out: string,
  asked: Partial<CalibrateRequest>,
  changed: object = {},
  given?: CalibrationSet,
): Promise<void> {
  const checkpoint = await openCheckpoint(model);
  const found = resolveRequest(checkpoint, { ...asked, model });
  const resolved = { ...found, settings: { ...found.settings, ...changed } };
  const set = given ?? { ...samplesOf(checkpoint), name: 'samples', fingerprint: '0'.repeat(64) };
  const common = { resume: false, distance: meanDivergence, engineVersion: '0' };
  const hooks = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
  const cache = await openSampleCache(Infinity);
  const own = { ...resolved, ...(resolved.settings.samples > 0 && { set }), out, cache };
  await calibrate(programs, { checkpoint, ...own, ...common }, hooks);
  await checkpoint.close();
}

/** Opens a model with its set at some bits, for `use`, which is told of fits as they come. */
export async function withExportContext<T>(
  programs: Programs,
  model: string,
  adapters: string,
  bits: number,
  use: (context: ExportContext, fits: readonly Fit[]) => Promise<T>,
): Promise<T> {
  const original = await openCheckpoint(model);
  const set = await openAdapterSet(adapters);
  const fits: Fit[] = [];
  const fit = (each: Fit) => fits.push(each);
  const hooks = { signal: new AbortController().signal, status: () => undefined, fit };
  try {
    const source = openSource(programs, original, set);
    return await use({ programs, original, source, config: set.config, bitsOf: () => bits, hooks }, fits);
  } finally {
    await set.close();
    await original.close();
  }
}

/** An exported ONNX model without rounding of what enters its products, which is what makes them fast. */
export function exactly(model: OnnxModel): OnnxModel {
  const nodes = model.graph.nodes.map((node) => {
    const { accuracy_level: _level, ...attributes } = node.attributes;
    return { ...node, attributes };
  });
  return { ...model, graph: { ...model.graph, nodes } };
}
