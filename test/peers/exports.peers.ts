/** Exported files in the libraries that read them: their values, and the tokens of texts. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { layerNames } from '../../engine/execution/model.js';
import { runExport } from '../../engine/jobs/runs/export.js';
import { openAdapterSet, openSource } from '../../engine/methods/sets.js';
import { openCheckpoint } from '../../engine/models/checkpoint.js';
import { toFloats } from '../../engine/quantized/weight.js';
import { makeRoundingSet, writeTokenizer } from '../exports.js';
import { writeRandomModel } from '../fixtures.js';
import { readGguf } from '../read-gguf.js';
import { withLlama } from './llama-cpp.js';
import { isInstalled, peer } from './peer.js';
import { BITS, openBench, SPEECHES, type Bench } from './samples.js';
import { expectClose, floats, openReference, type Reference } from './suite.js';

/** Wide enough for blocks of 256. */
const WIDE = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 256,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 512,
  max_position_embeddings: 64,
  vocab_size: 9,
};

let bench: Bench;
let reference: Reference<Record<string, string>>;
beforeAll(async () => {
  if (!isInstalled) return;
  bench = await openBench();
  reference = openReference('exports.py');
  await writeRandomModel(bench.at('wide'), WIDE);
  await writeTokenizer(bench.at('wide'));
  await makeRoundingSet(bench.programs, bench.at('wide'), bench.at('wide-set'));
}, 300_000);
afterAll(async () => {
  if (!isInstalled) return;
  reference.close();
  await bench.close();
});

async function exportedWide(bits: number): Promise<string> {
  const [model, adapters, out] = ['wide', 'wide-set', `wide-${bits}.gguf`].map((name) => bench.at(name)) as [
    string,
    string,
    string,
  ];
  const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
  await runExport({ model, adapters, bits, format: 'gguf', out, device: 'cpu', threads: 1 }, quiet);
  return out;
}

describe('GGUF', () => {
  for (const [model, fileOf] of [
    ['wide', exportedWide],
    ['speeches', (bits: number) => bench.exported('llama-speeches', bits, 'gguf')],
  ] as const)
    for (const bits of BITS)
      peer(`of ${model} at ${bits} bits has the values that the library reads`, async () => {
        const file = await fileOf(bits);
        const known = readGguf(await readFile(file)).tensors;
        const read = await reference.ask({ reader: 'gguf', path: file });
        expect(Object.keys(read).sort()).toEqual([...known.keys()].sort());
        for (const [name, { floats: own }] of known) expectClose(own, floats(read[name]!), 1e-6, name);
      });

  peer('in llama.cpp splits texts as the tokenizer does', async () => {
    const file = await bench.exported('llama-speeches', 4, 'gguf');
    const expected = await reference.ask({ reader: 'tokens', model: SPEECHES, texts: TEXTS });
    const found = await withLlama(file, (_, tokenize) => Promise.resolve(TEXTS.map(tokenize)));
    expect(found).toEqual(JSON.parse(expected.ids!));
  });
});

const TEXTS = ["It's 1234 people, isn't it?", 'Zwölf  Boxkämpfer\n\n  日本 \t x', ' <s> and </s>'];

describe('compressed-tensors', () => {
  for (const bits of BITS)
    peer(`at ${bits} bits has the values that the library unpacks`, async () => {
      const path = await bench.exported('llama-speeches', bits, 'compressed-tensors');
      const read = await reference.ask({ reader: 'compressed-tensors', path });
      const checkpoint = await openCheckpoint(SPEECHES);
      const set = await openAdapterSet(bench.at('llama-speeches-set'));
      const source = openSource(bench.programs, checkpoint, set);
      expect(Object.keys(read).sort()).toEqual(layerNames(checkpoint).sort());
      for (const [layer, values] of Object.entries(read))
        expectClose(floats(values), toFloats(await source.weight(layer, bits)), 1e-6, layer);
      await set.close();
      await checkpoint.close();
    });
});
