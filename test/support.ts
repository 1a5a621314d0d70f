/** What tests share. */
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { openSafetensors } from '../engine/formats/safetensors.js';
import { Graph, type Shape, type Value } from '../engine/graph/ir.js';
import { openRuntime } from '../engine/runtime/session.js';

/** The golden vectors: `GOLDEN_DIR`, or the copy beside this file. */
export const goldenFile = (name: string) =>
  join(process.env.GOLDEN_DIR ?? fileURLToPath(new URL('golden', import.meta.url)), name);

export interface Golden {
  readonly names: readonly string[];
  floats(name: string): { readonly data: Float32Array; readonly shape: Shape };
}

/** Reads a golden file whole; whole numbers and bytes come back as floats. */
export async function readGolden(name: string): Promise<Golden> {
  const source = await openSafetensors(goldenFile(name));
  const tensors = new Map<string, { data: Float32Array; shape: Shape }>();
  for (const [key, info] of source.tensors)
    tensors.set(key, {
      shape: info.shape,
      data:
        info.dtype === 'I64'
          ? Float32Array.from(await source.readInt(key), Number)
          : info.dtype === 'U8'
            ? Float32Array.from(await source.readBytes(key))
            : await source.read(key),
    });
  await source.close();
  return { names: [...tensors.keys()], floats: (key) => tensors.get(key)! };
}

export interface Array_ {
  readonly data: Float32Array;
  readonly shape: Shape;
}

/** Builds a graph from inputs, runs it on the CPU and returns its outputs. */
export async function evaluate(
  inputs: Readonly<Record<string, Array_>>,
  build: (values: Record<string, Value>, graph: Graph) => Readonly<Record<string, Value>>,
): Promise<Record<string, Float32Array>> {
  const runtime = openRuntime('cpu', 1);
  const graph = new Graph();
  const values = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape }]) => [name, graph.input(name, shape)]),
  );
  for (const [name, value] of Object.entries(build(values, graph))) graph.output(name, value);
  const program = await runtime.compile(graph, 'test', { keep: false });
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, { data, shape }]) => [name, runtime.tensor(data, shape)]),
  );
  const outputs = await program.run(feeds);
  const read = await Promise.all(
    Object.entries(outputs).map(async ([name, t]) => [name, await runtime.read(t)] as const),
  );
  await program.dispose();
  return Object.fromEntries(read);
}

/** By how much two float32 sums of so many terms may differ, the terms no larger than `size`: rounding errors add up like a walk. */
export const sumTolerance = (terms: number, size = 1): number => 1e-5 * size * Math.sqrt(terms);

/** The largest absolute difference of two arrays. */
export const maxDifference = (a: Float32Array, b: Float32Array): number =>
  a.length === b.length ? a.reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i]!)), 0) : Infinity;
