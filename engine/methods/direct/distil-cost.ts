/** What training all blocks at once takes. */
import { sizeOf } from '../../graph/ir.js';
import { addWork, peakBytes, timesWork, workOf, type Work } from '../../graph/work.js';
import { blocksOf, inputSize, outputSize } from '../../models/model.js';
import { plainGraph } from '../../execution/part.js';
import { rowsAtOnce } from '../../execution/logit-divergence.js';
import type { Outline } from '../../transforms/transform.js';
import { backwardGraph, forwardGraph, headGraph } from './distil-step.js';
import { distilSteps } from './distil.js';
import { layoutAt, ownWidths, type DirectSettings } from './settings.js';
import { trainedShapes } from './train-step.js';

const FLOAT = 4;

/** Every step of every bit-width, and one pass in full precision; memory holds the weights of all blocks, and their moments. */
export function distilCost(
  { model, listing }: Pick<Outline, 'model' | 'listing'>,
  settings: DirectSettings,
  samples: number,
): { readonly work: Work; readonly bytes: number } {
  const widths = ownWidths(settings);
  const { groupSize } = layoutAt(settings, widths[0]!);
  const { steps, batch } = distilSteps(model, samples);
  const blocks = blocksOf(model).map((part) => {
    const { linears, parameters } = listing(part);
    const backward = backwardGraph(part, linears, groupSize, batch);
    const state = 3 * sum([...trainedShapes(linears, groupSize).values()].map(sizeOf));
    return {
      work: addWork(workOf(forwardGraph(part, linears, groupSize, batch)), workOf(backward)),
      held: state + sum(parameters.map(({ shape }) => sizeOf(shape))) + batch * outputSize(part),
      peak: peakBytes(backward),
    };
  });
  const size = inputSize(model.head);
  const all = (batch * outputSize(blocksOf(model).at(-1)!)) / size;
  const rows = Math.min(all, rowsAtOnce(outputSize(model.head)));
  const head = timesWork(workOf(headGraph(model.head, rows)), Math.ceil(all / rows));
  const step = [...blocks.map(({ work }) => work), head].reduce(addWork);
  const plain = blocksOf(model).map((part) => workOf(plainGraph(part, batch)));
  return {
    work: addWork(
      timesWork(step, steps * widths.length),
      timesWork(plain.reduce(addWork), Math.ceil(samples / batch)),
    ),
    bytes: FLOAT * sum(blocks.map(({ held }) => held)) + Math.max(...blocks.map(({ peak }) => peak)),
  };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
