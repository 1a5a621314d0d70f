/** Logits that are no numbers make no score: an evaluation ends with a line, and keeps nothing. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openSafetensors, writeSafetensors } from '../engine/formats/safetensors.js';
import { complaint } from '../engine/formats/testing.js';
import { runEvaluate } from '../engine/jobs/runs/evaluate.js';
import type { EvaluateRequest } from '../engine/protocol/protocol.js';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel, writeRandomPictures } from './fixtures.js';

let folder: string;
let cleanUp: () => Promise<void>;
const at = (name: string) => join(folder, name);

/** A tokenizer of three words. */
const WORDS = {
  ...{ version: '1.0', added_tokens: [], normalizer: null, post_processor: null, decoder: null },
  pre_tokenizer: { type: 'WhitespaceSplit' },
  model: { type: 'WordLevel', vocab: { '[UNK]': 0, a: 1, b: 2, c: 3 }, unk_token: '[UNK]' },
};

/** A model of finite weights whose logits overflow. */
async function writeOverflowing(name: string, config: object, head: string): Promise<void> {
  await writeRandomModel(at(name), { ...config });
  const file = join(at(name), 'model.safetensors');
  const source = await openSafetensors(file);
  const entries = await Promise.all(
    [...source.tensors.values()].map(async ({ name: tensor, shape }) => ({
      ...{ name: tensor, dtype: 'F32' as const, shape },
      data: (await source.read(tensor)).map((x) => (tensor === head ? Math.sign(x) * 3e38 : x)),
    })),
  );
  await source.close();
  await writeSafetensors(file, entries, { format: 'pt' });
}

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeOverflowing('vit', TINY_VIT, 'classifier.weight');
  await writeOverflowing('llama', TINY_LLAMA, 'lm_head.weight');
  await writeFile(join(at('llama'), 'tokenizer.json'), JSON.stringify(WORDS));
  await writeRandomPictures(at('pictures'), 4);
  await writeFile(at('text.txt'), 'a c b '.repeat(20));
  await writeFile(at('questions.jsonl'), '{"context": "a", "choices": ["b", "c"], "answer": 0}\n');
});
afterAll(() => cleanUp());

it.each<[string, string, Partial<EvaluateRequest>]>([
  ['vit', 'pictures/train-images-idx3-ubyte', {}],
  ['llama', 'text.txt', { length: 8 }],
  ['llama', 'questions.jsonl', { task: 'multiple-choice' }],
])('a %s evaluated on %s', async (model, data, more) => {
  const request = {
    model: at(model),
    data: at(data),
    device: 'cpu' as const,
    threads: 1,
    save: 'kept',
    ...more,
  };
  const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
  const before = await readdir(at(model));
  expect(await complaint(() => runEvaluate(request, quiet))).toBe(
    'The model in full precision yields numbers that are not finite, and cannot be scored or compared with.',
  );
  expect(await readdir(at(model))).toEqual(before);
});
