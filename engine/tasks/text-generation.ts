/** Text generation: the tokens that go on with a text. */
import { stat } from 'node:fs/promises';
import { openText } from '../data/text/source.js';
import { openTokenizer } from '../data/text/tokenizer.js';
import { readWindows } from '../data/text/windows.js';
import { UserError } from '../errors.js';
import { meanDivergence } from '../execution/logit-divergence.js';
import { samplesIn } from '../execution/sample-store.js';
import type { SampleCache } from '../execution/sample-store.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { LanguageModel } from '../models/model.js';
import type { Draw, ReadSet, Task } from './task.js';
import { evaluateText, measureText } from './text/evaluate.js';
import { textPredictor } from './text/predict.js';

export const textGeneration: Task<LanguageModel> = {
  name: 'text-generation',
  words: { model: 'a language model', data: 'text' },
  sensitivity: { samples: 32, batch: 2 },
  hasLength: true,
  sharesData: false,
  distance: meanDivergence,
  count: countWindows,
  read: readText,
  evaluate: evaluateText,
  predictor: textPredictor,
  measure: measureText,
};

/** As many as are asked for: reading a text would take as long as the encoding. */
async function countWindows(path: string, samples: number): Promise<number> {
  await stat(path).catch(() => {
    throw new UserError(`${path} is not there.`);
  });
  return samples;
}

/** The first windows of a text, as token ids. */
async function readText(
  { folder, model }: Checkpoint<LanguageModel>,
  path: string,
  options: Draw,
  _cache: SampleCache,
  signal: AbortSignal,
): Promise<ReadSet> {
  const tokenizer = await openTokenizer(folder, { vocabulary: model.vocabulary, signal });
  const source = await openText(path);
  const { ids, count } = await readWindows(source, tokenizer, {
    count: options.samples,
    length: model.tokens,
    signal,
  });
  const inputs = samplesIn(BigInt64Array.from(ids, BigInt), count);
  return {
    set: { inputs, name: source.name, fingerprint: await source.fingerprint() },
    skipped: source.skipped,
  };
}
