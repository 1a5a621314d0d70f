/**
 * What the model's loss makes of errors of tokens (docs/METHOD.md, section 14): the squared length of its gradient with respect to
 * what layers that share an input yield, and to what a block yields, from one pass forward and one back in full precision. Methods
 * weight tokens with it where they add up moments and errors.
 */
import { replaceByCurvature } from '../execution/loss.js';
import { UserError } from '../errors.js';
import { squaredLength } from '../execution/hessians.js';
import { sweepBack, sweepWork, type BlockSums, type SweepTask } from '../execution/reverse-sweep.js';
import {
  samplesIn,
  type ModelInputs,
  type SampleSource,
  type SampleStore,
} from '../execution/sample-store.js';
import type { Beside } from '../execution/sums.js';
import type { Graph, Value } from '../graph/ir.js';
import type { Work } from '../graph/work.js';
import * as op from '../graph/ops.js';
import { chainParts, outputSize } from '../models/model.js';
import { byInput } from '../models/listing.js';
import type { Fact } from '../protocol/protocol.js';
import type { Outline } from '../transforms/transform.js';
import type { CalibrationContext } from './method.js';
import { choice, type MethodOption } from './options.js';
import { blockFile, type KeptTensor, type ProgressFiles } from './progress.js';
import { batchOf } from './walk.js';

/** What tokens count: `plain`, alike or by their energy, as methods have it; `loss`, what the model's loss makes of their errors. */
export const WEIGHTINGS = ['plain', 'loss'] as const;
export type Weighting = (typeof WEIGHTINGS)[number];

export const weightingOption: MethodOption<Weighting> = choice(
  {
    help: "what tokens count in moments and errors: alike but for massive activations, or what the model's loss makes of their errors",
    standard: 'plain',
  },
  ...WEIGHTINGS,
);

/** Throws UserError where the option is given for a model that has no such weights. */
export function refuseWeighting(
  { model }: Pick<Outline, 'model'>,
  given: { readonly weighting?: Weighting },
): void {
  if (given.weighting === 'loss' && model.towers?.length)
    throw new UserError(
      'With --weighting loss gradients pass a model of one chain alone: leave --weighting out.',
    );
}

/** What a set's settings say of it, where it is not plain. */
export const weightingFacts = ({ weighting }: { readonly weighting: Weighting }): Fact[] =>
  weighting === 'loss' ? [{ label: 'weighting', value: 'loss' }] : [];

const fileOf = (index: number): string => blockFile(index, 'loss-');
/** What the block yields, beside the first of the layers that share an input. */
export const BLOCK_OUTPUT = '.output';
const OUTPUT = 'weight.';
const outputName = (layer: string) => `${OUTPUT}${layer}`;
/** The graph input for weights of tokens, [rows, 1]. */
const inputName = (layer: string) => `loss.${layer}`;

/** Share of the weights in which all tokens count alike (docs/METHOD.md, section 14). */
const ALIKE = 0.1;

/** Outputs `weight.<layer>` [rows, 1] of the first layer that reads each input, for it and those that share it, and of the block. */
const weightOutputs: BlockSums['build'] = (graph, layers, { listing }) => {
  for (const [first, ...others] of byInput(listing.linears)) {
    const squares = [first, ...others].map(({ name }) => squaredLength(layers.get(name)!.delta));
    graph.output(outputName(first.name), squares.reduce(op.add));
  }
  const dy = graph.inputs.get('dy')!;
  const features = dy.shape.at(-1)!;
  const rows = dy.shape.reduce((n, length) => n * length, 1) / features;
  graph.output(outputName(BLOCK_OUTPUT), squaredLength(op.reshape(dy, [rows, features])));
  return new Map();
};

