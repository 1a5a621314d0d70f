/** Evaluation of an image classifier: from paths to rows. */
import { openImages } from '../../data/images.js';
import { readPreprocessor } from '../../data/preprocessor.js';
import { selectFirst } from '../../data/select.js';
import { UserError } from '../../errors.js';
import type { Candidate, Evaluation, Measured } from '../../evaluation/evaluate.js';
import { openCompared } from '../../evaluation/compared.js';
import { evaluateClassifier, type PictureCandidate } from '../../evaluation/pictures.js';
import { exportedPictures } from '../../evaluation/exported.js';
import type { EvaluationHooks } from '../../evaluation/rows.js';
import { rowsOf } from '../../evaluation/sets.js';
import { openPlainModel, type RunnableModel } from '../../execution/model.js';
import { openElasticModel } from '../../execution/quantized-model.js';
import { openSource } from '../../methods/sets.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { VisionModel } from '../../models/model.js';
import type { MeasuredRows } from '../task.js';
import type { Programs } from '../../runtime/programs.js';
import { withDevice } from '../../runtime/with-device.js';

export async function evaluatePictures(evaluation: Evaluation<VisionModel>): Promise<Measured> {
  const { request, checkpoint, sets, widths, hooks } = evaluation;
  if (request.task !== undefined)
    throw new UserError(`${checkpoint.name} is an image classifier; the task "${request.task}" is for text.`);
  const pictures = await openPictures(checkpoint, request.data, request.limit);
  const { source, indices } = pictures;
  return withDevice({ ...request, signal: evaluation.hooks.signal }, async (programs) => {
    const compared = await openCompared(programs, evaluation, indices.length, 1);
    const candidates: PictureCandidate[] = [];
    for (const named of compared.sets) {
      const rows = rowsOf(checkpoint, named, sets, widths);
      if (rows.length === 0) continue;
      const model = await openElasticModel(programs, openSource(programs, checkpoint, named.set));
      for (const { head, widths: own } of rows) candidates.push({ ...head, widths: own, model });
    }
    const files: Awaited<ReturnType<typeof exportedPictures>>[] = [];
    try {
      for (const one of evaluation.exports)
        files.push(await exportedPictures(programs, checkpoint, one, hooks.signal));
      candidates.push(...files);
      const rows = await evaluateClassifier(
        programs.runtime,
        checkpoint,
        await openPlainModel(programs, checkpoint),
        candidates,
        pictures,
        compared.hooks,
      );
      const { device } = programs.runtime;
      const { name: data, skipped } = source;
      return { device, task: 'image-classification', data, rows, skipped };
    } finally {
      for (const file of files) file.close();
    }
  });
}

/** The rows of a model, in full precision and at its plan. */
export async function measurePictures(
  programs: Programs,
  checkpoint: Checkpoint<VisionModel>,
  { full, plan }: { readonly full: RunnableModel; readonly plan: Candidate },
  { path, limit }: { readonly path: string; readonly limit?: number },
  hooks: EvaluationHooks,
): Promise<MeasuredRows> {
  const pictures = await openPictures(checkpoint, path, limit);
  const rows = await evaluateClassifier(programs.runtime, checkpoint, full, [plan], pictures, hooks);
  return { full: rows[0]!, plan: rows[1]! };
}

/** The first pictures of a set, to be read. */
async function openPictures(
  { folder, model: { image, family } }: Checkpoint<VisionModel>,
  path: string,
  limit: number | undefined,
) {
  const preprocessor = await readPreprocessor(folder, { channels: image.channels, imageSize: image, family });
  const source = await openImages(path);
  return { source, indices: selectFirst(source, limit ?? source.length), preprocessor };
}
