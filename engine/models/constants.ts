import type { Graph, Shape, Value } from '../graph/ir.js';

/** What a length of samples needs, made when it is first asked for. */
export function byLength<T>(make: (tokens: number) => T): (tokens: number) => T {
  const made = new Map<number, T>();
  return (tokens) => {
    if (!made.has(tokens)) made.set(tokens, make(tokens));
    return made.get(tokens)!;
  };
}

/** A float32 tensor that is computed when a graph first asks for it, and stored once in each graph that does. */
export function lazyConstant(shape: Shape, compute: () => Float32Array): (graph: Graph) => Value {
  let data: Float32Array | undefined;
  const stored = new WeakMap<Graph, Value>();
  return (graph) => {
    const known = stored.get(graph);
    if (known) return known;
    const value = graph.constant((data ??= compute()), shape);
    stored.set(graph, value);
    return value;
  };
}
