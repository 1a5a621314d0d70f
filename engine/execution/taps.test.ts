import { expect, test } from 'vitest';
import { Graph } from '../graph/ir.js';
import { addMoment, ordinaryWeights } from './taps.js';
import { normals, usePrograms } from './testing.js';

const programs = usePrograms();

/** Of rows [rows, 2], both of whose numbers are the same. */
async function weightsOf(sizes: readonly number[], counted: readonly number[]): Promise<number[]> {
  const graph = new Graph();
  const x = graph.input('x', [sizes.length, 2]);
  graph.output('weights', ordinaryWeights(x, graph.input('counted', [sizes.length, 1])));
  const program = await programs.get(graph, 'weights');
  const { runtime } = programs;
  const outputs = await program.run({
    x: runtime.tensor(Float32Array.from(sizes.flatMap((size) => [size, -size])), [sizes.length, 2]),
    counted: runtime.tensor(Float32Array.from(counted), [sizes.length, 1]),
  });
  return [...(await runtime.read(outputs.weights!))];
}

test('tokens that differ as tokens do count alike', async () => {
  expect(await weightsOf([1, 2, 0.5, 3], [1, 1, 1, 1])).toEqual([1, 1, 1, 1]);
});

test('a token with a massive activation counts as the largest ordinary one would, whatever its size', async () => {
  const errors = await Promise.all(
    [1e3, 1e5].map(async (size) => {
      const weights = await weightsOf([...Array<number>(127).fill(1), size], Array<number>(128).fill(1));
      expect(weights.slice(0, -1).every((weight) => weight === 1)).toBe(true);
      return weights[127]! * size ** 2;
    }),
  );
  for (const energy of errors) expect(energy).toBeGreaterThan(10);
  for (const energy of errors) expect(energy).toBeLessThan(25);
});

test('rows that fill up a batch neither count nor change what is ordinary', async () => {
  const [alone, filled] = [
    await weightsOf([1, 1, 100], [1, 1, 1]),
    await weightsOf([1, 1, 100, 0, 0], [1, 1, 1, 0, 0]),
  ];
  expect(filled.slice(0, 3)).toEqual(alone);
  expect(filled.slice(3)).toEqual([0, 0]);
});

// One block, and several of which the last is smaller.
test.each([7, 1100])('adds up the weighted moment of %i inputs', async (n) => {
  const tokens = 5;
  const graph = new Graph();
  const [x, weights] = [graph.input('x', [tokens, n]), graph.input('weights', [tokens, 1])];
  graph.output('sum', addMoment(x, weights, graph.input('before', [n, n])));
  const given = {
    x: normals([tokens, n], 'x'),
    weights: normals([tokens, 1], 'weights'),
    before: normals([n, n], 'before'),
  };
  const program = await programs.get(graph, 'moment');
  const feeds = Object.entries(given).map(
    ([name, { data, shape }]) => [name, programs.runtime.tensor(data, shape)] as const,
  );
  const sum = await programs.runtime.read((await program.run(Object.fromEntries(feeds))).sum!);
  let most = 0;
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      let expected = given.before.data[i * n + j]!;
      for (let t = 0; t < tokens; t++)
        expected += given.weights.data[t]! * given.x.data[t * n + i]! * given.x.data[t * n + j]!;
      most = Math.max(most, Math.abs(sum[i * n + j]! - expected));
    }
  expect(most).toBeLessThan(1e-4);
});
