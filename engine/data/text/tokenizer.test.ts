import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { createRandom } from '../random.js';
import { addedToken, folderOf, sentencePiece } from './testing.js';
import { openTokenizer } from './tokenizer.js';

const SAMPLES = fileURLToPath(new URL('../../../samples/', import.meta.url));
const CONFIG = { bos_token: '<s>', eos_token: { content: '</s>', special: true } };
const merges = ['▁ t', 'h e', '▁t he', '▁ ▁', 'a n', '▁ an', 'an d', '▁ and'].map(
  (pair) => pair.split(' ') as [string, string],
);

const openWith = async (json: object, config: object = CONFIG, vocabulary?: number) =>
  openTokenizer(
    await folderOf({ 'tokenizer.json': json, 'tokenizer_config.json': config }),
    vocabulary === undefined ? {} : { vocabulary },
  );
/** The content of a `tokenizer.json` that makes one token of each word in `words`, and 0 of any other. */
function wordLevel(words: readonly string[], parts: object = {}): object {
  const vocab = Object.fromEntries(['[UNK]', ...words].map((word, id) => [word, id]));
  return {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', vocab, unk_token: '[UNK]' },
    ...parts,
  };
}

/** Words and spaces without much sense. */
function babble(length: number): string {
  const random = createRandom(1, 'babble');
  const words = ['the', 'and', 'than', 'hat ', ' ', 'é', 'a.', '\n', 'andante', '日本'];
  return Array.from({ length }, () => words[random.integer(words.length)]!).join(' ');
}

test('encodes as the model of the sample was taught, and decodes to the same text', async () => {
  const tokenizer = await openTokenizer(join(SAMPLES, 'llama-speeches'), { vocabulary: 2048 });
  const file = await readFile(join(SAMPLES, 'llama-speeches-reference.safetensors'));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const taught = Array.from({ length: 256 }, (_, i) => Number(file.readBigInt64LE(start + 8 * i)));
  const text = await tokenizer.decode(taught.slice(1));
  expect(text.slice(0, 68)).toBe('Madam Speaker, Vice President Biden, Members of Congress, distinguis');
  expect(await tokenizer.encode([text], { around: 'all' })).toEqual([taught]);
  expect(await tokenizer.encode([text, ''])).toEqual([taught.slice(1), []]);
  expect(tokenizer).toMatchObject({ bos: 0, eos: 1 });
});

test('brings back any text from its ids', async () => {
  const tokenizer = await openTokenizer(join(SAMPLES, 'llama-speeches'));
  for (const text of ['', ' ', '  a  b\r\n\t\n', 'naïve 日本語 🙂 \u0000', "a , b . c 's", babble(500)])
    expect(await tokenizer.decode((await tokenizer.encode([text]))[0]!)).toBe(text);
});

test('knows special tokens in the text, and passes over ids of no token', async () => {
  const tokenizer = await openWith(sentencePiece({ merges }));
  expect(await tokenizer.encode(['</s>'])).toEqual([[2]]);
  expect(await tokenizer.decode([2, 99999])).toBe('</s>');
  expect(await tokenizer.decode([])).toBe('');
});

test('adds the special tokens in front alone, for a text that is to go on', async () => {
  const template = {
    type: 'TemplateProcessing',
    single: [
      { SpecialToken: { id: 'a', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: 'b', type_id: 0 } },
    ],
    pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 0 } }],
    special_tokens: {
      a: { id: 'a', ids: [1], tokens: ['a'] },
      b: { id: 'b', ids: [2, 1], tokens: ['b', 'a'] },
    },
  };
  const tokenizer = await openWith({ ...wordLevel(['a', 'b', 'c']), post_processor: template }, {});
  const encode = async (around: 'none' | 'front' | 'all') => tokenizer.encode(['c', ''], { around });
  expect(await encode('none')).toEqual([[3], []]);
  expect(await encode('front')).toEqual([[1, 3], [1]]);
  expect(await encode('all')).toEqual([
    [1, 3, 2, 1],
    [1, 2, 1],
  ]);
});

