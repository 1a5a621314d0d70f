import { afterAll, describe, expect, it } from 'vitest';
import { UserError } from '../errors.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { openRuntime } from './session.js';

const runtime = openRuntime('cpu', 1);
afterAll(() => runtime.dispose());
const tensor = (shape: readonly number[], ...data: number[]) =>
  runtime.tensor(Float32Array.from(data), shape);

/** y = a·b on vectors of two. */
const product = () => {
  const graph = new Graph();
  graph.output('y', op.mul(graph.input('a', [2]), graph.input('b', [2])));
  return graph;
};

describe('a program', () => {
  it('runs on what it is fed and leaves its inputs as they are', async () => {
    const program = await runtime.compile(product(), 'product');
    const a = tensor([2], 2, 3);
    const { y } = await program.run({ a, b: tensor([2], 5, -1), unwanted: tensor([1], 0) });
    expect([...(await runtime.read(y!))]).toEqual([10, -3]);
    expect([...(await runtime.read(a))]).toEqual([2, 3]);
    const { y: again } = await program.run({ a, b: y! });
    expect([...(await runtime.read(again!))]).toEqual([20, -9]);
    await program.dispose();
  });

  it('puts outputs where they are wanted', async () => {
    const program = await runtime.compile(product(), 'product');
    const room = new Float32Array(4);
    const feeds = { a: tensor([2], 2, 3), b: tensor([2], 5, -1) };
    const { y } = await program.run(feeds, { y: runtime.tensor(room.subarray(1, 3), [2]) });
    expect([...room]).toEqual([0, 10, -3, 0]);
    expect(await runtime.read(y!)).toEqual(Float32Array.of(10, -3));
    const { y: other } = await program.run({ ...feeds, a: tensor([2], 1, 1) });
    expect([...(await runtime.read(other!))]).toEqual([5, -1]);
    expect([...room]).toEqual([0, 10, -3, 0]);
    const wrong = runtime.tensor(new Float32Array(3), [3]);
    await expect(program.run(feeds, { y: wrong })).rejects.toThrow(UserError);
    await expect(program.run(feeds, { x: wrong })).rejects.toThrow('The graph "product" has no output "x".');
    await program.dispose();
  });

  it.each([
    [
      'a missing input',
      { a: tensor([2], 1, 1), B: tensor([2], 1, 1) },
      'The graph "product" needs the input "b"; it was fed a, B.',
    ],
    [
      'another shape',
      { a: tensor([2], 1, 1), b: tensor([1, 2], 1, 1) },
      'The input "b" of the graph "product" is float32 [2]; it was fed float32 [1, 2].',
    ],
    [
      'another type',
      { a: tensor([2], 1, 1), b: runtime.tensor(new BigInt64Array(2), [2]) },
      'The input "b" of the graph "product" is float32 [2]; it was fed int64 [2].',
    ],
  ])('refuses %s', async (_case, feeds, message) => {
    const program = await runtime.compile(product(), 'product');
    await expect(program.run(feeds)).rejects.toThrow(message);
    await program.dispose();
  });

  it('is disposed of once, and runs no more', async () => {
    const program = await runtime.compile(product(), 'product');
    const { y } = await program.run({ a: tensor([2], 1, 2), b: tensor([2], 3, 4) });
    await program.dispose();
    await program.dispose();
    expect([...(await runtime.read(y!))]).toEqual([3, 8]);
    await expect(program.run({})).rejects.toThrow('The program "product" was disposed of.');
  });

  it('says in one line what ONNX Runtime does not take', async () => {
    const graph = new Graph();
    const unknown = 'NoSuchOperator' as 'Exp';
    graph.output('y', graph.add(unknown, [graph.input('x', [1])], {}, [{ type: 'float32', shape: [1] }])[0]!);
    const failure = await runtime
      .compile(graph, 'wrong', { logSeverityLevel: 4 })
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UserError);
    expect((failure as Error).message).toMatch(/^The device "cpu" cannot run "wrong": .*NoSuchOperator.*$/);
  });
});

describe('a tensor', () => {
  it.each([[[]], [[3]], [[0, 2]], [[2, 1, 3]]])('of shape %j comes back as it was placed', async (shape) => {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i - 0.5);
    const placed = await runtime.place(runtime.tensor(data, shape));
    expect(placed).toMatchObject({ type: 'float32', shape });
    expect(await runtime.read(placed)).toEqual(data);
    placed.dispose();
    placed.dispose();
  });

  it('is filled by its elements, and read as what it is', async () => {
    expect(() => tensor([2, 2], 1, 2, 3)).toThrow('3 elements do not fill the shape [2, 2].');
    await expect(runtime.read(runtime.tensor(new BigInt64Array(1), [1]))).rejects.toThrow('int64');
  });
});
