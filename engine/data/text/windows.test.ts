import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { sourceOf, tokenizerOf, unitTokenizer } from './testing.js';
import { openTokenizer } from './tokenizer.js';
import { evaluationWindows, readWindows } from './windows.js';

const numbers = (count: number) => Array.from({ length: count }, (_, i) => `${i} `).join('');

test('joins documents by an empty line, with one special token at the very start', async () => {
  const source = sourceOf('ab', '', 'cde');
  const { ids, ...rest } = await readWindows(source, unitTokenizer, { count: 2, length: 5 });
  expect(rest).toEqual({ count: 2, length: 5, tokensSeen: 10 });
  expect(await unitTokenizer.decode(ids)).toBe('\u0002ab\n\n\n\ncde');
});

test('encodes no more than it needs, and gets what the whole text begins with', async () => {
  const text = numbers(40_000);
  const whole = await evaluationWindows(sourceOf(text), unitTokenizer, { length: 7 });
  for (const count of [1, 40, 3000]) {
    const few = await readWindows(sourceOf(text, 'more'), unitTokenizer, { count, length: 7 });
    expect(few.ids).toEqual(whole.ids.slice(0, count * 7));
    expect(few.tokensSeen).toBeLessThan(count * 7 * 14 + 256 * 14);
  }
});

test('the first windows of real text are those of all of it', async () => {
  const tokenizer = await openTokenizer(
    fileURLToPath(new URL('../../../samples/llama-speeches', import.meta.url)),
  );
  const text = "It's 1,234 times   tempting to look back\n\n on these moments -- and assume…  ".repeat(300);
  const [whole] = (await tokenizer.encode([text], { special: 'all' })) as [number[]];
  for (let count = 1; count < 64; count += 3) {
    const { ids, tokensSeen } = await readWindows(sourceOf(text), tokenizer, { count, length: 17 });
    expect(tokensSeen).toBeLessThan(whole.length);
    expect([...ids]).toEqual(whole.slice(0, count * 17));
  }
});

test('reads no document behind the last one it needs', async () => {
  let read = 0;
  const source = {
    ...sourceOf(),
    documents: async function* () {
      for (;;) {
        read++;
        yield await Promise.resolve(numbers(1000));
      }
    },
  };
  await readWindows(source, unitTokenizer, { count: 2, length: 16 });
  expect(read).toBe(1);
});

test('reads on where tokens are longer than expected', async () => {
  const encode = (text: string) =>
    Array.from({ length: Math.ceil(text.length / 50) }, (_, i) => text.charCodeAt(i * 50));
  const coarse = tokenizerOf(encode);
  const text = numbers(30_000);
  const { ids, tokensSeen } = await readWindows(sourceOf(text), coarse, { count: 10, length: 100 });
  expect([...ids]).toEqual([2, ...encode(text)].slice(0, 1000));
  expect(tokensSeen).toBeLessThan(encode(text).length);
});

test('draws windows anywhere, the same with the same seed', async () => {
  const source = sourceOf(numbers(500));
  const draw = (seed: number) =>
    readWindows(source, unitTokenizer, { count: 20, length: 8, from: 'random', seed });
  const [first, again, other] = [await draw(1), await draw(1), await draw(2)];
  expect(again).toEqual(first);
  expect(other.ids).not.toEqual(first.ids);
  const text = `\u0002${numbers(500)}`;
  for (let i = 0; i < 20; i++)
    expect(text).toContain(await unitTokenizer.decode(first.ids.subarray(i * 8, i * 8 + 8)));
});

test('says how many windows there are', async () => {
  const source = sourceOf('abcdefghij');
  await expect(readWindows(source, unitTokenizer, { count: 4, length: 4 })).rejects.toThrow(
    'some: it holds 2 windows of 4 tokens; 4 were asked for.',
  );
  await expect(readWindows(source, unitTokenizer, { count: 4, length: 4, from: 'random' })).rejects.toThrow(
    'it holds 2 windows',
  );
  await expect(evaluationWindows(source, unitTokenizer, { length: 12 })).rejects.toThrow(
    'it holds 0 windows',
  );
  await expect(readWindows(source, unitTokenizer, { count: 0, length: 4 })).rejects.toThrow(RangeError);
});

test('evaluates every whole window, or the first few', async () => {
  const source = sourceOf('abcdefghij');
  const all = await evaluationWindows(source, unitTokenizer, { length: 4, limit: 9 });
  expect(all).toMatchObject({ count: 2, tokensSeen: 11 });
  expect(await unitTokenizer.decode(all.ids)).toBe('\u0002abcdefg');
  expect(await evaluationWindows(source, unitTokenizer, { length: 4, limit: 1 })).toMatchObject({ count: 1 });
});

test('asks for a limit where the text is very long', async () => {
  const source = sourceOf('x'.repeat(2 ** 24), 'y');
  const coarse = tokenizerOf((text) => new Array<number>((text.length >> 12) - 1).fill(1));
  await expect(evaluationWindows(source, coarse, { length: 128 })).rejects.toThrow(
    'its first 16777216 characters are 30 windows of 128 tokens; limit the windows to that.',
  );
  expect(await evaluationWindows(source, coarse, { length: 128, limit: 30 })).toMatchObject({ count: 30 });
  await expect(readWindows(source, coarse, { count: 31, length: 128 })).rejects.toThrow(
    'all that is read, hold 30 windows',
  );
});