/** Keeps weights of all tokens for every block, a file each, unless they are there. Throws UserError for a model of several chains. */
export async function keepLossWeights(
  { programs, checkpoint, cache, progress, hooks }: CalibrationContext,
  inputs: ModelInputs,
  seed: number,
  status: (done: number) => void,
): Promise<void> {
  // The first block is the last to be done.
  if (progress.has(fileOf(0))) return;
  const { samples } = inputs;
  const differentiate: SweepTask['differentiate'] = (store, passHooks) =>
    replaceByCurvature(programs, checkpoint, store, seed, passHooks);
  let held = new Map<string, SampleStore>();
  try {
    await sweepBack(
      programs,
      { checkpoint, inputs, cache, batch: batchOf(checkpoint.model, samples), differentiate },
      {
        build: (graph, layers, block, operands) => {
          const sums = weightOutputs(graph, layers, block, operands);
          held = new Map(
            [...graph.outputs]
              .filter(([name]) => name.startsWith(OUTPUT))
              .map(([name, { shape }]) => [name, cache.store(samples, shape[0]! / block.batch)]),
          );
          return sums;
        },
        keeps: () => held,
        done: async ({ index }) => {
          const kept = new Map<string, KeptTensor>();
          for (const [name, store] of held) {
            const data = new Float32Array(samples * store.size);
            store.readSpan(0, data);
            store.release();
            kept.set(name.slice(OUTPUT.length), { shape: [samples, store.size], data });
          }
          held.clear();
          await progress.save(fileOf(index), kept, {});
        },
      },
      { signal: hooks.signal, status },
    );
  } finally {
    for (const store of held.values()) store.release();
  }
}

/** What `keepLossWeights` takes, and the most bytes of activations. */
export function lossWeightsCost(
  { model, listing }: Pick<Outline, 'model' | 'listing'>,
  samples: number,
): { readonly work: Work; readonly activations: number } {
  const sizes = chainParts(model).reduce((sum, part) => sum + outputSize(part), 0);
  return {
    work: sweepWork({ model, listing }, samples, batchOf(model, samples), weightOutputs),
    activations: samples * sizes * Float32Array.BYTES_PER_ELEMENT,
  };
}

/** Weights of tokens of all samples, by the first of the layers that share an input, or `BLOCK_OUTPUT`. */
export type LossWeights = ReadonlyMap<string, SampleSource>;

/** Those of a block, 1 in the mean; undefined where none are kept. @param samples of them how many, the first */
export async function lossWeightsOf(
  { progress }: { readonly progress: Pick<ProgressFiles, 'load'> },
  index: number,
  samples?: number,
): Promise<LossWeights | undefined> {
  const kept = await progress.load(fileOf(index));
  if (!kept) return undefined;
  return new Map(
    [...kept.tensors].map(([name, { data, shape }]) => {
      const [all, size] = shape as readonly [number, number];
      const count = samples ?? all;
      return [name, samplesIn(balanced(data.subarray(0, count * size)), count)];
    }),
  );
}

/** With 1 in the mean, some of it for all tokens alike; all 1 where there is no gradient. */
function balanced(squares: Float32Array): Float32Array {
  const mean = squares.reduce((sum, x) => sum + x, 0) / squares.length;
  const alike = mean > 0 ? ALIKE : 1;
  return squares.map((x) => alike + (mean > 0 ? ((1 - alike) * x) / mean : 0));
}

/** The weights of tokens of what a layer reads, a graph input: [rows, 1]. @param counted of samples, as `addUp` feeds it */
export function lossWeights(graph: Graph, layer: string, rows: number): Value {
  return graph.inputs.get(inputName(layer)) ?? graph.input(inputName(layer), [rows, 1]);
}

/** What `addUp` feeds the graph input of a layer. */
export const lossReads = (
  weights: LossWeights | undefined,
  layers: readonly string[],
): NonNullable<Beside['reads']> =>
  new Map(
    layers.flatMap((layer) => {
      const samples = weights?.get(layer);
      return samples ? [[inputName(layer), { samples, shape: [samples.size, 1] }] as const] : [];
    }),
  );
