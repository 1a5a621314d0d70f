import { expect, test } from 'vitest';
import { Graph } from '../graph/ir.js';
import { ordinaryWeights } from './taps.js';
import { usePrograms } from './testing.js';

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
