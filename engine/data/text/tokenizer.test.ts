import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Tokenizer } from '@huggingface/tokenizers';
import { expect, test } from 'vitest';
import { createRandom } from '../random.js';
import { folderOf, sentencePiece } from './testing.js';
import { checkTokenizer } from './tokenizer-config.js';
import { openTokenizer, requireVocabulary } from './tokenizer.js';

const SAMPLES = fileURLToPath(new URL('../../../samples/', import.meta.url));
const CONFIG = { bos_token: '<s>', eos_token: { content: '</s>', special: true } };
const merges = ['▁ t', 'h e', '▁t he', '▁ ▁', 'a n', '▁ an', 'an d', '▁ and'].map(
  (pair) => pair.split(' ') as [string, string],
);

const openWith = async (json: object, config: object = CONFIG) =>
  openTokenizer(await folderOf({ 'tokenizer.json': json, 'tokenizer_config.json': config }));

/** Words and spaces without much sense. */
function babble(length: number): string {
  const random = createRandom(1, 'babble');
  const words = ['the', 'and', 'than', 'hat ', ' ', 'é', 'a.', '\n', 'andante', '日本'];
  return Array.from({ length }, () => words[random.integer(words.length)]!).join(' ');
}

test('encodes as the model of the sample was taught, and decodes to the same text', async () => {
  const tokenizer = await openTokenizer(join(SAMPLES, 'llama-speeches'));
  const file = await readFile(join(SAMPLES, 'llama-speeches-reference.safetensors'));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const taught = Array.from({ length: 256 }, (_, i) => Number(file.readBigInt64LE(start + 8 * i)));
  const text = tokenizer.decode(taught.slice(1));
  expect(text.slice(0, 68)).toBe('Madam Speaker, Vice President Biden, Members of Congress, distinguis');
  expect(tokenizer.encode(text, { specialTokens: true })).toEqual(taught);
  expect(tokenizer.encode(text)).toEqual(taught.slice(1));
  expect(tokenizer).toMatchObject({ size: 2048, bos: 0, eos: 1 });
});

test('brings back any text from its ids', async () => {
  const tokenizer = await openTokenizer(join(SAMPLES, 'llama-speeches'));
  for (const text of ['', ' ', '  a  b\r\n\t\n', 'naïve 日本語 🙂 \u0000', "a , b . c 's", babble(500)])
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
});

test('cuts long texts into words without a change to their ids', async () => {
  const json = sentencePiece({ merges });
  const text = babble(3000);
  const whole = new Tokenizer(json, CONFIG).encode(text, { add_special_tokens: false }).ids;
  const tokenizer = await openWith(json);
  expect(checkTokenizer(json as never, 'x').pre_tokenizer).toMatchObject({ type: 'Sequence' });
  expect(tokenizer.encode(text)).toEqual(whole);
  expect(tokenizer.decode(whole)).toBe(text);
  expect(tokenizer.encode('the', { specialTokens: true })).toEqual([tokenizer.bos, idOf(json, '▁the')]);
});

test('leaves a text whole where merges cross from word to word', () => {
  const crossing = sentencePiece({ merges: [...merges, ['a', '▁'], ['a▁', 'a']] });
  expect(checkTokenizer(crossing as never, 'x').pre_tokenizer).toBe(null);
});

test('cuts before every mark where Metaspace is to split, and only there', async () => {
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first' };
  const [split, joined] = [true, false].map((value) =>
    sentencePiece({ merges }, { ...metaspace, split: value }),
  );
  const ids = (json: object, ...tokens: string[]) => tokens.map((token) => idOf(json, token));
  expect((await openWith(split!)).encode('the  the')).toEqual(ids(split!, '▁the', '▁', '▁the'));
  expect((await openWith(joined!)).encode('a  a')).toEqual(ids(joined!, '▁', 'a', '▁▁', 'a'));
});

test('knows special tokens in the text, and passes over ids of no token', async () => {
  const tokenizer = await openWith(sentencePiece({ merges }));
  expect(tokenizer.encode('</s>')).toEqual([2]);
  expect(tokenizer.decode([2, 99999])).toBe('</s>');
  expect(tokenizer.decode([])).toBe('');
});

test('a model must know every id', async () => {
  const tokenizer = await openWith(sentencePiece({ merges }), {});
  expect(tokenizer.bos).toBeUndefined();
  requireVocabulary(tokenizer, tokenizer.size);
  expect(() => requireVocabulary(tokenizer, 100)).toThrow("the model's vocabulary only 100 entries");
});

test('says what is missing or not supported', async () => {
  const good = sentencePiece({ merges }) as { model: object };
  const cases: [Record<string, object | string>, string][] = [
    [{}, 'no such file'],
    [{ 'tokenizer.model': 'x' }, 'tokenizer.model and no tokenizer.json'],
    [{ 'tokenizer.json': good }, 'tokenizer_config.json: no such file'],
    [{ 'tokenizer.json': '{"model": {}', 'tokenizer_config.json': {} }, 'tokenizer.json: the JSON ends'],
    [{ 'tokenizer.json': good, 'tokenizer_config.json': [] }, 'tokenizer_config.json: must be a JSON object'],
  ];
  for (const [files, message] of cases)
    await expect(openTokenizer(await folderOf(files))).rejects.toThrow(message);

  const models: [object, string][] = [
    [{ type: 'WordLevel' }, 'tokenizers of type "WordLevel" are not supported'],
    [{ vocab: { a: -1 } }, '"vocab" must be a vocabulary'],
    [{ vocab: { a: 1e12 } }, '"vocab" must be a vocabulary'],
    [{ vocab: ['a'] }, '"vocab" must be a vocabulary'],
    [{ merges: [['a']] }, '"merges" must be a list of pairs'],
    [{ continuing_subword_prefix: '##' }, 'BPE with a prefix'],
  ];
  for (const [change, message] of models)
    await expect(openWith({ ...good, model: { ...good.model, ...change } })).rejects.toThrow(message);

  const split = { type: 'Split', pattern: { String: ',' }, behavior: 'MergedWithNext' };
  const parts: [object, string][] = [
    [{ added_tokens: [{ id: 0, content: '' }] }, '"added_tokens" must be a list'],
    [{ pre_tokenizer: { type: 'Sequence', pretokenizers: [split] } }, 'behaviour "MergedWithNext"'],
    [
      { pre_tokenizer: { type: 'Unheard' } },
      'not a supported tokenizer (Unknown PreTokenizer type: Unheard)',
    ],
    [{ decoder: 3 }, 'not a supported tokenizer'],
  ];
  for (const [change, message] of parts)
    await expect(openWith({ ...good, ...change })).rejects.toThrow(message);
});

const idOf = (json: object, token: string) =>
  (json as { model: { vocab: Record<string, number> } }).model.vocab[token]!;
