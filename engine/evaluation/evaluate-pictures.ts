/** Evaluation of an image classifier: from paths to rows. */
import type { ImageSource } from '../data/image-source.js';
import { openImages } from '../data/images.js';
import { readPreprocessor, type Preprocessor } from '../data/preprocessor.js';
import { selectFirst } from '../data/select.js';
import { UserError } from '../errors.js';
import { evaluateClassifier, type PictureCandidate } from './pictures.js';
import { quantizedBytes } from '../quantized/size.js';
import { openPlainModel } from '../execution/model.js';
import { openElasticModel, type Adapters } from '../execution/quantized-model.js';
import { PAPER_VIT } from '../methods/quept/options.js';
import { roundToNearest } from '../methods/rounding/rounding.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { VisionModel } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { withDevice } from '../jobs/device.js';
import { baselineWidths, planLabel, widthsOf, type NamedSet } from '../jobs/evaluated-sets.js';
import type { NamedPlan } from '../jobs/plan-file.js';
import type { EvaluateHooks } from '../jobs/requests.js';
import type { EvaluateRequest, EvaluateResult } from '../protocol/protocol.js';

export async function evaluatePictures(
  request: EvaluateRequest,
  checkpoint: Checkpoint,
  { image }: VisionModel,
  sets: readonly NamedSet[],
  hooks: EvaluateHooks,
): Promise<Omit<EvaluateResult, 'seconds' | 'peakMemory'>> {
  if (request.task !== undefined)
    throw new UserError(`${checkpoint.name} is an image classifier; the task "${request.task}" is for text.`);
  if (request.baseline?.includes('gptq'))
    throw new UserError('The baseline "gptq" is for language models; image classifiers have "rtn".');
  const widths = widthsOf(request, sets);
  const preprocessor = await readPreprocessor(checkpoint.folder, {
    channels: image.channels,
    imageSize: image,
  });
  const source = await openImages(request.data);
  const indices = selectFirst(source, request.limit ?? source.length);
  return withDevice(request, async (programs) => {
    const candidates: PictureCandidate[] = [];
    const add = async (
      label: string,
      kind: PictureCandidate['kind'],
      adapters: Adapters,
      plans: readonly NamedPlan[] = [],
    ) => {
      const model = await openElasticModel(programs, checkpoint, adapters);
      for (const bits of widths.filter((width) => model.bits.includes(width)))
        candidates.push({
          ...{ label, kind, bits, model },
          bytes: quantizedBytes(checkpoint, adapters.config, bits),
        });
      for (const plan of plans)
        candidates.push({
          ...{ label: planLabel(label, plan, sets), kind, bits: plan.bits, widths: plan.widths, model },
          bytes: quantizedBytes(checkpoint, adapters.config, plan.widths),
        });
    };
    if (request.baseline?.includes('rtn'))
      await add(
        'rounding',
        'rounding',
        await rounding(programs, checkpoint, request, preprocessor, baselineWidths(widths)),
      );
    for (const { label, set, plans } of sets) await add(label, 'adapters', set, plans);
    const rows = await evaluateClassifier(
      programs.runtime,
      checkpoint,
      await openPlainModel(programs, checkpoint),
      candidates,
      { source, indices, preprocessor },
      { signal: hooks.signal, status: (done, live) => hooks.status({ done, rows: live }) },
    );
    return {
      device: programs.runtime.device,
      task: 'image-classification' as const,
      data: source.name,
      rows,
      skipped: source.skipped,
    };
  });
}

/** The baseline that only rounds, activation ranges from the first pictures. */
async function rounding(
  programs: Programs,
  checkpoint: Checkpoint,
  { data, baselineData = data, baselineSamples = PAPER_VIT.rangeSamples }: EvaluateRequest,
  preprocessor: Preprocessor,
  widths: readonly number[],
): Promise<Adapters> {
  const { pixels, count } = await firstPictures(
    await openImages(baselineData),
    baselineSamples,
    preprocessor,
  );
  return roundToNearest(programs, checkpoint, pixels, count, widths);
}

/** Throws UserError where none of them can be read. */
async function firstPictures(source: ImageSource, count: number, preprocessor: Preprocessor) {
  const indices = selectFirst(source, count);
  for await (const batch of source.batches(indices, indices.length, preprocessor)) return batch;
  throw new UserError(`${source.name}: no picture could be read.`);
}