test('a model must know every id of the vocabulary, and added tokens only where a text has them', async () => {
  const json = sentencePiece({ merges }) as { added_tokens: object[]; model: { vocab: object } };
  const size = Object.keys(json.model.vocab).length;
  await expect(openWith(json, {}, 100)).rejects.toThrow("the model's vocabulary only 100 entries");
  const added = { ...json, added_tokens: [...json.added_tokens, addedToken(size, '[PAD]')] };
  const tokenizer = await openWith(added, {}, size);
  expect((await tokenizer.encode(['the']))[0]).toHaveLength(1);
  await expect(tokenizer.encode(['the[PAD]'])).rejects.toThrow(
    `The text has the token "[PAD]" (id ${size}), for which the model has no embedding: its vocabulary has ${size} entries.`,
  );
});

test('needs no tokenizer_config.json', async () => {
  const folder = await folderOf({ 'tokenizer.json': sentencePiece({ merges }) });
  const tokenizer = await openTokenizer(folder);
  expect(tokenizer.bos).toBeUndefined();
  expect((await tokenizer.encode(['the'], { around: 'all' }))[0]).toHaveLength(2);
});

test('adds the tokens that only tokenizer_config.json has, as AutoTokenizer does', async () => {
  const config = {
    added_tokens_decoder: {
      '9': { content: '<b>', special: true, normalized: false, lstrip: true },
      '3': { content: '<a>', special: false },
    },
    eos_token: '<a>',
    additional_special_tokens: ['<c>', { content: '<b>' }],
    pad_token: { content: 'x' },
  };
  const tokenizer = await openWith(
    wordLevel(['x', 'y'], { pre_tokenizer: { type: 'WhitespaceSplit' } }),
    config,
  );
  // `x` is a word already: it keeps its id and is now found inside of words.
  expect(await tokenizer.encode(['y <b><a>zx<c>'])).toEqual([[2, 4, 3, 0, 1, 5]]);
  expect(tokenizer.eos).toBe(3);
});

test('says what is missing, damaged or contradictory', async () => {
  const good = sentencePiece({ merges }) as { model: object };
  const files: [Record<string, object | string>, string][] = [
    [{}, 'no such file'],
    [{ 'tokenizer.model': 'x' }, 'tokenizer.model and no tokenizer.json'],
    [{ 'tokenizer.json': '{"model": {}' }, 'tokenizer.json: not a tokenizer that can be read'],
    [{ 'tokenizer.json': new Uint8Array([0xff]) }, 'tokenizer.json: not valid UTF-8 text'],
    [{ 'tokenizer.json': good, 'tokenizer_config.json': [] }, 'tokenizer_config.json: must be a JSON object'],
  ];
  for (const [content, message] of files)
    await expect(openTokenizer(await folderOf(content))).rejects.toThrow(message);

  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  const strip = { type: 'Strip', strip_left: true, strip_right: true };
  const parts: [object, string][] = [
    [{ model: { ...good.model, vocab: { a: -1 } } }, 'not a tokenizer that can be read'],
    [{ model: { ...good.model, dropout: 0.1 } }, 'draws tokens at random'],
    [{ pre_tokenizer: { type: 'Unheard' } }, 'not a tokenizer that can be read'],
    [{ decoder: { type: 'Sequence', decoders: [null] } }, 'not a tokenizer that can be read'],
    [{ post_processor: { type: 'BertProcessing', cls: ['<s>', 1] } }, 'not a tokenizer that can be read'],
    [
      { pre_tokenizer: { type: 'Sequence', pretokenizers: new Array(5).fill(bytes) } },
      'tokenizer.json: 5 steps turn a text into bytes, more than the 4 allowed.',
    ],
    [{ normalizer: { type: 'Sequence', normalizers: new Array(300).fill(strip) } }, '307 steps'],
  ];
  for (const [change, message] of parts)
    await expect(openWith({ ...good, ...change })).rejects.toThrow(message);

  const configs: [object, string][] = [
    [{ split_special_tokens: true }, '"split_special_tokens" is not supported'],
    [{ add_prefix_space: false }, 'tokenizer.json puts a space in front of a text; make the two agree.'],
    [{ bos_token: '<s>', add_bos_token: false }, 'tokenizer.json begins a text with "<s>"'],
    [{ eos_token: '</s>', add_eos_token: true }, 'tokenizer.json ends a text without "</s>"'],
  ];
  for (const [config, message] of configs) await expect(openWith(good, config)).rejects.toThrow(message);
  const agreed = { ...CONFIG, add_bos_token: true, add_eos_token: false, add_prefix_space: true };
  expect((await openWith(good, agreed)).bos).toBe(1);
});
