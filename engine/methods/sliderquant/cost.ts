/** What SliderQuant takes: steps of every window, and passes of both streams, in every stage at every bit-width. */
import { plainGraph } from '../../execution/part.js';
import { sizeOf } from '../../graph/ir.js';
import { addWork, peakBytes, timesWork, workOf, type Work } from '../../graph/work.js';
import { blocksOf, chainParts, chainsOf, inputsOf, outputSize, type Part } from '../../models/model.js';
import type { Outline } from '../../transforms/transform.js';
import type { CalibrationCost } from '../method.js';
import { gridBytes } from '../stored-bytes.js';
import { batchOf } from '../walk.js';
import { groupSizeAt } from '../weight-set.js';
import { chainWindows } from './calibrate.js';
import type { SliderquantSettings } from './settings.js';
import { stepGraph } from './step.js';
import { stepsOf } from './train.js';
import { windowLayers, windowPart } from './window.js';

const FLOAT = 4;
const NONE: Work = { flops: 0, elements: 0, operators: 0 };

export function sliderquantCost(
  { model, listing }: Outline,
  settings: SliderquantSettings,
  samples: number,
): CalibrationCost {
  const { offered, stages, rank } = settings;
  const { batch, perEpoch } = stepsOf(settings, samples);
  const passBatch = batchOf(model, samples);
  const passWork = (part: Part) =>
    timesWork(workOf(plainGraph(part, passBatch)), Math.ceil(samples / passBatch));
  const known = new Map<string, { readonly step: Work; readonly pass: Work; readonly bytes: number }>();
  const costOf = (blocks: readonly Part[], bits: number, share: number) => {
    const part = windowPart(blocks);
    const key = `${part.kind} ${bits <= 4} ${share}`;
    const found = known.get(key);
    if (found) return found;
    const layout = { rank, groupSize: groupSizeAt(settings, bits), layers: windowLayers(blocks, listing) };
    const graph = stepGraph(part, layout, { batch, loss: settings.loss, share });
    const parameters = blocks.flatMap((block) => listing(block).parameters);
    const weights = parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    const own = {
      step: workOf(graph),
      pass: passWork(part),
      // Also the parameters on the host, and what a pass of the window holds.
      bytes: weights * FLOAT + Math.max(peakBytes(graph), peakBytes(plainGraph(part, passBatch))),
    };
    known.set(key, own);
    return own;
  };
  let [work, bytes] = [NONE, 0];
  const epochs = Math.floor(settings.epochs / stages);
  for (const bits of offered)
    for (let stage = 1; stage <= stages; stage++) {
      for (const { stem } of chainsOf(model)) work = addWork(work, timesWork(passWork(stem), 2));
      for (const { blocks, advance } of chainWindows(model, settings).flat()) {
        const own = costOf(blocks, bits, stage / stages);
        bytes = Math.max(bytes, own.bytes);
        work = addWork(work, addWork(timesWork(own.step, epochs * perEpoch), own.pass));
        for (const part of blocks.slice(0, advance)) work = addWork(work, timesWork(passWork(part), 2));
      }
    }
  const inputs = inputsOf(model).map(({ shape, type }) => sizeOf(shape(1)) * (type === 'int64' ? 8 : FLOAT));
  const layers = blocksOf(model).flatMap((part) => listing(part).linears);
  const largest = Math.max(...chainsOf(model).flatMap(chainParts).map(outputSize));
  return {
    work,
    // Weights become codes once.
    looked: offered.length * layers.reduce((sum, l) => sum + l.in * l.out, 0),
    // Both streams and the target.
    activations: samples * (inputs.reduce((a, b) => a + b, 0) + 3 * largest * FLOAT),
    tensors: bytes,
    stored: gridBytes(layers, offered, (bits) => groupSizeAt(settings, bits)),
  };
}
