/** Evaluation of an image classifier: from paths to rows. */
import { openImages } from '../data/images.js';
import { readPreprocessor } from '../data/preprocessor.js';
import { selectFirst } from '../data/select.js';
import { UserError } from '../errors.js';
import { openPlainModel } from '../execution/model.js';
import { openElasticModel } from '../execution/quantized-model.js';
import { defaultCacheMemory } from '../execution/sample-store.js';
import { openSource } from '../methods/sets.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { VisionModel } from '../models/model.js';
import type { EvaluateRequest } from '../protocol/protocol.js';
import { withDevice } from '../runtime/with-device.js';
import { planBaselines } from './baselines.js';
import type { EvaluationJobHooks, Measured } from './evaluate.js';
import { evaluateClassifier, type PictureCandidate } from './pictures.js';
import { rowsOf, widthsOf, type NamedSet } from './sets.js';

export async function evaluatePictures(
  request: EvaluateRequest,
  checkpoint: Checkpoint,
  { image }: VisionModel,
  sets: readonly NamedSet[],
  { signal, status, note }: EvaluationJobHooks,
): Promise<Measured> {
  if (request.task !== undefined)
    throw new UserError(`${checkpoint.name} is an image classifier; the task "${request.task}" is for text.`);
  const widths = widthsOf(request, sets);
  const baselines = planBaselines(checkpoint, request, sets, widths);
  const preprocessor = await readPreprocessor(checkpoint.folder, {
    channels: image.channels,
    imageSize: image,
  });
  const source = await openImages(request.data);
  const indices = selectFirst(source, request.limit ?? source.length);
  const share = baselines.work / (baselines.work + indices.length * (1 + widths.length));
  return withDevice(request, async (programs) => {
    try {
      const memory = request.cacheMemory ?? defaultCacheMemory();
      const compared = await baselines.open(programs, memory, {
        signal,
        note,
        status: (done) => status(done * share, []),
      });
      const candidates: PictureCandidate[] = [];
      for (const named of [...compared, ...sets]) {
        const rows = rowsOf(checkpoint, named, sets, widths);
        if (rows.length === 0) continue;
        const model = await openElasticModel(programs, openSource(programs, checkpoint, named.set));
        for (const { head, widths: own } of rows) candidates.push({ ...head, widths: own, model });
      }
      const rows = await evaluateClassifier(
        programs.runtime,
        checkpoint,
        await openPlainModel(programs, checkpoint),
        candidates,
        { source, indices, preprocessor },
        { signal, status: (done, live) => status(share + (1 - share) * done, live) },
      );
      return {
        device: programs.runtime.device,
        task: 'image-classification',
        data: source.name,
        rows,
        skipped: source.skipped,
      };
    } finally {
      await baselines.close();
    }
  });
}
