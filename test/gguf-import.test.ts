/** GGUF files made checkpoint folders: what was exported comes back, and what cannot is refused before anything is written. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTokenizer } from '../engine/data/text/tokenizer.js';
import { CancelledError } from '../engine/errors.js';
import { openPlainModel } from '../engine/execution/model.js';
import { openElasticModel } from '../engine/execution/quantized-model.js';
import { usePrograms } from '../engine/execution/testing.js';
import { f32, ggufPieces, text, u32, type GgufTensor, type Metadata } from '../engine/exporters/gguf/file.js';
import { gguf } from '../engine/exporters/gguf/gguf.js';
import { F32 } from '../engine/exporters/gguf/weights.js';
import { complaint } from '../engine/formats/testing.js';
import { openGgufImport, type ImportDtype } from '../engine/imports/gguf/import.js';
import { openCheckpoint } from '../engine/models/checkpoint.js';
import { makeRoundingSet, TOKENS, withExportContext, writeTokenizer } from './exports.js';
import { temporaryFolder, writeRandomModel } from './fixtures.js';
import { maxDifference } from './support.js';

const programs = usePrograms();
let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());
const at = (name: string) => join(folder, name);
const hooks = { signal: new AbortController().signal, status: () => undefined };

const LLAMA = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 96,
  max_position_embeddings: 64,
  vocab_size: 9,
  rms_norm_eps: 1e-5,
};
const ROPE = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 }; // prettier-ignore
const MODELS: Readonly<Record<string, object>> = {
  llama: LLAMA,
  'a mistral': {
    ...LLAMA,
    model_type: 'mistral',
    architectures: ['MistralForCausalLM'],
    sliding_window: null,
  },
  'a llama with biases, tied': { ...LLAMA, attention_bias: true, mlp_bias: true, tie_word_embeddings: true },
  'a llama of longer texts': { ...LLAMA, rope_theta: 500_000, rope_scaling: ROPE },
  'a llama stretched': { ...LLAMA, rope_scaling: { rope_type: 'linear', factor: 2 } },
  qwen2: { ...LLAMA, model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] },
  qwen3: { ...LLAMA, model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], head_dim: 32 },
};
/** Whose codes go over as they are; scales and tables are rounded to float16. */
const BITS = 5;
const IDS = BigInt64Array.from([3, 1, 4, 1, 5, 2], BigInt);

async function imported(file: string, out: string, dtype: ImportDtype = 'F32') {
  const opened = await openGgufImport(file, dtype);
  await opened.write(out, hooks);
  return opened;
}

let exports = 0;
async function exported(name: string): Promise<string> {
  const out = at(`${name}-${exports++}.gguf`);
  await withExportContext(programs, at(name), at(`${name}-set`), BITS, (context) => gguf.write(context, out));
  return out;
}

describe.each(Object.entries(MODELS))('%s', (name, config) => {
  it('comes back from its export, and computes what the set does', async () => {
    await writeRandomModel(at(name), config as Readonly<Record<string, unknown>>);
    await writeTokenizer(at(name));
    await makeRoundingSet(programs, at(name), at(`${name}-set`));
    const { bytes, types } = await imported(await exported(name), at(`${name}-back`));
    expect(types).toEqual(expect.arrayContaining(['F32', 'F16', 'Q5_1']));
    const back = await openCheckpoint(at(`${name}-back`));
    expect(back.warnings).toEqual([]);
    expect(bytes).toBe((await readFile(join(at(`${name}-back`), 'model.safetensors'))).length);
    const plain = await openPlainModel(programs, back);
    const x = programs.runtime.tensor(IDS, [1, IDS.length]);
    const logits = (await plain.run(x, 1)).slice();
    plain.dispose();
    await back.close();
    await withExportContext(programs, at(name), at(`${name}-set`), BITS, async ({ original, source }) => {
      const elastic = await openElasticModel(programs, source);
      await elastic.use(BITS);
      const expected = (await elastic.run(x, 1)).slice();
      const full = await openPlainModel(programs, original);
      const unquantized = (await full.run(x, 1)).slice();
      expect(maxDifference(logits, expected)).toBeLessThan(0.1 * maxDifference(unquantized, expected));
      elastic.dispose();
      full.dispose();
    });
  });
});

