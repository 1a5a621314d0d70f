import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { createRandom } from '../random.js';
import { addedToken, folderOf, sentencePiece } from './testing.js';
import { openTokenizer } from './tokenizer.js';

const SAMPLES = fileURLToPath(new URL('../../../samples/', import.meta.url));
/** Rules of normalization as SentencePiece compiles them: A to a, é to e, ﬁ to fi, ① to 1, tabs to spaces, and a few more. */
const CHARSMAP =
  'AAQAAAAgAAAJCQAACgUAAAEAAIALAACADQAAgMwAAgCBOQAAhQkAAAgAAIAXAACADwAAgIAwAgCNDQAAAAAAgKB9AAADAACAsAwCAIAFAAAUAACAgQUAABEAAIC/YQAAioADAO/8AgC+cAIAnwUAABoAAICfbAIAkcgCAJnwAgAFAACAgv0AACAAAACs3AIAIgAAAKm9AAAkAAAAJwAAACYAAAApAAAAKAAAACsAAAAqAAAALQAAACwAAAAvAAAALgAAAL60AgAwAAAAMwAAADIAAAA1AAAAu3ACADcAAAA2AAAAOQAAADgAAAA7AAAAOgAAAD0AAAA8AAAAPwAAAD4AAABBAAAAQAAAAEMAAABCAAAARQAAAEQAAABHAAAARgAAAEkAAABBNQEAQj0BAEoAAABNAAAATAAAAE8AAABOAAAAUQAAAFAAAABTAAAAUgAAAFUAAABUAAAAVwAAAFYAAABZAAAAWAAAAFsAAABaAAAAXQAAAFwAAABfAAAAXgAAAGEAAABgAAAAYwAAAGIAAABlAAAAZAAAAGcAAABmAAAAaQAAAGgAAABrAAAAagAAAG0AAABsAAAAbwAAAG4AAAB46AIAcAAAAHMAAAByAAAAdQAAAHQAAAB3AAAAdgAAAHkAAAB4AAAAewAAAHoAAAB9AAAAfAAAAH8AAAB+AAAAgQAAAIAAAACDAAAAggAAAIUAAACEAAAAhwAAAIYAAACJAAAAiAAAAIsAAACKAAAAjQAAAIwAAACPAAAAjgAAAJEAAACQAAAAkwAAAJIAAACVAAAAlAAAAJcAAACWAAAAmQAAAJgAAACbAAAAmgAAAJ0AAACcAAAAnwAAAJ4AAAChAAAAoAAAAKMAAACiAAAApQAAAKQAAACnAAAApgAAAKkAAACoAAAAqwAAAKoAAACtAAAArAAAAK8AAACuAAAAsQAAALAAAACzAAAAsgAAALUAAAC0AAAAtwAAALYAAAC5AAAAuAAAALsAAAC6AAAAvQAAALwAAAC/AAAAvgAAAMEAAADAAAAAwwAAAMIAAADFAAAAxAAAAMcAAADGAAAAyQAAAMgAAADLAAAAwxgBAM0AAADMAAAAzwAAAM4AAADRAAAA0AAAANMAAADSAAAA1QAAANQAAADXAAAA1gAAANkAAADYAAAA2wAAANoAAADdAAAA3AAAAN8AAADeAAAA4QAAAOAAAADqDAEA4gAAAOUAAADkAAAA5wAAAO+kAQDpAAAA6AAAAOKYAQDqAAAA7QAAAOwAAADvAAAA7gAAAPEAAADwAAAA8wAAAPIAAAD1AAAA9AAAAPcAAAD2AAAA8OwBAPgAAAD7AAAA+gAAAP0AAAD8AAAA/wAAAP4AAAAAIAAxADopAFghAGEAYgBlAGZpAGdhAMOlAOODkQA=';
const CONFIG = { bos_token: '<s>', eos_token: { content: '</s>', special: true } };
const merges = ['▁ t', 'h e', '▁t he', '▁ ▁', 'a n', '▁ an', 'an d', '▁ and'].map(
  (pair) => pair.split(' ') as [string, string],
);

const openWith = async (json: object, config: object | string = CONFIG, vocabulary?: number) =>
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

