import { expect, test } from 'vitest';
import { encodeChoices } from './choice-tokens.js';
import type { ChoicePair } from './choices.js';
import type { TextTokenizer } from './tokenizer.js';
import { tokenizerOf, unitTokenizer } from './testing.js';

const codes = (text: string) => Array.from(text, (c) => c.charCodeAt(0));
const taskOf = (...pairs: Omit<ChoicePair, 'characters'>[]) => ({
  name: 'some.jsonl',
  layout: 'choices',
  items: [{ pairs: pairs.map((pair) => ({ ...pair, characters: 1 })), answer: 0 }],
  fingerprint: () => Promise.resolve(''),
});
const encode = async (
  context: string,
  continuation: string,
  length = 100,
  tokenizer: TextTokenizer = unitTokenizer,
) => (await encodeChoices(taskOf({ context, continuation }), tokenizer, { length }))[0]!.texts[0]!;

test('scores the tokens of the choice, in one text with the context', async () => {
  expect(await encode('ab', ' cd')).toEqual({ ids: codes('ab cd'), scored: 3 });
});

test('leaves spaces at the end of the context to the choice', async () => {
  expect(await encode('ab \n', 'cd')).toEqual({ ids: codes('ab \ncd'), scored: 4 });
});

test('counts the tokens of the context by encoding it alone', async () => {
  // `b` and the space behind it are one token: what is scored begins where the context alone would have ended.
  const joining = tokenizerOf((text) => codes(text.replace('b ', 'B')));
  expect(await encode('ab', ' cd', 100, joining)).toEqual({ ids: codes('aBcd'), scored: 2 });
  const swallowing = tokenizerOf((text) => codes(text.slice(0, 2)));
  await expect(encode('ab', ' cd', 100, swallowing)).rejects.toThrow(
    'some.jsonl: question 1, choice 1: the tokenizer leaves nothing of it to score.',
  );
});

test('begins a text without context as the tokenizer begins or ends one', async () => {
  const { bos: _, ...nameless } = unitTokenizer;
  expect(await encode('', 'cd')).toEqual({ ids: [2, ...codes('cd')], scored: 2 });
  expect(await encode(' ', 'cd')).toEqual({ ids: [2, ...codes(' cd')], scored: 3 });
  expect((await encode('', 'cd', 100, { ...nameless, eos: 7 })).ids[0]).toBe(7);
  await expect(encode('', 'cd', 100, nameless)).rejects.toThrow('names neither bos_token nor eos_token');
});

test('cuts what is too long from the left, and never the choice', async () => {
  // A model that reads 4 tokens scores a fifth.
  expect(await encode('abcdef', 'gh', 4)).toEqual({ ids: codes('defgh'), scored: 2 });
  expect(await encode('abcdef', 'ghij', 4)).toEqual({ ids: codes('fghij'), scored: 4 });
  await expect(encode('abcdef', 'ghijk', 4)).rejects.toThrow(
    'some.jsonl: question 1, choice 1 has 5 tokens; the model reads 4 at a time.',
  );
});

test('takes the first questions, and keeps answers and lengths', async () => {
  const task = taskOf({ context: 'a', continuation: 'b' });
  const items = [0, 1, 2].map((answer) => ({
    pairs: ['x', 'yy', 'zzz'].map((text) => ({ context: 'a', continuation: text, characters: text.length })),
    answer,
  }));
  const encoded = await encodeChoices({ ...task, items }, unitTokenizer, { length: 9, limit: 2 });
  expect(encoded.map(({ answer }) => answer)).toEqual([0, 1]);
  expect(encoded[0]!.characters).toEqual([1, 2, 3]);
  expect(encoded[1]!.texts.map(({ scored }) => scored)).toEqual([1, 2, 3]);
});
