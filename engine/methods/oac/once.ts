/** All layers by Hessians of the full-precision model, last block first, all bit-widths at once. */
import { sweepBack, type BlockGradients } from '../../execution/reverse-sweep.js';
import type { CalibrationContext } from '../method.js';
import { blockFile } from '../progress.js';
import { sweepTask } from './loss.js';
import { keepLayers, layerHessians, roundUnits } from './round.js';
import type { OacSettings } from './settings.js';
import { oacSums } from './sums.js';

/** Share of a calibration that passes over data are of it. */
const PASSES = 0.9;

/**
 * Only a block's Hessians are held at once. What was interrupted passes the data again, but adds up and rounds only what it had
 * not.
 */
export async function quantizeOnce(context: CalibrationContext, settings: OacSettings): Promise<void> {
  const { programs, checkpoint, progress, hooks } = context;
  const blocks = checkpoint.model.blocks.length;
  let [passed, rounded] = [0, 0];
  const status = () =>
    hooks.status({
      done: PASSES * passed + ((1 - PASSES) * rounded) / blocks,
      // The last block is the first to be done.
      phase: rounded === 0 ? 'forward' : `back, block ${Math.max(1, blocks - rounded)}/${blocks}`,
      place: rounded,
    });
  const build = oacSums(settings);
  const isDone = ({ index }: BlockGradients) => progress.has(blockFile(index));
  await sweepBack(
    programs,
    sweepTask(context, settings),
    {
      build: (graph, layers, block) => (isDone(block) ? new Map() : build(graph, layers, block)),
      done: async (block, sums) => {
        if (!isDone(block)) {
          const { part, listing, index } = block;
          const layers = layerHessians(part, listing.linears, await checkpoint.read(part), sums, settings);
          const kept = keepLayers();
          await roundUnits(context, settings, layers, settings.offered, kept.take);
          await progress.save(blockFile(index), kept.tensors, kept.notes);
        }
        rounded++;
        status();
      },
    },
    {
      signal: hooks.signal,
      status: (done) => {
        passed = done;
        status();
      },
    },
  );
}
