/** GGUF files of every family that they are written of, read back from their bytes. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { usePrograms } from '../engine/execution/testing.js';
import { gguf } from '../engine/exporters/gguf/gguf.js';
import { tensorTypes } from '../engine/exporters/gguf/tensor-types.js';
import { complaint } from '../engine/formats/testing.js';
import type { LanguageModel } from '../engine/models/model.js';
import { toFloats } from '../engine/quantized/weight.js';
import { makeRoundingSet, TOKENS, withExportContext, writeTokenizer } from './exports.js';
import { temporaryFolder, writeRandomModel } from './fixtures.js';
import { readGguf } from './read-gguf.js';

const programs = usePrograms();
let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());
const at = (name: string) => join(folder, name);

const LLAMA = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 256,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 96,
  max_position_embeddings: 64,
  vocab_size: 9,
};
const QWEN2 = { ...LLAMA, model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] };
const QWEN3 = { ...LLAMA, model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], head_dim: 64 };
const LLAMA3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
};

async function makeModel(name: string, config: Readonly<Record<string, unknown>>): Promise<void> {
  await writeRandomModel(at(name), config);
  await writeTokenizer(at(name));
  await makeRoundingSet(programs, at(name), at(`${name}-set`));
}

const withContext = <T>(name: string, bits: number, use: Parameters<typeof withExportContext<T>>[4]) =>
  withExportContext(programs, at(name), at(`${name}-set`), bits, use);

async function exported(name: string, bits: number, out = at(`${name}-${bits}.gguf`)) {
  return withContext(name, bits, async (context, fits) => {
    expect(gguf.refuse(context)).toBeUndefined();
    const { bytes, isExact } = await gguf.size(context);
    await gguf.write(context, out);
    const file = await readFile(out);
    expect({ bytes, isExact }).toEqual({ bytes: file.length, isExact: true });
    return { ...readGguf(file), fits: [...fits] };
  });
}

describe.each([
  ['llama', LLAMA],
  ['qwen2', QWEN2],
  ['qwen3', QWEN3],
])('%s', (name, config) => {
  beforeAll(() => makeModel(name, config));

  it.each(name === 'llama' ? [2, 3, 4, 5, 6, 8] : [3])('at %i bits holds what the set says', async (bits) => {
    const { tensors, fits } = await exported(name, bits);
    expect(fits).toHaveLength(14);
    await withContext(name, bits, async ({ source }) => {
      const { layout } = source.checkpoint.model as LanguageModel;
      for (const [block, part] of source.checkpoint.model.blocks.entries()) {
        const parameters = await source.checkpoint.read(part);
        for (const { name: layer, in: columns, out } of source.checkpoint.listing(part).linears) {
          const short = layer.replace(/^.*\./, '').replace('_proj', '').replace(/^o$/, 'output');
          const stored = tensors.get(
            `blk.${block}.${layer.startsWith('mlp') ? 'ffn' : 'attn'}_${short}.weight`,
          )!;
          const turns = name === 'llama' && /^[qk]$/.test(short);
          const expected = toFloats(await source.weight(part.prefix + layer, bits));
          const size = layout!.headSize;
          let [lost, error] = [0, 0];
          for (let row = 0; row < out; row++) {
            const within = row % size;
            const from = turns ? row - within + (within % 2) * (size / 2) + Math.floor(within / 2) : row;
            for (let c = 0; c < columns; c++) {
              lost += (stored.floats[row * columns + c]! - expected[from * columns + c]!) ** 2;
              error +=
                (expected[row * columns + c]! -
                  parameters.get(`${layer}.weight`)!.data[row * columns + c]!) **
                2;
            }
          }
          expect(stored.shape).toEqual([out, columns]);
          // At 8 bits whole ranges leave what a block of 8 bits holds.
          expect(lost / error).toBeLessThan(bits === 8 ? 0.5 : 0.1);
          const { distance } = fits.find(
            ({ tensor }) => tensor.includes(`blk.${block}.`) && tensor.endsWith(`_${short}.weight`),
          )!;
          expect(lost / error).toBeCloseTo(distance, 5);
        }
      }
    });
  });

  it('has its types in a file for llama-quantize', async () => {
    const types = at(`${name}-types.txt`);
    await withContext(name, 3, async (context) => {
      await tensorTypes.write(context, types);
      expect(await tensorTypes.size(context)).toEqual({ bytes: (await stat(types)).size, isExact: true });
      expect(tensorTypes.serve!(context, types)).toContain(`--tensor-type-file ${types} `);
    });
    // As that tool reads it: words, an expression on the left of each, a type of any case on the right.
    const rules = (await readFile(types, 'utf8')).split(/\s+/).slice(0, -1);
    const { tensors } = await exported(name, 3, at(`${name}-typed.gguf`));
    for (const [tensor, { shape, type }] of tensors) {
      const found = rules.filter((rule) => new RegExp(rule.slice(0, rule.lastIndexOf('='))).test(tensor));
      const ending = `=${type.toLowerCase()}`;
      expect(found.map((rule) => rule.endsWith(ending))).toEqual(shape.length > 1 ? [true] : []);
    }
    expect(rules).toContain(`^blk\\.1\\.ffn_gate\\.weight$=q3_k`);
  });

  it('is described as llama.cpp reads it', async () => {
    const { metadata, tensors } = await exported(name, 7);
    expect(metadata).toMatchObject({
      'general.architecture': name,
      'general.name': name,
      [`${name}.block_count`]: 2,
      [`${name}.context_length`]: 64,
      [`${name}.attention.head_count_kv`]: 2,
      [`${name}.rope.dimension_count`]: 64,
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'gpt-2',
      'tokenizer.ggml.tokens': [...TOKENS, '[PAD7]', '[PAD8]'],
      'tokenizer.ggml.token_type': [3, 3, 1, 1, 1, 1, 1, 5, 5],
      'tokenizer.ggml.merges': ['a b', 'ab c'],
      'tokenizer.ggml.bos_token_id': 0,
      'tokenizer.ggml.eos_token_id': 1,
      'tokenizer.ggml.add_bos_token': true,
      'tokenizer.chat_template': 'talk',
    });
    expect(tensors.has('blk.1.attn_q.bias')).toBe(name === 'qwen2');
    expect(tensors.has('blk.1.attn_k_norm.weight')).toBe(name === 'qwen3');
    expect(tensors.get('output.weight')).toMatchObject({ shape: [9, 256], type: 'F16' });
    expect(tensors.get('blk.0.ffn_norm.weight')!.type).toBe('F32');
  });
});

describe('positions', () => {
  it('that are stretched alike are said in one factor', async () => {
    await makeModel('linear', { ...LLAMA, rope_scaling: { type: 'linear', factor: 4 } });
    const { metadata, tensors } = await exported('linear', 4);
    expect(metadata).toMatchObject({ 'llama.rope.scaling.type': 'linear', 'llama.rope.scaling.factor': 4 });
    expect(tensors.has('rope_freqs.weight')).toBe(false);
  });

  it('that are stretched by their waves have a tensor of divisors, in llama alone', async () => {
    await makeModel('llama3', { ...LLAMA, rope_scaling: LLAMA3 });
    const { floats } = (await exported('llama3', 4)).tensors.get('rope_freqs.weight')!;
    expect([floats[0], floats[31]]).toEqual([1, 8]);
    await makeModel('waves', { ...QWEN2, rope_scaling: LLAMA3 });
    expect(await withContext('waves', 4, (context) => Promise.resolve(gguf.refuse(context)))).toMatch(
      /waves/,
    );
  });
});

it('has a tied head of its own where that is quantized, and else none', async () => {
  await makeModel('tied', { ...LLAMA, tie_word_embeddings: true });
  expect((await exported('tied', 4)).tensors.has('output.weight')).toBe(false);
  const path = join(at('tied-set'), 'adapter_config.json');
  const config = JSON.parse(await readFile(path, 'utf8')) as object;
  await writeFile(path, JSON.stringify({ ...config, head_bits: 8 }));
  const { tensors } = await exported('tied', 5);
  expect([tensors.get('output.weight')!.type, tensors.get('token_embd.weight')!.type]).toEqual([
    'Q8_0',
    'F16',
  ]);
});

/** As SentencePiece writes spaces, one before the text too. */
const SPACES = {
  type: 'Sequence',
  normalizers: [
    { type: 'Prepend', prepend: '▁' },
    { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
  ],
};

it.each([
  ['normalized', { normalizer: SPACES, pre_tokenizer: null }, true],
  ['split', { normalizer: null, pre_tokenizer: { type: 'Metaspace', split: false } }, true],
  [
    'without a space before',
    { normalizer: null, pre_tokenizer: { type: 'Metaspace', split: false, prepend_scheme: 'never' } },
    false,
  ],
])('says the pieces of a SentencePiece tokenizer that is %s', async (name, preparing, hasPrefix) => {
  const model = `pieces-${name}`;
  await writeRandomModel(at(model), LLAMA);
  const pieces = ['<unk>', '<s>', '</s>', '<0x41>', '▁', 'a', 'b', '▁a', '▁ab'];
  const merges = ['▁ a', '▁a b', ['▁', 'ab']];
  const tokenizer = {
    added_tokens: pieces.slice(0, 3).map((content, id) => ({ id, content, special: true })),
    ...preparing,
    model: {
      ...{ type: 'BPE', byte_fallback: true, unk_token: '<unk>', merges },
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
    },
  };
  await writeFile(join(at(model), 'tokenizer.json'), JSON.stringify(tokenizer));
  await writeFile(join(at(model), 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>' }));
  await makeRoundingSet(programs, at(model), at(`${model}-set`));
  const { metadata } = await exported(model, 4);
  expect(metadata).toMatchObject({
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.pre': 'default',
    'tokenizer.ggml.tokens': pieces,
    'tokenizer.ggml.token_type': [2, 3, 3, 6, 1, 1, 1, 1, 1],
    // The earlier a piece is merged, the higher; two ways to one piece are one.
    'tokenizer.ggml.scores': [0, 0, 0, 0, 0, 0, 0, 0, -1],
    'tokenizer.ggml.add_space_prefix': hasPrefix,
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.unknown_token_id': 0,
    'tokenizer.ggml.add_bos_token': false,
  });
  expect(metadata).not.toHaveProperty('tokenizer.ggml.merges');
});

describe('a tokenizer', () => {
  const sizeWith = async (change: (tokenizer: Record<string, object>) => object) => {
    const path = join(at('llama'), 'tokenizer.json');
    const text = await readFile(path, 'utf8');
    await writeFile(path, JSON.stringify(change(JSON.parse(text) as Record<string, object>)));
    try {
      return await complaint(() => withContext('llama', 4, (context) => gguf.size(context)));
    } finally {
      await writeFile(path, text);
    }
  };

  it.each<[string, (tokenizer: Record<string, object>) => object, RegExp]>([
    ['that is no BPE', (t) => ({ ...t, model: { type: 'Unigram', vocab: [] } }), /is not BPE/],
    [
      'that splits otherwise',
      (t) => ({ ...t, pre_tokenizer: { type: 'Whitespace' } }),
      /does not end in bytes/,
    ],
    [
      'with other tokens around',
      (t) => ({
        ...t,
        post_processor: {
          type: 'TemplateProcessing',
          single: [{ Sequence: {} }, { SpecialToken: { id: 'a' } }],
        },
      }),
      /puts other tokens/,
    ],
    [
      'with more tokens than the table has rows',
      (t) => ({ ...t, added_tokens: [{ id: 9, content: 'z' }] }),
      /has the id 9/,
    ],
    ['that normalizes', (t) => ({ ...t, normalizer: { type: 'Lowercase' } }), /Lowercase/],
    [
      'of SentencePiece that prepares texts otherwise',
      (t) => ({ ...t, model: { ...t.model, byte_fallback: true }, pre_tokenizer: { type: 'Whitespace' } }),
      /prepares texts otherwise/,
    ],
    [
      'of SentencePiece whose merges of one piece do not follow each other',
      (t) => ({
        ...t,
        model: { ...t.model, byte_fallback: true, merges: ['a b', 'ab c', 'a b'] },
        pre_tokenizer: null,
        normalizer: SPACES,
      }),
      /do not follow from scores/,
    ],
  ])('%s is refused before anything is written', async (_, change, message) => {
    expect(await sizeWith(change)).toMatch(message);
  });
});

it('refuses what llama.cpp does not run', async () => {
  await makeModel('relu', { ...LLAMA, hidden_act: 'relu' });
  expect(await withContext('relu', 4, (context) => Promise.resolve(gguf.refuse(context)))).toMatch(
    /not SiLU/,
  );
  await makeModel('yarn', {
    ...LLAMA,
    rope_scaling: { type: 'yarn', factor: 4, original_max_position_embeddings: 16 },
  });
  expect(await withContext('yarn', 4, (context) => Promise.resolve(gguf.refuse(context)))).toMatch(/YaRN/);
});