function split(pattern: object, behavior: string, invert = false): object {
  return { pre_tokenizer: { type: 'Split', pattern, behavior, invert } };
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
  expect(await tokenizer.encode([text], { special: 'all' })).toEqual([taught]);
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
  const encode = async (special: 'none' | 'front' | 'all') => tokenizer.encode(['c', ''], { special });
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

/** Ids of `tokenizers` 0.23.3. */
const components: [string, object, string, number[]][] = [
  [
    'words of any script',
    wordLevel(['naïve', 'café', '!?', '日本'], { pre_tokenizer: { type: 'Whitespace' } }),
    'naïve café!? 日本',
    [1, 2, 3, 4],
  ],
  [
    'what is white space and what is not',
    wordLevel(['a', 'b', '\ufeffb'], { pre_tokenizer: { type: 'WhitespaceSplit' } }),
    'a \ufeffb\u3000b',
    [1, 3, 2],
  ],
  [
    'single punctuation marks',
    wordLevel(['a', '!', '!!'], { pre_tokenizer: { type: 'Punctuation', behavior: 'Isolated' } }),
    'a!!a',
    [1, 2, 2, 1],
  ],
  ['matches removed', wordLevel(['a', 'b', ' '], split({ Regex: '( )' }, 'Removed')), 'a b', [1, 2]],
  [
    'matches kept, what is between them removed',
    wordLevel(['a', 'b', ', '], split({ Regex: '[a-z]' }, 'Removed', true)),
    'a, b',
    [1, 2],
  ],
  [
    'matches joined to what is before them',
    wordLevel(['a-', 'b'], split({ String: '-' }, 'MergedWithPrevious')),
    'a-b',
    [1, 2],
  ],
  [
    'a compiled map of normalization',
    wordLevel(['abe', 'fi1', 'y'], {
      normalizer: { type: 'Precompiled', precompiled_charsmap: CHARSMAP },
      pre_tokenizer: { type: 'WhitespaceSplit' },
    }),
    'ABé ﬁ①\ty',
    [1, 2, 3],
  ],
  [
    'bytes for what a Unigram model lacks',
    {
      ...wordLevel([]),
      model: {
        type: 'Unigram',
        unk_id: 0,
        byte_fallback: true,
        vocab: ['<unk>', '<0x0A>', '<0xC3>', '<0xA9>', 'a'].map((token) => [token, token === 'a' ? -1 : 0]),
      },
    },
    'a\né',
    [4, 1, 2, 3],
  ],
  [
    'added tokens, some only as words, some overlapping',
    wordLevel(['xab'], {
      pre_tokenizer: { type: 'WhitespaceSplit' },
      added_tokens: [
        addedToken(2, 'ab', { single_word: true }),
        addedToken(3, '<|a|>'),
        addedToken(4, '<|a|>b', { normalized: true }),
      ],
    }),
    'ab xab <|a|>b',
    [2, 1, 3, 0],
  ],
];
test.each(components)('reads %s as the reference does', async (_, json, text, ids) => {
  expect(await (await openWith(json, {})).encode([text])).toEqual([ids]);
});

test('needs no tokenizer_config.json', async () => {
  const folder = await folderOf({ 'tokenizer.json': sentencePiece({ merges }) });
  const tokenizer = await openTokenizer(folder);
  expect(tokenizer.bos).toBeUndefined();
  expect((await tokenizer.encode(['the'], { special: 'all' }))[0]).toHaveLength(2);
});

test('reads tokenizer_config.json as Python does: Infinity, and the later of two equal keys', async () => {
  const config = '{"model_max_length": Infinity, "eos_token": "y", "eos_token": "x"}';
  expect((await openWith(wordLevel(['x', 'y']), config)).eos).toBe(1);
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
    [
      {
        normalizer: { type: 'Lowercase' },
        added_tokens: ['x', 'X'].map((token, i) => addedToken(500 + i, token, { normalized: true })),
      },
      'the added tokens "x" and "X" are the same once normalized',
    ],
    [
      {
        normalizer: { type: 'Replace', pattern: { String: '.' }, content: '' },
        added_tokens: [addedToken(500, '.', { normalized: true })],
      },
      'nothing is left of the added token "." once normalized',
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

test('the token that a file fills texts up with, and one that is named twice, are found as AutoTokenizer finds them', async () => {
  const padding = {
    strategy: { Fixed: 8 },
    direction: 'Left',
    pad_to_multiple_of: null,
    pad_id: 0,
    pad_type_id: 0,
    pad_token: '[PAD]',
  };
  const json = wordLevel(['x'], { padding });
  // Nothing is filled up, and `a`, first described as a word of its own, then counts anywhere.
  const config = {
    bos_token: { content: 'a', single_word: true },
    additional_special_tokens: ['a'],
  };
  expect(await (await openWith(json, config)).encode(['x[PAD]ax'])).toEqual([[1, 3, 2, 1]]);
});

test('of two descriptions of a token by different roles the later counts', async () => {
  const pad = (single_word: boolean) => ({
    content: '[PAD]',
    special: true,
    normalized: true,
    lstrip: false,
    rstrip: false,
    single_word,
  });
  const words = wordLevel(['ab'], { pre_tokenizer: { type: 'FixedLength', length: 2 } });
  const tokens = async (first: boolean, second: boolean) => {
    const opened = await openWith(words, { bos_token: pad(first), eos_token: pad(second) });
    return (await opened.encode(['ab[PAD]ab']))[0]!;
  };
  expect(await tokens(true, false)).toEqual([1, 2, 1]);
  expect(await tokens(false, true)).not.toContain(2);
});
