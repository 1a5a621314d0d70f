import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../../test/fixtures.js';
import { createRandom } from '../../data/random.js';
import { NO_SOURCES, openSampleCache, samplesIn, type SampleCache } from '../../execution/sample-store.js';
import { Graph } from '../../graph/ir.js';
import { fullPrecision } from '../../models/builders.js';
import { openCheckpoint, type Checkpoint, type HostTensor } from '../../models/checkpoint.js';
import type { Part } from '../../models/model.js';
import { openPlainPart } from '../../execution/part.js';
import { usePrograms } from '../quept/testing.js';
import { inputHessian } from './hessian.js';
import { quantizeModel } from './model.js';
import { damped, surgery } from './testing.js';
import { toFloats, type IntegerWeight } from '../../quantized/weight.js';
import { openWeightFiles } from './weight-files.js';

const LENGTH = 6;
const SAMPLES = 9;
const programs = usePrograms();
const { signal } = new AbortController();
const quiet = { signal, status: () => undefined, note: () => undefined };
let checkpoint: Checkpoint;
let cache: SampleCache;
let folder: string;
let cleanUp: () => Promise<void>;

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(join(folder, 'model'), TINY_LLAMA);
  checkpoint = await openCheckpoint(join(folder, 'model'), { tokens: LENGTH });
  cache = await openSampleCache(1 << 20);
});
afterAll(async () => {
  cache.close();
  await checkpoint.close();
  await cleanUp();
});

const ids = () => {
  const random = createRandom(3, 'ids');
  return BigInt64Array.from({ length: SAMPLES * LENGTH }, () => BigInt(random.integer(11)));
};
type Parameters = ReadonlyMap<string, HostTensor>;
const feeds = (parameters: Parameters) =>
  Object.fromEntries([...parameters].map(([name, { data, shape }]) => [name, programs.runtime.tensor(data, shape)])); // prettier-ignore

/** The head takes single tokens. */
const batchOf = (part: Part) => (part === checkpoint.model.head ? SAMPLES * LENGTH : SAMPLES);

async function outputOf(part: Part, parameters: Parameters, x: Float32Array | BigInt64Array) {
  const { runtime } = programs;
  const plain = await openPlainPart(programs, part, parameters);
  const output = await plain.run(runtime.tensor(x, part.inputShape(batchOf(part))), batchOf(part));
  plain.dispose();
  return runtime.read(output);
}

/** Σ x xᵀ over the inputs x of a layer, by hand from the inputs themselves. */
async function hessianByHand(part: Part, layer: string, parameters: Parameters, x: Float32Array) {
  const { runtime } = programs;
  const graph = new Graph();
  const plain = fullPrecision(graph);
  const linear: typeof plain.linear = (name, input, out, options) => {
    if (name === layer) graph.output('input', input);
    return plain.linear(name, input, out, options);
  };
  const shape = part.inputShape(SAMPLES);
  part.forward({ ...plain, linear }, graph.input('x', shape), SAMPLES, {});
  const program = await runtime.compile(graph, 'tap', { keep: false });
  const { input } = await program.run({ ...feeds(parameters), x: runtime.tensor(x, shape) });
  const rows = await runtime.read(input!);
  await program.dispose();
  const width = input!.shape[1]!;
  const hessian = new Float32Array(width * width);
  for (let row = 0; row < rows.length / width; row++)
    for (let i = 0; i < width; i++)
      for (let j = 0; j < width; j++)
        hessian[i * width + j]! += rows[row * width + i]! * rows[row * width + j]!;
  return { hessian, width };
}

describe('the Hessian of a layer', () => {
  it.each([1, 4, 9])('adds up the inputs of every sample once, %i samples a run', async (batch) => {
    const { stem, blocks } = checkpoint.model;
    const x = await outputOf(stem, await checkpoint.read(stem), ids());
    const parameters = await checkpoint.read(blocks[0]!);
    for (const { name, in: columns } of checkpoint.listing(blocks[0]!).linears) {
      const { hessian, width } = await hessianByHand(blocks[0]!, name, parameters, x);
      expect(width).toBe(columns);
      const found = await inputHessian(programs, blocks[0]!, { name, in: columns }, feeds(parameters), samplesIn(x, SAMPLES), NO_SOURCES, batch, quiet); // prettier-ignore
      const largest = Math.max(...hessian);
      for (const [i, sum] of hessian.entries()) expect((found[i]! - sum) / largest).toBeCloseTo(0, 5);
    }
  });
});

