/** One way through the model that makes weights of some bit-widths, block by block, each kept as soon as it is there. */
import type { ModelInputs } from '../../execution/sample-store.js';
import { blocksOf } from '../../models/model.js';
import type { CalibrationContext } from '../method.js';
import type { KeptTensor } from '../progress.js';
import { walkBlocks, type BlockAt, type Parameters } from '../walk.js';
import { stageFile, type Stage } from './kept.js';

export interface StageRun {
  readonly stage: Stage;
  /** Streams of activations that it needs. */
  readonly streams: number;
  /** What is kept of a block. @param status hears 0 to 1 */
  readonly round: (
    block: BlockAt,
    status: (done: number) => void,
  ) => Promise<ReadonlyMap<string, KeptTensor>>;
  /** The parameters by which each stream goes on behind a block that is kept, where `round` has not passed it on. */
  readonly next: (block: BlockAt) => Promise<readonly Parameters[] | 'passed'>;
}

/** @param inputs what it calibrates on */
export async function runStage(
  context: CalibrationContext,
  { stage, streams, round, next }: StageRun,
  inputs: ModelInputs,
  status: (done: number, block: number) => void,
): Promise<void> {
  const { checkpoint, progress } = context;
  const blocks = blocksOf(checkpoint.model).length;
  await walkBlocks(context, inputs, streams, async (block) => {
    const { index } = block;
    const file = stageFile(stage, index);
    status(index / blocks, index);
    if (!progress.has(file)) {
      const kept = await round(block, (done) => status((index + done) / blocks, index));
      await progress.save(file, kept, {});
    }
    return next(block);
  });
}
