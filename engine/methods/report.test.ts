import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import { reportMethods } from './report.js';

let folder: string;
let cleanUp: () => Promise<void>;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(at('vit'), TINY_VIT);
  await writeRandomModel(at('llama'), TINY_LLAMA);
});
afterAll(() => cleanUp());

it('says what each method does for a model where nothing is asked', async () => {
  const told = async (name: string) =>
    (await reportMethods(at(name))).map(({ name, modes }) => [
      name,
      ...modes.map(({ mode, bits, samples }) => `${mode} ${bits.join('')} ${samples}`),
    ]);
  expect(await told('vit')).toEqual([
    ['quept', 'weight-activation 87654 1024'],
    ['direct', 'weight-activation 87654 1024', 'weight-only 8765432 1024'],
    ['gptq', 'weight-only 8765432 128'],
    ['oac', 'weight-only 8765432 128'],
    ['sliderquant', 'weight-only 432 128'],
    ['adpq', 'weight-only 876543 0'],
    ['rounding', 'weight-activation 87654 256', 'weight-only 8765432 0'],
  ]);
  expect(await told('llama')).toEqual([
    ['direct', 'weight-only 8765432 128', 'weight-activation 87654 128'],
    ['quept', 'weight-only 8765432 128', 'weight-activation 87654 128'],
    ['gptq', 'weight-only 8765432 128'],
    ['oac', 'weight-only 8765432 128'],
    ['sliderquant', 'weight-only 432 128'],
    ['adpq', 'weight-only 876543 0'],
    ['rounding', 'weight-only 8765432 0', 'weight-activation 87654 0'],
  ]);
});

it('says which bit-widths can be asked for', async () => {
  const found = await reportMethods(at('llama'));
  expect(found.map(({ name, modes }) => [name, modes[0]!.allowed.join('')])).toEqual([
    ['direct', '87654321'],
    ['quept', '8765432'],
    ['gptq', '8765432'],
    ['oac', '87654321'],
    ['sliderquant', '8765432'],
    ['adpq', '8765432'],
    ['rounding', '8765432'],
  ]);
});

it('says which methods can be compared with, and which have the paper', async () => {
  const found = await reportMethods(at('llama'));
  expect(found.filter(({ baseline }) => baseline).map(({ name }) => name)).toEqual([
    'direct',
    'gptq',
    'adpq',
    'rounding',
  ]);
  expect(found.filter(({ recipes }) => recipes.includes('paper')).map(({ name }) => name)).toEqual([
    'quept',
    'sliderquant',
  ]);
});

it('says what methods do best at 2 bits and less', async () => {
  const found = await reportMethods(at('llama'));
  expect(
    found.flatMap(({ name, extremes }) => extremes.map(({ bits, options }) => [name, bits, options])),
  ).toEqual([
    ['direct', [2, 1], { effort: 'best' }],
    ['oac', [2.3, 2.1], { backend: 'spqr', hessian: 'weighted' }],
    ['oac', [1], { backend: 'billm', hessian: 'weighted' }],
  ]);
});

it('leaves out a mode that its standard settings do not fit', async () => {
  // No Hadamard matrix of order 92 is known here, so the model cannot be rotated.
  await writeRandomModel(at('odd'), {
    ...TINY_LLAMA,
    hidden_size: 92,
    num_attention_heads: 23,
    num_key_value_heads: 23,
  });
  const quept = (await reportMethods(at('odd'))).find(({ name }) => name === 'quept');
  expect(quept!.modes.map(({ mode }) => mode)).toEqual(['weight-only']);
});
