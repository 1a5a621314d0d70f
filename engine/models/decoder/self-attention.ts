/** Causal attention of decoders as a sublayer: projections, positions, mixture, output. */
import type { Graph, Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { attention } from '../attention.js';
import type { Builder } from '../model.js';
import type { Sublayer } from './decoder.js';
import type { HeadNorm } from './norms.js';
import type { HeadSizes } from './sizes.js';

/** Flat: [batch·tokens, heads·size] each, keys and values with their own number of heads. */
export interface Projected {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
}

export interface SelfAttention extends HeadSizes {
  /** What the names of its operands and of all its layers begin with. */
  readonly name: string;
  readonly project: (b: Builder, x: Value) => Projected;
  /** The layer that reads the mixture. */
  readonly output: Layer;
  /** Of queries and of keys, `q_norm` and `k_norm`. Default none. */
  readonly headNorm?: HeadNorm | undefined;
  /** By the length of samples, turns heads [batch, tokens, heads, size] by their positions. Default not at all. */
  readonly turn?: ((tokens: number) => (x: Value) => Value) | undefined;
  /** By the length of samples, what is added to the scores. */
  readonly mask: (tokens: number) => (graph: Graph) => Value;
}

/** A linear layer of a sublayer, by its full name in the block. */
export interface Layer {
  readonly name: string;
  readonly bias: boolean;
}

/** A layer each for queries, keys and values. */
export const apart =
  (
    { heads, keyHeads, headSize }: HeadSizes,
    nameOf: (which: 'q' | 'k' | 'v') => string,
    bias: boolean,
  ): SelfAttention['project'] =>
  (b, x) => {
    const project = (which: 'q' | 'k' | 'v', count: number) =>
      b.linear(nameOf(which), x, count * headSize, { bias });
    const [q, k, v] = [project('q', heads), project('k', keyHeads), project('v', keyHeads)] as const;
    return { q, k, v };
  };

export function selfAttention(design: SelfAttention): Sublayer {
  const { name, heads, keyHeads, headSize, project, output, headNorm, turn, mask } = design;
  /** Queries or keys [batch·tokens, count·headSize] as they enter the product. */
  const positioned = (b: Builder, norm: string, x: Value, batch: number, count: number): Value => {
    const length = x.shape[0]! / batch;
    const normal = headNorm ? headNorm(b, norm, x, count) : x;
    const turned = turn ? turn(length)(op.reshape(normal, [batch, length, count, headSize])) : normal;
    return op.reshape(turned, x.shape);
  };
  return (b, x, batch) => {
    const { q, k, v } = project(b, x);
    const mixed = attention(
      b,
      name,
      {
        q: positioned(b, `${name}.q_norm`, q, batch, heads),
        k: positioned(b, `${name}.k_norm`, k, batch, keyHeads),
        v,
      },
      batch,
      { heads, keyHeads, mask: mask(x.shape[0]! / batch)(x.graph) },
    );
    return b.linear(output.name, mixed, features(x), { bias: output.bias });
  };
}

const features = (x: Value): number => x.shape[1]!;
