/** The evaluate job: full precision, adapter sets and the rounding baseline on one set of pictures. */
import { basename, resolve } from 'node:path';
import { openImages, selectFirst } from '../data/images.js';
import { readPreprocessor } from '../data/preprocessor.js';
import { UserError } from '../errors.js';
import { evaluateClassifier, type Candidate } from '../evaluation/evaluate.js';
import { readAdapterSet } from '../formats/adapter-set.js';
import { openElasticModel, openPlainModel, requireMatch } from '../methods/quept/elastic-model.js';
import { PAPER_VIT } from '../methods/quept/options.js';
import { roundToNearest } from '../methods/quept/rounding.js';
import { openCheckpoint } from '../models/checkpoint.js';
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
  const checkpoint = await openCheckpoint(request.model);
  const { image } = checkpoint.model;
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