describe('a tokenizer', () => {
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  /** What the library wants of added tokens beside what tests say. */
  async function fill(model: string): Promise<void> {
    const path = join(model, 'tokenizer.json');
    const { added_tokens, ...others } = JSON.parse(await readFile(path, 'utf8')) as {
      added_tokens: object[];
    };
    const filled = added_tokens.map((token) => ({ ...plain, ...token }));
    await writeFile(path, JSON.stringify({ ...others, added_tokens: filled }));
  }
  const idsOf = async (model: string, texts: readonly string[]) =>
    (await openTokenizer(model)).encode(texts, { special: 'all' });

  it('of bytes reads texts as before', async () => {
    const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
    const pieces = [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }];
    const tokenizer = {
      added_tokens: ['<s>', '</s>'].map((content, id) => ({ id, content, special: true, ...plain })),
      pre_tokenizer: byteLevel,
      post_processor: {
        type: 'TemplateProcessing',
        single: pieces,
        pair: pieces,
        special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
      },
      model: {
        type: 'BPE',
        vocab: Object.fromEntries(TOKENS.map((token, id) => [token, id])),
        merges: ['a b', 'ab c'],
      },
    };
    await writeFile(join(at('llama'), 'tokenizer.json'), JSON.stringify(tokenizer));
    await imported(await exported('llama'), at('llama-again'));
    const texts = ['abcab', 'cab', 'a'];
    expect(await idsOf(at('llama-again'), texts)).toEqual(await idsOf(at('llama'), texts));
  });

  it.each([true, false])('of pieces does, with a space before a text or without: %s', async (prefix) => {
    const name = `pieces ${prefix}`;
    await writeRandomModel(at(name), { ...LLAMA, vocab_size: 12 });
    const pieces = ['<unk>', '<s>', '</s>', '<0x41>', '▁', 'a', 'b', 'c', '▁a', 'bc', '▁ab', 'abc'];
    const merges = ['▁ a', 'b c', '▁a b', 'a bc'];
    const replaced = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
    const normalizers = [...(prefix ? [{ type: 'Prepend', prepend: '▁' }] : []), replaced];
    const tokenizer = {
      added_tokens: pieces.slice(0, 3).map((content, id) => ({ id, content, special: true })),
      normalizer: { type: 'Sequence', normalizers },
      model: {
        ...{ type: 'BPE', byte_fallback: true, fuse_unk: true, unk_token: '<unk>', merges },
        vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      },
    };
    await writeFile(join(at(name), 'tokenizer.json'), JSON.stringify(tokenizer));
    await writeFile(join(at(name), 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>' }));
    await makeRoundingSet(programs, at(name), at(`${name}-set`));
    await imported(await exported(name), at(`${name}-back`));
    const texts = ['a abc', 'bcabc ab', 'A c', 'abca bc'];
    await fill(at(name));
    const expected = await idsOf(at(name), texts);
    expect(new Set(expected.flat()).size).toBeGreaterThan(4);
    expect(await idsOf(at(`${name}-back`), texts)).toEqual(expected);
  });
});

describe('a file', () => {
  const own = (key: string) => `llama.${key}`;
  const KEYS: Record<string, Metadata[number][1]> = {
    'general.architecture': text('llama'),
    [own('context_length')]: u32(16),
    [own('embedding_length')]: u32(8),
    [own('block_count')]: u32(1),
    [own('feed_forward_length')]: u32(8),
    [own('attention.head_count')]: u32(2),
    [own('attention.layer_norm_rms_epsilon')]: f32(1e-5),
    'tokenizer.ggml.model': text('gpt2'),
    'tokenizer.ggml.pre': text('gpt-2'),
    'tokenizer.ggml.tokens': text(['t', '0', 't0', 'x']),
    'tokenizer.ggml.merges': text(['t 0']),
  };
  const SHAPES: Readonly<Record<string, readonly number[]>> = {
    'token_embd.weight': [4, 8],
    'output_norm.weight': [8],
    'output.weight': [4, 8],
    'blk.0.attn_norm.weight': [8],
    'blk.0.ffn_norm.weight': [8],
    ...Object.fromEntries(
      ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'].map((layer) => [
        `blk.0.${layer}.weight`,
        [8, 8],
      ]),
    ),
  };

  async function written(
    keys: Readonly<Record<string, Metadata[number][1] | undefined>> = {},
    shapes: Readonly<Record<string, readonly number[] | undefined>> = {},
    value = 0.5,
  ): Promise<string> {
    const all = Object.entries({ ...KEYS, ...keys }).filter((pair): pair is [string, Metadata[number][1]] => !!pair[1]); // prettier-ignore
    const tensors = Object.entries({ ...SHAPES, ...shapes }).flatMap(([name, shape]): GgufTensor[] => {
      if (!shape) return [];
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value);
      return [{ name, shape, type: F32, data: () => Promise.resolve(new Uint8Array(data.buffer)) }];
    });
    const pieces: Uint8Array[] = [];
    for await (const piece of ggufPieces(all, tensors)) pieces.push(piece);
    const path = at('made.gguf');
    await writeFile(path, Buffer.concat(pieces));
    return path;
  }
  const refusal = async (...args: Parameters<typeof written>) => {
    const path = await written(...args);
    return complaint(() => openGgufImport(path, 'F32'));
  };

  it('that is as it should be is imported', async () => {
    await imported(await written(), at('made'), 'BF16');
    const made = await openCheckpoint(at('made'));
    expect(made.model.blocks).toHaveLength(1);
    await made.close();
  });

  it.each<[string, Parameters<typeof written>, RegExp]>([
    ['of another architecture', [{ 'general.architecture': text('mamba') }], /architecture "mamba"; those read are llama, qwen2, qwen3/],
    ['without a key', [{ [own('block_count')]: undefined }], /does not say "llama.block_count"/],
    ['that is a mixture of experts', [{ [own('expert_count')]: u32(8) }], /mixture of experts/],
    ['that scales positions otherwise', [{ [own('rope.scaling.type')]: text('yarn') }], /scales positions by "yarn"/],
    ['with no tokenizer', [{ 'tokenizer.ggml.model': undefined }], /has no tokenizer/],
    ['with another tokenizer', [{ 'tokenizer.ggml.model': text('t5') }], /its tokenizer is "t5"/],
    ['that splits texts otherwise', [{ 'tokenizer.ggml.pre': text('viking') }], /splits texts as "viking"; known are gpt-2/],
    ['without a tensor', [{}, { 'blk.0.ffn_up.weight': undefined }], /the tensor "blk.0.ffn_up.weight" is missing/],
    ['with a tensor of another shape', [{}, { 'blk.0.ffn_up.weight': [4, 8] }], /has the shape \[4, 8\]; by its keys it is \[8, 8\]/],
    ['with a tensor that nothing reads', [{}, { 'blk.0.attn_sinks.weight': [2] }], /"blk.0.attn_sinks.weight", which llama as it is read here has no place for/],
    ['that stretches positions unlike any model', [{}, { 'rope_freqs.weight': [2] }, 3], /"rope_freqs.weight" stretches positions in a way/],
    ['of impossible sizes', [{ [own('embedding_length')]: u32(4_000_000_000) }], /hidden_size/],
  ])('%s is refused', async (_, args, line) => {
    const said = await refusal(...args);
    expect(said).toMatch(line);
    expect(said).not.toContain('\n');
  }); // prettier-ignore

  it('whose values are not finite leaves nothing behind', async () => {
    const opened = await openGgufImport(await written({}, {}, Infinity), 'F32');
    const before = await readdir(folder);
    expect(await complaint(() => opened.write(at('endless'), hooks))).toMatch(/NaN or infinite/);
    expect(await readdir(folder)).toEqual(before);
  });

  it('whose values float16 cannot hold is refused for it alone', async () => {
    const path = await written({}, {}, 1e5);
    const half = await openGgufImport(path, 'F16');
    expect(await complaint(() => half.write(at('half'), hooks))).toMatch(
      /float16 cannot hold; choose another --dtype/,
    );
    await imported(path, at('wide'), 'BF16');
  });

  it('leaves nothing behind where it is cancelled, and takes no folder that is there', async () => {
    const opened = await openGgufImport(await written(), 'F32');
    const stop = new AbortController();
    const before = await readdir(folder);
    const late = { signal: stop.signal, status: (done: number) => done > 0.5 && stop.abort() };
    await expect(opened.write(at('late'), late)).rejects.toThrow(CancelledError);
    expect(await readdir(folder)).toEqual(before);
    expect(await complaint(() => opened.write(at('wide'), hooks))).toMatch(/is there already/);
  });
});
