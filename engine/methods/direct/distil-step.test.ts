import { expect, it } from 'vitest';
import { normals, singleLayer, usePrograms } from '../../execution/testing.js';
import { headGraph } from './distil-step.js';

const programs = usePrograms();
const { part, weight, bias } = singleLayer(1);
const ROWS = 3;
const [OUT, IN] = weight.shape as [number, number];
const [x, full] = ['x', 'full'].map((name) => normals([ROWS, IN], name).data);

/** Logits of a row, negated as the part does. */
const logits = (row: ArrayLike<number>): number[] =>
  Array.from({ length: OUT }, (_, o) => {
    let sum = bias.data[o]!;
    for (let i = 0; i < IN; i++) sum += weight.data[o * IN + i]! * row[i]!;
    return -sum;
  });

const logSoftmax = (values: number[]): number[] => {
  const total = Math.log(values.reduce((sum, value) => sum + Math.exp(value), 0));
  return values.map((value) => value - total);
};

/** The mean divergence of what `x` leads to from what `full` does. */
function divergence(read: ArrayLike<number>): number {
  let sum = 0;
  for (let row = 0; row < ROWS; row++) {
    const of = (data: ArrayLike<number>) =>
      logSoftmax(logits(Array.from({ length: IN }, (_, i) => data[row * IN + i]!)));
    const [p, q] = [of(full!), of(read)];
    sum += p.reduce((kl, log, i) => kl + Math.exp(log) * (log - q[i]!), 0);
  }
  return sum / ROWS;
}

it("has the gradient of the mean divergence from full precision, by the head's input", async () => {
  const { runtime } = programs;
  const program = await programs.get(headGraph(part, 1), 'head');
  const shape = part.inputShape(1);
  const { dx } = await program.run({
    x: runtime.tensor(x!, shape),
    full: runtime.tensor(full!, shape),
    share: runtime.tensor(Float32Array.of(1 / ROWS), []),
    'layer.weight': runtime.tensor(weight.data, weight.shape),
    'layer.bias': runtime.tensor(bias.data, [OUT]),
  });
  const found = (await runtime.read(dx!)).slice();
  const step = 1e-4;
  for (let i = 0; i < x!.length; i++) {
    const beside = (by: number) => Float64Array.from(x!, (value, j) => (i === j ? value + by : value));
    const slope = (divergence(beside(step)) - divergence(beside(-step))) / (2 * step);
    expect(found[i]).toBeCloseTo(slope, 4);
  }
});
