/**
 * What the model's loss makes of errors of a block's output (docs/METHOD.md, section 13): the second moment of its gradient there,
 * from one pass forward and one back in full precision.
 */
import { drawLabels, labelledRows, replaceByGradient } from '../../execution/loss.js';
import { sweepBack, type BlockSums, type SweepTask } from '../../execution/reverse-sweep.js';
import type { ModelInputs } from '../../execution/sample-store.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { Part } from '../../models/model.js';
import * as op from '../../graph/ops.js';
import type { CalibrationContext } from '../method.js';
import { blockFile, type ProgressFiles } from '../progress.js';
import { batchOf } from '../walk.js';
import type { DirectSettings } from './settings.js';

const fileOf = (index: number): string => blockFile(index, 'curvature-');
const NAME = 'output';
/** The share of the loss in which all channels count alike (docs/METHOD.md, section 13). */
const ALIKE = 0.1;

const shapeOf = (part: Part): [number, number] => {
  const features = part.outputShape(1).at(-1)!;
  return [features, features];
};

/** Adds up Σ δ δᵀ over what a block yields. */
export const curvatureSums: BlockSums['build'] = (graph, _layers, { part }) => {
  const shape = shapeOf(part);
  const delta = graph.inputs.get('dy')!;
  graph.output(NAME, op.gemm(delta, delta, { transA: true, c: graph.input(`sum.${NAME}`, shape) }));
  return new Map([[NAME, shape]]);
};

/** Keeps those of every block, unless they are there. Models of several chains have none. */
export async function keepCurvatures(
  { programs, checkpoint, cache, progress, hooks }: CalibrationContext,
  { seed }: DirectSettings,
  inputs: ModelInputs,
  status: (done: number) => void,
): Promise<void> {
  const { model } = checkpoint;
  // The first block is the last to be done.
  if (model.towers?.length || progress.has(fileOf(0))) return;
  const batch = batchOf(model, inputs.samples);
  const isLabelled = labelledRows(checkpoint);
  const differentiate: SweepTask['differentiate'] = async (store, passHooks) => {
    const labels = await drawLabels(programs, checkpoint, store, { seed, isLabelled }, passHooks);
    await replaceByGradient(programs, checkpoint, store, labels, passHooks);
  };
  await sweepBack(
    programs,
    { checkpoint, inputs, cache, batch, differentiate },
    {
      build: curvatureSums,
      done: ({ index, part }, sums) =>
        progress.save(fileOf(index), new Map([[NAME, { shape: shapeOf(part), data: sums.get(NAME)! }]]), {}),
    },
    { signal: hooks.signal, status },
  );
}

/**
 * C, [features, features]: an error e of what a block yields costs e C eᵀ. The mean of its diagonal is 1, and it is the identity
 * where no gradient has been kept.
 */
export async function curvatureOf(
  { progress }: { readonly progress: Pick<ProgressFiles, 'load'> },
  part: Part,
  index: number,
): Promise<HostTensor> {
  const shape = shapeOf(part);
  const [features] = shape;
  const data = new Float32Array(features * features);
  const kept = (await progress.load(fileOf(index)))?.tensors.get(NAME)!.data ?? data;
  let trace = 0;
  for (let i = 0; i < features; i++) trace += kept[i * (features + 1)]!;
  const alike = trace > 0 ? ALIKE : 1;
  if (trace > 0) for (const [i, x] of kept.entries()) data[i] = ((1 - alike) * features * x) / trace;
  for (let i = 0; i < features; i++) data[i * (features + 1)]! += alike;
  return { data, shape };
}
