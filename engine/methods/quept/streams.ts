/** Activations of the calibration set between blocks, one store per stream. */
import {
  everySample,
  NO_SOURCES,
  type SampleCache,
  type SampleStore,
  type Sources,
} from '../../execution/sample-store.js';
import { createRandom, type Random } from '../../data/random.js';
import { CancelledError } from '../../errors.js';
import { Graph } from '../../graph/ir.js';
import { outputSize, type Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { AdapterLayout } from './adapters.js';
import type { ElasticPart } from '../../execution/quantized-part.js';
import { hasOwnStreams, mergeTokens, tokenSimilarity } from './merge.js';
import type { QueptOptions } from './options.js';
import { runSamples } from '../../execution/part-by-part.js';

/** A calibrated block. */
export interface CalibratedBlock {
  readonly part: Part;
  readonly elastic: ElasticPart;
  readonly layout: AdapterLayout;
}

export interface Streams {
  /** One, or as many as there are groups where they stay apart (`hasOwnStreams`). */
  readonly streams: readonly SampleStore[];
  /** What feeds side ports, for each of these. */
  readonly sides?: readonly Sources[];
}

export interface StreamHooks {
  readonly options: QueptOptions;
  /** Holds the groups' outputs until they are merged. */
  readonly cache: SampleCache;
  readonly signal: AbortSignal;
}

/**
 * Takes the quantized streams through a calibrated block (docs/METHOD.md, section 5): every sample passes at one
 * bit-width drawn per group; the groups' outputs are then merged into one stream, or stay apart where merging is off.
 * @returns the streams behind the block: the same stores where it keeps the size of samples, else new ones, and the others
 *   are released
 */
export async function advanceStreams(
  programs: Programs,
  { part, elastic, layout }: CalibratedBlock,
  { streams, sides = [] }: Streams,
  { options, cache, signal }: StreamHooks,
): Promise<SampleStore[]> {
  const { samples } = streams[0]!;
  const size = outputSize(part);
  const batch = Math.min(options.batch, samples);
  // A group that has a stream of its own replaces it: every sample passes once.
  const own = hasOwnStreams(options.merge);
  const outputs: SampleStore[] = [];
  for (const [g, group] of layout.groups.entries()) {
    const source = own ? streams[g]! : streams[0]!;
    const into = own && source.size === size ? source : cache.store(samples, size);
    outputs.push(into);
    const random = createRandom(options.seed, 'stream', part.prefix, g);
    const drawn = everySample(source).map(() => random.integer(group.bits.length));
    for (const [i, bits] of group.bits.entries()) {
      await elastic.use(bits);
      const indices = everySample(source).filter((s) => drawn[s] === i);
      const run = { part, runnable: elastic, source, side: sides[own ? g : 0] ?? NO_SOURCES, batch };
      await runSamples(programs, run, indices, into, { signal });
    }
    if (own && into !== source) source.release();
  }
  if (own) return outputs;
  const stream = streams[0]!;
  const merged = stream.size === size ? stream : cache.store(samples, size);
  await merge(programs, part, outputs, merged, options, signal);
  for (const store of outputs) store.release();
  if (merged !== stream) stream.release();
  return [merged];
}

/** One stream out of the groups' outputs. */
async function merge(
  programs: Programs,
  part: Part,
  outputs: readonly SampleStore[],
  into: SampleStore,
  options: QueptOptions,
  signal: AbortSignal,
): Promise<void> {
  const { runtime } = programs;
  const { samples, size } = into;
  const batch = Math.min(options.batch, samples);
  const features = part.outputShape(1).at(-1)!;
  const shape = [(batch * size) / features, features] as const;
  const kept = options.merge === 'uniform' ? 0 : Math.floor((options.keep * shape[0]) / batch);
  const graph = mergeGraph(shape, batch, options.mergeWeights, kept, options.merge === 'random');
  const program = await programs.get(graph, `merge ${shape.join('×')}`, { keep: false });
  const random = createRandom(options.seed, 'merge', part.prefix);
  const buffers = outputs.map(() => new Float32Array(batch * size));
  for (let start = 0; start < samples; start += batch) {
    if (signal.aborted) throw new CancelledError();
    const picked = Array.from({ length: batch }, (_, i) => Math.min(start + i, samples - 1));
    const feeds = Object.fromEntries(
      outputs.map((source, g) => {
        source.read(picked, buffers[g]!);
        return [`x.${g}`, runtime.tensor(buffers[g]!, shape)];
      }),
    );
    const score = runtime.tensor(draw(random, shape[0]), [shape[0], 1]);
    const { merged } = await program.run({ ...feeds, score });
    const whole = picked.slice(0, Math.min(batch, samples - start));
    into.write(whole, (await runtime.read(merged!)).subarray(0, whole.length * size));
  }
}

const draw = (random: Random, count: number) => Float32Array.from({ length: count }, () => random.next());

function mergeGraph(
  shape: readonly [number, number],
  batch: number,
  weights: readonly number[],
  kept: number,
  random: boolean,
): Graph {
  const graph = new Graph();
  const outputs = weights.map((_, g) => graph.input(`x.${g}`, shape));
  const drawn = graph.input('score', [shape[0], 1]);
  const score = random ? drawn : tokenSimilarity(outputs[0]!, outputs.at(-1)!);
  graph.output('merged', mergeTokens(outputs, weights, batch, kept, score));
  return graph;
}
