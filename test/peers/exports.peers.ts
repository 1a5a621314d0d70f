/** Exported files in the libraries that load them: their values, and what models make of them. */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { layerNames } from '../../engine/execution/model.js';
import { openElasticModel, widthsOf } from '../../engine/execution/quantized-model.js';
import { openSafetensors } from '../../engine/formats/safetensors.js';
import { runExport } from '../../engine/jobs/runs/export.js';
import { openAdapterSet, openSource } from '../../engine/methods/sets.js';
import { openCheckpoint } from '../../engine/models/checkpoint.js';
import { toFloats } from '../../engine/quantized/weight.js';
import { openPrograms } from '../../engine/runtime/programs.js';
import { openRuntime } from '../../engine/runtime/session.js';
import { makeRoundingSet, writeTokenizer } from '../exports.js';
import { temporaryFolder, writeRandomModel } from '../fixtures.js';
import { readGguf } from '../read-gguf.js';
import { expectClose, floats, openReference, record, type Reference } from './suite.js';

const { PEERS_PYTHON: python } = process.env;
const BITS = [2, 3, 4, 5, 6, 7, 8];
const SAMPLES = join(import.meta.dirname, '../../samples');
const SPEECHES = join(SAMPLES, 'llama-speeches');
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

const runtime = openRuntime('cpu', 1);
const programs = openPrograms(runtime);
let folder: string;
let cleanUp: () => Promise<void>;
let reference: Reference<Record<string, string>>;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  if (python === undefined) return;
  reference = openReference('exports.py');
  await writeRandomModel(at('wide'), WIDE);
  await writeTokenizer(at('wide'));
  await makeRoundingSet(programs, at('wide'), at('wide-set'));
  await makeRoundingSet(programs, SPEECHES, at('speeches-set'));
}, 300_000);
afterAll(async () => {
  if (python !== undefined) reference.close();
  await programs.release();
  await runtime.dispose();
  await cleanUp();
});

/** A test that counts as a configuration, skipped where there are no libraries. */
function peer(name: string, check: () => Promise<void>): void {
  test.skipIf(python === undefined)(
    name,
    async () => {
      const counts = { suite: 'exports', passed: 0, failed: 1, skipped: 0 };
      try {
        await check();
        Object.assign(counts, { passed: 1, failed: 0 });
      } finally {
        record(counts);
      }
    },
    600_000,
  );
  if (python === undefined) record({ suite: 'exports', passed: 0, failed: 0, skipped: 1 });
}

async function exported(
  model: string,
  set: string,
  bits: number,
  format: string,
  out: string,
): Promise<string> {
  const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
  const request = {
    model,
    adapters: at(set),
    bits,
    format,
    out: at(out),
    device: 'cpu',
    threads: 1,
  } as const;
  return (await runExport(request, quiet)).out;
}

/** Logits of the set's model at some bits for the sample's reference texts, and those texts. */
async function ours(bits: number) {
  const checkpoint = await openCheckpoint(SPEECHES);
  const set = await openAdapterSet(at('speeches-set'));
  const texts = await openSafetensors(join(SAMPLES, 'llama-speeches-reference.safetensors'));
  const ids = await texts.readInt('input_ids');
  const [count, length] = texts.tensors.get('input_ids')!.shape as [number, number];
  const model = await openElasticModel(programs, openSource(programs, checkpoint, set));
  await model.use(
    widthsOf(
      layerNames(checkpoint),
      layerNames(checkpoint).map(() => bits),
    ),
  );
  const input = runtime.tensor(BigInt64Array.from(ids), [count, length]);
  const logits = (await model.run(input, count)).slice();
  input.dispose();
  model.dispose();
  await texts.close();
  await set.close();
  await checkpoint.close();
  return { logits, ids: [...ids].map(Number), count, length };
}

