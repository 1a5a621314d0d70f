/** Activations of the calibration set between blocks: [samples · tokens · width], one array a stream. */
import { createRandom, type Random } from '../../data/random.js';
import { Graph } from '../../graph/ir.js';
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { AdapterLayout } from './adapters.js';
import type { ElasticPart, RunnablePart } from './execution.js';
import { mergeTokens, tokenSimilarity } from './merge.js';
import type { QueptOptions } from './options.js';
import { gather } from './reconstruct.js';

/** Samples one after another: pixels or activations, or the ids of tokens. */
export type Samples = Float32Array | BigInt64Array;

/** Runs a part on the samples at `indices`, the last batch filled up by repetition; writes each output to its sample's place in `into`. */
async function runOn(
  programs: Programs,
  part: Part,
  runnable: RunnablePart,
  source: Samples,
  into: Float32Array,
  samples: number,
  indices: readonly number[],
  batch: number,
): Promise<void> {
  const { runtime } = programs;
  const [from, to] = [source.length / samples, into.length / samples];
  const buffer =
    source instanceof Float32Array ? new Float32Array(batch * from) : new BigInt64Array(batch * from);
  for (let start = 0; start < indices.length; start += batch) {
    const picked = indices.slice(start, start + batch);
    gather(source, [...picked, ...Array<number>(batch - picked.length).fill(picked[0]!)], from, buffer);
    const output = await runnable.run(runtime.tensor(buffer, part.inputShape(batch)), batch);
    const data = await runtime.read(output);
    picked.forEach((index, i) => into.set(data.subarray(i * to, (i + 1) * to), index * to));
    output.dispose();
  }
}

const everySample = (samples: number) => [...Array(samples).keys()];

/** The output of a part for every sample. @param outputSize elements of one sample's output */
export async function runAll(
  programs: Programs,
  part: Part,
  runnable: RunnablePart,
  source: Samples,
  samples: number,
  outputSize: number,
  batch: number,
): Promise<Float32Array> {
  const into = new Float32Array(samples * outputSize);
  await runOn(programs, part, runnable, source, into, samples, everySample(samples), batch);
  return into;
}

/**
 * The quantized streams after a calibrated block (method, section 5): every sample passes at one bit-width drawn per
 * group; the groups' outputs are then merged into one stream, or stay apart where merging is off.
 */
export async function advanceStreams(
  programs: Programs,
  part: Part,
  block: ElasticPart,
  layout: AdapterLayout,
  streams: readonly Float32Array[],
  samples: number,
  options: QueptOptions,
): Promise<Float32Array[]> {
  const batch = Math.min(options.batch, samples);
  const outputs: Float32Array[] = [];
  for (const [g, group] of layout.groups.entries()) {
    const source = streams[g] ?? streams[0]!;
    const random = createRandom(options.seed, 'stream', part.prefix, g);
    const drawn = everySample(samples).map(() => random.integer(group.bits.length));
    const into = new Float32Array(source.length);
    for (const [i, bits] of group.bits.entries()) {
      await block.use({
        weight: bits,
        ...(layout.quantizers.length > 0 && { activation: bits }),
        rank: group.rank,
        gain: group.gain,
        groupSize: layout.groupSizes[g]!,
      });
      await runOn(
        programs,
        part,
        block,
        source,
        into,
        samples,
        everySample(samples).filter((s) => drawn[s] === i),
        batch,
      );
    }
    outputs.push(into);
  }
  switch (options.merge) {
    case 'off':
    case 'drawn':
      return outputs;
    case 'selective':
    case 'uniform':
    case 'random':
      return [await merge(programs, part, outputs, samples, options)];
  }
}

/** One stream out of the groups' outputs. */
async function merge(
  programs: Programs,
  part: Part,
  outputs: readonly Float32Array[],
  samples: number,
  options: QueptOptions,
): Promise<Float32Array> {
  const { runtime } = programs;
  const batch = Math.min(options.batch, samples);
  const shape = part.inputShape(batch) as readonly [number, number];
  const kept = options.merge === 'uniform' ? 0 : Math.floor((options.keep * shape[0]) / batch);
  const name = `merge ${options.merge} ${shape.join('×')}`;
  const program = await programs.get(
    name,
    () => mergeGraph(shape, batch, options.mergeWeights, kept, options.merge === 'random'),
    { keep: false },
  );
  const sampleSize = outputs[0]!.length / samples;
  const random = createRandom(options.seed, 'merge', part.prefix);
  const merged = new Float32Array(outputs[0]!.length);
  const buffers = outputs.map(() => new Float32Array(batch * sampleSize));
  for (let start = 0; start < samples; start += batch) {
    const picked = Array.from({ length: batch }, (_, i) => Math.min(start + i, samples - 1));
    const feeds = Object.fromEntries(
      outputs.map((source, g) => {
        gather(source, picked, sampleSize, buffers[g]!);
        return [`x.${g}`, runtime.tensor(buffers[g]!, shape)];
      }),
    );
    const score = runtime.tensor(draw(random, shape[0]), [shape[0], 1]);
    const { merged: result } = await program.run({ ...feeds, score });
    const data = await runtime.read(result!);
    merged.set(data.subarray(0, Math.min(batch, samples - start) * sampleSize), start * sampleSize);
  }
  return merged;
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
