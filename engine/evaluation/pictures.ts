/** Evaluation of an image classifier in full precision and at bit-widths, reading the pictures once. */
import { CancelledError, UserError } from '../errors.js';
import type { ImageBatch, ImageSource } from '../data/image-source.js';
import { alignLabels } from '../data/labels.js';
import type { Preprocessor } from '../data/preprocessor.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { VisionModel } from '../models/model.js';
import type { RunnableModel } from '../execution/model.js';
import type { ElasticModel, Widths } from '../execution/quantized-model.js';
import type { Runtime } from '../runtime/session.js';
import { classificationScorer } from './classification.js';
import { withDistances } from './paired-error.js';
import { fullHead, requireFinite, rowOf, type EvaluationHooks } from './rows.js';
import type { EvaluationRow, RowHead } from '../protocol/protocol.js';

/** Pictures that run at once (docs/METHOD.md, section 11). */
const BATCH = 100;
/**
 * Pictures are held in memory in chunks of this many bytes, over which the models are switched (docs/METHOD.md,
 * section 11).
 */
const CHUNK_BYTES = 256 << 20;

/** A classifier that is switched to the bits of its layers before it runs. */
export interface PictureCandidate extends RowHead {
  readonly widths: Widths;
  readonly model: Pick<ElasticModel, 'use' | 'run'>;
}

/** Full precision first, then the candidates in their order. Throws UserError where no picture can be read or no label fits. */
export async function evaluateClassifier(
  runtime: Runtime,
  checkpoint: Checkpoint<VisionModel>,
  plain: RunnableModel,
  candidates: readonly PictureCandidate[],
  pictures: {
    readonly source: ImageSource;
    readonly indices: readonly number[];
    readonly preprocessor: Preprocessor;
  },
  hooks: EvaluationHooks,
): Promise<EvaluationRow[]> {
  const { model } = checkpoint;
  const { source, indices, preprocessor } = pictures;
  const pixels = model.image.channels * model.image.height * model.image.width;
  const shape = [BATCH, model.image.channels, model.image.height, model.image.width];
  const align = source.labelled ? alignLabels(source, model.classNames, model.classes) : () => -1;
  const scorers = [undefined, ...candidates].map(() => classificationScorer(model.classes));

  const heads = [fullHead(checkpoint), ...candidates.map(rowOf)];
  const rows = () =>
    heads.flatMap((head, i) => {
      const { scoreError, ...scores } = scorers[i]!.scores();
      if (scores.samples === 0) return [];
      return [{ ...head, ...scores, ...(i > 0 && scoreError !== undefined && { scoreError }) }];
    });
  let seen = 0;
  const batchesPerChunk = Math.max(1, Math.floor(CHUNK_BYTES / (BATCH * pixels * 4)));
  for await (const chunk of chunks(source.batches(indices, BATCH, preprocessor), batchesPerChunk)) {
    const references: Float32Array[] = [];
    const chunkSize = chunk.reduce((n, batch) => n + batch.count, 0);
    for (const [i, candidate] of [undefined, ...candidates].entries()) {
      await candidate?.model.use(candidate.widths);
      for (const [b, batch] of chunk.entries()) {
        if (hooks.signal.aborted) throw new CancelledError();
        const inputs = new Float32Array(BATCH * pixels);
        inputs.set(batch.pixels);
        const logits = await (candidate?.model ?? plain).run(runtime.tensor(inputs, shape), BATCH);
        requireFinite(logits.subarray(0, batch.count * model.classes), heads[i]!);
        if (!candidate) references.push(logits);
        scorers[i]!.add(logits, references[b], batch.labels.map(align), batch.count);
        hooks.status(
          (seen + (chunkSize * (i + (b + 1) / chunk.length)) / (candidates.length + 1)) / indices.length,
          rows(),
        );
      }
    }
    seen += chunkSize;
  }
  if (seen === 0) throw new UserError(`${source.name}: no picture could be read.`);
  const scored = rows().map((row, i) => ({ row, samples: scorers[i]!.samples() }));
  return scored.map((own, i) => withDistances(own, scored.slice(0, i)));
}

async function* chunks(batches: AsyncIterable<ImageBatch>, size: number): AsyncGenerator<ImageBatch[]> {
  let chunk: ImageBatch[] = [];
  for await (const batch of batches) {
    chunk.push(batch);
    if (chunk.length === size) {
      yield chunk;
      chunk = [];
    }
  }
  if (chunk.length > 0) yield chunk;
}