describe('GPTQ of a model', () => {
  it('corrects every layer for what the quantized layers before it make of the set', async () => {
    const files = openWeightFiles(folder, { groupSize: 8 });
    const grid = { bits: 3, groupSize: 8 };
    const progress: number[] = [];
    const hooks = { ...quiet, status: (done: number) => void progress.push(done) };
    await quantizeModel(programs, checkpoint, samplesIn(ids(), SAMPLES), grid, cache, files, hooks); // prettier-ignore
    expect(cache.held).toEqual({ memory: 0, disk: 0 });
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(progress.at(-1)).toBe(1);

    const { stem, blocks } = checkpoint.model;
    let x = await outputOf(stem, await checkpoint.read(stem), ids());
    for (const part of blocks) {
      const weights = await files.read(part);
      const parameters = await checkpoint.read(part);
      const original = new Map(parameters);
      for (const { name, input } of checkpoint.listing(part).linears) {
        // What the layers in front made of the input, these being quantized already.
        const { hessian, width } = await hessianByHand(part, input, parameters, x);
        const expected = surgery(original.get(`${name}.weight`)!, damped(hessian, width, 0.01), 3, 8).flat();
        const found = toFloats(weights.get(name)!);
        for (const [i, value] of expected.entries())
          expect(found[i], `${part.prefix}${name}`).toBeCloseTo(value, 4);
        parameters.set(`${name}.weight`, { ...original.get(`${name}.weight`)!, data: found });
      }
      x = await outputOf(part, parameters, x);
    }
    await files.remove();
    expect(await readdir(folder)).toEqual(['model']);
  });

  it('opens the quantized parts, embedding and head as they were', async () => {
    const files = openWeightFiles(folder, { groupSize: -1 });
    const grid = { bits: 4, groupSize: -1 };
    const open = await quantizeModel(programs, checkpoint, samplesIn(ids(), SAMPLES), grid, cache, files, quiet); // prettier-ignore
    const { runtime } = programs;
    const openPart = open(checkpoint);
    const runBoth = async (part: Part, x: Float32Array | BigInt64Array, parameters: Parameters) => {
      const opened = await openPart(part);
      const found = await runtime.read(await opened.run(runtime.tensor(x, part.inputShape(batchOf(part))), batchOf(part))); // prettier-ignore
      opened.dispose();
      expect(found).toEqual(await outputOf(part, parameters, x));
      return found;
    };
    const { stem, blocks, head } = checkpoint.model;
    let x = await runBoth(stem, ids(), await checkpoint.read(stem));
    for (const part of blocks) {
      const weights = await files.read(part);
      const quantized = [...weights].map(
        ([name, weight]) => [`${name}.weight`, { data: toFloats(weight), shape: weight.shape }] as const,
      );
      const parameters = await checkpoint.read(part);
      expect(weights.size).toBe(7);
      x = await runBoth(part, x, new Map([...parameters, ...quantized]));
    }
    await runBoth(head, x, await checkpoint.read(head));
    await files.remove();
  });

  it('stops when asked to, and leaves no activations behind', async () => {
    const stop = new AbortController();
    const files = openWeightFiles(folder, { groupSize: -1 });
    const hooks = { ...quiet, signal: stop.signal, status: (done: number) => done > 0.5 && stop.abort() };
    const run = quantizeModel(programs, checkpoint, samplesIn(ids(), SAMPLES), { bits: 4, groupSize: -1 }, cache, files, hooks); // prettier-ignore
    await expect(run).rejects.toThrow('Cancelled.');
    expect(cache.held).toEqual({ memory: 0, disk: 0 });
    await files.remove();
    expect(await readdir(folder)).toEqual(['model']);
  });
});

it('weight files give back what was written', async () => {
  const files = openWeightFiles(folder, { groupSize: 2 });
  const weight: IntegerWeight = {
    shape: [2, 3],
    integers: Uint8Array.of(0, 1, 2, 3, 2, 255),
    scale: Float32Array.of(0.5, 1, 2, 3),
    zero: Float32Array.of(-1, 0, 300, 2),
    groupSize: 2,
  };
  const [part] = checkpoint.model.blocks;
  expect(files.has(part!)).toBe(false);
  await files.write(part!, new Map([['a.b', weight]]));
  expect(files.has(part!)).toBe(true);
  expect(await files.read(part!)).toEqual(new Map([['a.b', weight]]));
  // The last group of a row has one column.
  expect([...toFloats(weight)]).toEqual([0.5, 1, 2, -594, -596, 759]);
  await files.remove();
});
