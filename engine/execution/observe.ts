/** What the activation quantizers of a part see in full precision. */
import { Graph, type Value } from '../graph/ir.js';
import { buildPart, fullPrecision } from '../models/builders.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { Part } from '../models/model.js';
import { tensorsOfBatch, type PartBatch } from './batches.js';
import type { Programs } from '../runtime/programs.js';
import { requireFinite } from './finite.js';

/** What every activation quantizer of a part sees, by the quantizer's name: elements row-major, [rows, features]. */
export type Observed = Map<string, { readonly data: Float32Array; readonly features: number }>;

/** Runs the part in full precision and collects the inputs of its quantizers. Throws UserError where they are not finite. */
export async function observe(
  programs: Programs,
  part: Part,
  quantizers: readonly string[],
  parameters: ReadonlyMap<string, HostTensor>,
  batches: Iterable<PartBatch>,
  batch: number,
): Promise<Observed> {
  if (quantizers.length === 0) return new Map();
  const { runtime } = programs;
  const graph = observeGraph(part, quantizers, batch);
  const program = await programs.get(graph, `observe ${part.kind} ×${batch}`, { keep: false });
  const fixed = Object.fromEntries(
    [...parameters].map(([name, { data, shape }]) => [name, runtime.tensor(data, shape)]),
  );
  const chunks = new Map<string, Float32Array[]>(quantizers.map((name) => [name, []]));
  let features = new Map<string, number>();
  for (const data of batches) {
    const outputs = await program.run({ ...fixed, ...tensorsOfBatch(runtime, part, data, batch) });
    for (const name of quantizers) {
      const seen = await runtime.read(outputs[name]!);
      requireFinite(seen, part.prefix + name);
      chunks.get(name)!.push(seen);
    }
    features = new Map(quantizers.map((name) => [name, outputs[name]!.shape.at(-1)!]));
  }
  return new Map(
    quantizers.map((name) => [name, { data: concatenate(chunks.get(name)!), features: features.get(name)! }]),
  );
}

export function observeGraph(part: Part, quantizers: readonly string[], batch: number): Graph {
  const graph = new Graph();
  const plain = fullPrecision(graph);
  const tap = (name: string, x: Value) => {
    if (quantizers.includes(name)) graph.output(name, x);
    return x;
  };
  const builder = {
    ...plain,
    linear: (...[name, x, out, options]: Parameters<typeof plain.linear>) =>
      plain.linear(name, tap(name, x), out, options),
    operand: tap,
  };
  buildPart(graph, part, builder, batch);
  return graph;
}

export function concatenate(chunks: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(chunks.reduce((n, chunk) => n + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
