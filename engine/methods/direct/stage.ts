/** One way through the model that makes weights of some bit-widths, block by block, each kept as soon as it is there. */
import type { OpenPart } from '../../execution/part-by-part.js';
import type { ModelInputs } from '../../execution/sample-store.js';
import { blocksOf } from '../../models/model.js';
import type { CalibrationContext } from '../method.js';
import type { KeptTensor } from '../progress.js';
import { walkBlocks, type BlockAt, type Onward } from '../walk.js';
import { stageFile, type Stage } from './kept.js';

export interface StageRun {
  readonly stage: Stage;
  /** How each of its streams of activations passes the stems. */
  readonly stems: readonly OpenPart[];
  /** What is kept of a block. @param status hears 0 to 1 */
  readonly round: (
    block: BlockAt,
    status: (done: number) => void,
  ) => Promise<ReadonlyMap<string, KeptTensor>>;
  /** How each stream goes on through a block that is kept, where `round` has not passed it on. */
  readonly next: (block: BlockAt) => readonly Onward[] | 'passed';
}

/** @param inputs what it calibrates on */
export async function runStage(
  context: CalibrationContext,
  { stage, stems, round, next }: StageRun,
  inputs: ModelInputs,
  status: (done: number, block: number) => void,
): Promise<void> {
  const { checkpoint, progress } = context;
  const blocks = blocksOf(checkpoint.model).length;
  await walkBlocks(context, inputs, stems, async (block) => {
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
