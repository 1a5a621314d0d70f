/** The evaluate job: full precision, adapter sets and the rounding baseline on one set of pictures. */
import { basename, resolve } from 'node:path';
import { openImages, selectFirst } from '../data/images.js';
import { readPreprocessor } from '../data/preprocessor.js';
import { openText } from '../data/text/source.js';
import { openTokenizer, requireVocabulary } from '../data/text/tokenizer.js';
import { evaluationWindows } from '../data/text/windows.js';
import { UserError } from '../errors.js';
import { evaluatePerplexity } from '../evaluation/perplexity.js';
import { evaluateClassifier, type Candidate } from '../evaluation/evaluate.js';
import { bitsOf, readAdapterSet } from '../formats/adapter-set.js';
import { openElasticModel, openPlainModel, requireMatch } from '../methods/quept/elastic-model.js';
import { layersOf } from '../methods/quept/calibrate.js';
import { bitGroups, PAPER_TEXT, PAPER_VIT } from '../methods/quept/options.js';
import { roundToNearest, roundWeights } from '../methods/quept/rounding.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { requireVision, type LanguageModel } from '../models/model.js';
import { chooseDevice } from '../runtime/devices.js';
import { openPrograms } from '../runtime/programs.js';
import { openRuntime } from '../runtime/session.js';
import type { EvaluateRequest, EvaluateResult, JobHooks } from './requests.js';

/** The label of the baseline's rows. */
export const ROUNDING = 'rounding';

export async function runEvaluate(
  request: EvaluateRequest,
  hooks: JobHooks<'evaluate'>,
): Promise<EvaluateResult> {
  const started = performance.now();
  const checkpoint = await openCheckpoint(
    request.model,
    request.length === undefined ? {} : { tokens: request.length },
  );
  if (checkpoint.model.task === 'text-generation')
    return evaluateText(request, hooks, checkpoint, checkpoint.model);
  const { image } = requireVision(checkpoint.model, checkpoint.name, 'evaluate');
  const preprocessor = await readPreprocessor(checkpoint.folder, {
    channels: image.channels,
    imageSize: image,
  });
  const source = await openImages(request.data);
  const indices = selectFirst(source, request.limit ?? source.length);
  const sets = await Promise.all(
    (request.adapters ?? []).map(async (folder) => ({ folder, set: await readAdapterSet(folder) })),
  );
  for (const { folder, set } of sets) await requireMatch(checkpoint, set, folder);

  const device = await chooseDevice(request.device ?? 'auto');
  const runtime = openRuntime(device, request.threads);
  const programs = openPrograms(runtime);
  try {
    const models = await Promise.all(
      sets.map(async ({ folder, set }) => ({
        label: basename(resolve(folder)),
        model: await openElasticModel(programs, checkpoint, set),
      })),
    );
    const widths = [...new Set(request.bits ?? models.flatMap((m) => m.model.bits))].sort((a, b) => b - a);
    for (const { label, model } of models)
      for (const bits of request.bits ?? [])
        if (!model.bits.includes(bits))
          throw new UserError(`${label} has no ${bits}-bit setting; it has ${model.bits.join(', ')}.`);
    const candidates: Candidate[] = [];
    if (request.baseline) {
      if (widths.length === 0) throw new UserError('Say which bit-widths to evaluate, such as --bits 8,4.');
      const ranges = request.baselineData === undefined ? source : await openImages(request.baselineData);
      const sample = selectFirst(ranges, PAPER_VIT.rangeSamples);
      for await (const batch of ranges.batches(sample, sample.length, preprocessor)) {
        const adapters = await roundToNearest(programs, checkpoint, batch.pixels, batch.count, widths);
        const model = await openElasticModel(programs, checkpoint, adapters);
        candidates.push(...widths.map((bits) => ({ label: ROUNDING, bits, model })));
        break;
      }
    }
    for (const { label, model } of models)
      candidates.push(
        ...widths.filter((bits) => model.bits.includes(bits)).map((bits) => ({ label, bits, model })),
      );
    const plain = await openPlainModel(programs, checkpoint);
    const rows = await evaluateClassifier(
      runtime,
      checkpoint,
      plain,
      candidates,
      { source, indices, preprocessor },
      {
        signal: hooks.signal,
        status: (done) => hooks.status({ done }),
      },
    );
    return { device, rows, skipped: source.skipped, seconds: (performance.now() - started) / 1000 };
  } finally {
    await programs.release();
    await runtime.dispose();
    await checkpoint.close();
  }
}

/** Perplexity over the first windows of a text. */
async function evaluateText(
  request: EvaluateRequest,
  hooks: JobHooks<'evaluate'>,
  checkpoint: Checkpoint,
  model: LanguageModel,
): Promise<EvaluateResult> {
  const started = performance.now();
  const tokenizer = await openTokenizer(checkpoint.folder);
  requireVocabulary(tokenizer, model.vocabulary);
  const source = await openText(request.data);
  const windows = await evaluationWindows(source, tokenizer, {
    length: model.tokens,
    ...(request.limit !== undefined && { limit: request.limit }),
  });
  const device = await chooseDevice(request.device ?? 'auto');
  const runtime = openRuntime(device, request.threads);
  const programs = openPrograms(runtime);
  try {
    const candidates: Candidate[] = [];
    const folders = request.adapters ?? [];
    const sets = await Promise.all(
      folders.map(async (folder) => ({ folder, set: await readAdapterSet(folder) })),
    );
    const widths = [...new Set(request.bits ?? sets.flatMap(({ set }) => bitsOf(set.config)))].sort(
      (a, b) => b - a,
    );
    if (request.baseline) {
      if (widths.length === 0) throw new UserError('Say which bit-widths to evaluate, such as --bits 8,4.');
      const layers = layersOf(checkpoint, {
        groups: bitGroups(widths.map((b) => [b])),
        groupSize: PAPER_TEXT.groupSize,
      });
      const rounded = await openElasticModel(programs, checkpoint, roundWeights(widths, layers));
      candidates.push(...widths.map((bits) => ({ label: ROUNDING, bits, model: rounded })));
    }
    for (const { folder, set } of sets) {
      await requireMatch(checkpoint, set, folder);
      const elastic = await openElasticModel(programs, checkpoint, set);
      for (const bits of request.bits ?? [])
        if (!elastic.bits.includes(bits))
          throw new UserError(`${folder} has no ${bits}-bit setting; it has ${elastic.bits.join(', ')}.`);
      const own = widths.filter((bits) => elastic.bits.includes(bits));
      candidates.push(...own.map((bits) => ({ label: basename(resolve(folder)), bits, model: elastic })));
    }
    const plain = await openPlainModel(programs, checkpoint);
    const perplexity = await evaluatePerplexity(programs, model.vocabulary, plain, candidates, windows, {
      signal: hooks.signal,
      status: (done) => hooks.status({ done }),
    });
    return {
      device,
      rows: [],
      perplexity,
      skipped: source.skipped,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await programs.release();
    await runtime.dispose();
    await checkpoint.close();
  }
}