function softmax(logits: Float32Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(logits, (x) => Math.exp(x - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / sum);
}

const bestOf = (row: ArrayLike<number>) =>
  Array.from(row).reduce((best, x, i) => (x > row[best]! ? i : best), 0);

/** Logits that are closer than this to the best are no worse. */
const TIE = 0.05;

/** Requires that rows of probabilities are those of the logits: 98 of 100 best tokens the same, and a KL below `most` nats. */
function expectAlike(logits: Float32Array, theirs: readonly Float64Array[], most: number): void {
  const classes = logits.length / theirs.length;
  let [same, divergence] = [0, 0];
  theirs.forEach((q, row) => {
    const own = logits.subarray(row * classes, (row + 1) * classes);
    const p = softmax(own);
    if (own[bestOf(own)]! - own[bestOf(q)]! < TIE) same++;
    p.forEach((x, i) => (divergence += x * Math.log(x / Math.max(q[i]!, 1e-30))));
  });
  const kl = divergence / theirs.length;
  process.stderr.write(
    `${expect.getState().currentTestName}: KL ${kl.toExponential(2)}, best token of ${same} of ${theirs.length} the same\n`,
  );
  expect(kl).toBeLessThan(most);
  expect(same / theirs.length).toBeGreaterThanOrEqual(0.98);
}

describe('GGUF', () => {
  for (const [model, path, set] of [
    ['wide', () => at('wide'), 'wide-set'],
    ['speeches', () => SPEECHES, 'speeches-set'],
  ] as const)
    for (const bits of BITS)
      peer(`of ${model} at ${bits} bits has the values that the library reads`, async () => {
        const file = await exported(path(), set, bits, 'gguf', `${model}-${bits}-values.gguf`);
        const known = readGguf(await readFile(file)).tensors;
        const read = await reference.ask({ reader: 'gguf', path: file });
        expect(Object.keys(read).sort()).toEqual([...known.keys()].sort());
        for (const [name, { floats: own }] of known) expectClose(own, floats(read[name]!), 1e-6, name);
      });

  for (const bits of BITS)
    peer(`in llama.cpp at ${bits} bits computes what the set does`, async () => {
      const { logits, ids, count, length } = await ours(bits);
      const file = await exported(SPEECHES, 'speeches-set', bits, 'gguf', `speeches-${bits}.gguf`);
      const theirs: Float64Array[] = [];
      await withLlama(file, async (evaluate) => {
        for (let i = 0; i < count; i++)
          theirs.push(...(await evaluate(ids.slice(i * length, (i + 1) * length))));
      });
      expectAlike(logits, theirs, 2e-3);
    });
});

const TEXTS = ["It's 1234 people, isn't it?", 'Zwölf  Boxkämpfer\n\n  日本 \t x', ' <s> and </s>'];

peer('GGUF in llama.cpp splits texts as the tokenizer does', async () => {
  const file = await exported(SPEECHES, 'speeches-set', 4, 'gguf', 'speeches-tokens.gguf');
  const expected = await reference.ask({ reader: 'tokens', model: SPEECHES, texts: TEXTS });
  const found = await withLlama(file, (_, tokenize) => Promise.resolve(TEXTS.map(tokenize)));
  expect(found).toEqual(JSON.parse(expected.ids!));
});

describe('ONNX', () => {
  for (const bits of BITS)
    peer(`in ONNX Runtime at ${bits} bits computes what the set does`, async () => {
      const { logits, ids, count, length } = await ours(bits);
      const out = await exported(SPEECHES, 'speeches-set', bits, 'onnx', `speeches-${bits}-onnx`);
      const [name] = (await readdir(join(out, 'onnx'))).filter((each) => each.endsWith('.onnx'));
      const question = {
        reader: 'onnx',
        path: join(out, 'onnx', name!),
        shape: [count, length],
        values: ids,
      };
      expectAlike(logits, rowsOf(floats((await reference.ask(question)).logits!), ids.length), 2e-3);
    });
});

describe('compressed-tensors', () => {
  const format = 'compressed-tensors';
  for (const bits of BITS)
    peer(`at ${bits} bits has the values that the library unpacks`, async () => {
      const path = await exported(SPEECHES, 'speeches-set', bits, format, `speeches-${bits}-values`);
      const read = await reference.ask({ reader: format, path });
      const checkpoint = await openCheckpoint(SPEECHES);
      const set = await openAdapterSet(at('speeches-set'));
      const source = openSource(programs, checkpoint, set);
      expect(Object.keys(read).sort()).toEqual(layerNames(checkpoint).sort());
      for (const [layer, values] of Object.entries(read))
        expectClose(floats(values), toFloats(await source.weight(layer, bits)), 1e-6, layer);
      await set.close();
      await checkpoint.close();
    });

  // transformers 5.24 makes no place for packed zero points, which 4 and 8 bits need.
  for (const bits of [2, 3, 5, 6, 7])
    peer(`in transformers at ${bits} bits computes what the set does`, async () => {
      const { logits, ids, count, length } = await ours(bits);
      const path = await exported(SPEECHES, 'speeches-set', bits, format, `speeches-${bits}-packed`);
      const answer = await reference.ask({
        reader: 'transformers',
        path,
        shape: [count, length],
        values: ids,
      });
      if (answer.error !== undefined) throw new Error(answer.error);
      expectAlike(logits, rowsOf(floats(answer.logits!), ids.length), 1e-6);
    });
});

/** Probabilities of each of so many rows of logits. */
const rowsOf = (logits: Float32Array, rows: number): Float64Array[] =>
  Array.from({ length: rows }, (_, i) =>
    softmax(logits.subarray((i * logits.length) / rows, ((i + 1) * logits.length) / rows)),
  );

interface LlamaSequence {
  controlledEvaluate(
    tokens: readonly (readonly [number, object])[],
  ): Promise<readonly { readonly next: { readonly probabilities: ReadonlyMap<number, number> } }[]>;
  clearHistory(): Promise<void>;
}
interface Llama {
  loadModel(options: object): Promise<{
    createContext(options: object): Promise<{ getSequence(): LlamaSequence }>;
    tokenize(text: string, special: boolean): readonly number[];
    dispose(): Promise<void>;
  }>;
}

type Evaluate = (ids: readonly number[]) => Promise<Float64Array[]>;

/** A model in llama.cpp. `use` is given what makes of a text the probabilities of the token behind each of its tokens. */
async function withLlama<T>(
  file: string,
  use: (evaluate: Evaluate, tokenize: (text: string) => readonly number[]) => Promise<T>,
): Promise<T> {
  const library = join(dirname(python!), '../node/node_modules/node-llama-cpp/dist/index.js');
  const { getLlama } = (await import(pathToFileURL(library).href)) as {
    getLlama: (options: object) => Promise<Llama>;
  };
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: 1 });
  const model = await llama.loadModel({ modelPath: file });
  const sequence = (await model.createContext({ contextSize: 128, threads: 1 })).getSequence();
  const evaluate: Evaluate = async (ids) => {
    await sequence.clearHistory();
    const asked = { generateNext: { probabilities: true } };
    const outputs = await sequence.controlledEvaluate(ids.map((id) => [id, asked]));
    return outputs.map(({ next }) => {
      const row = new Float64Array(next.probabilities.size);
      for (const [token, probability] of next.probabilities) row[token] = probability;
      return row;
    });
  };
  try {
    return await use(evaluate, (text) => [...model.tokenize(text, true)]);
  } finally {
    await model.dispose();
  }
}
