/** Causal attention of decoders as a sublayer: projections, positions, mixture, output. */
import type { Graph, Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { attention, type AttentionOptions } from '../attention.js';
import type { AttentionRoles, Builder, LinearOptions, Roles } from '../model.js';
import type { Sublayer } from './decoder.js';
import type { HeadNorm } from './norms.js';
import type { HeadSizes } from './sizes.js';

/** Flat: [batch·tokens, heads·size] each, keys and values with their own number of heads. */
export interface Projected {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
}

export interface SelfAttention extends HeadSizes, Pick<AttentionOptions, 'scale' | 'cap'> {
  /** What the names of its operands and of all its layers begin with. */
  readonly name: string;
  readonly project: (b: Builder, x: Value) => Projected;
  /** The layer that reads the mixture. */
  readonly output: Layer;
  /** Of queries and of keys. Default none. */
  readonly headNorm?: HeadNorm | undefined;
  /** What norms of queries and of keys are called after the sublayer's name. Default `q_norm` and `k_norm`. */
  readonly headNorms?: readonly [string, string];
  /** By the length of samples, turns heads [batch, tokens, heads, size] by their positions. Default not at all. */
  readonly turn?: ((tokens: number) => (x: Value) => Value) | undefined;
  /** By the length of samples, what is added to the scores. */
  readonly mask: (tokens: number) => (graph: Graph) => Value;
  /** By the length of samples, what is added to the scores before that. Default nothing. */
  readonly bias?: (tokens: number) => (graph: Graph) => Value;
  /** The most tokens that one attends to, itself included; default all before it. */
  readonly window?: number | undefined;
}

/** A linear layer of a sublayer, by its full name in the block. */
export interface Layer extends Pick<LinearOptions, 'transposed'> {
  readonly name: string;
  readonly bias: boolean;
}

/** Applies a layer. */
export const applied = (b: Builder, { name, ...options }: Layer, x: Value, out: number): Value =>
  b.linear(name, x, out, options);

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

/**
 * One layer for all three. Its rows are groups that each have their share of the queries, then of the keys, then of the values; of
 * one group, these lie one after another.
 */
export const fused =
  ({ heads, keyHeads, headSize }: HeadSizes, layer: Layer, groups: number): SelfAttention['project'] =>
  (b, x) => {
    const rows = x.shape[0]!;
    const all = applied(b, layer, x, (heads + 2 * keyHeads) * headSize);
    const [queries, keys] = [(heads / groups) * headSize, (keyHeads / groups) * headSize];
    const parts = op.split(op.reshape(all, [rows, groups, queries + 2 * keys]), [queries, keys, keys], 2);
    const [q, k, v] = parts.map((part) => op.reshape(part, [rows, groups * part.shape[2]!]));
    return { q: q!, k: k!, v: v! };
  };

/** What a method must know of it. @param valueLayer the layer that makes the values and nothing else */
export const attentionRoles = (
  { name, headSize, output }: Pick<SelfAttention, 'name' | 'headSize' | 'output'>,
  valueLayer?: string,
): AttentionRoles => ({
  size: headSize,
  queries: `${name}.q`,
  keys: `${name}.k`,
  values: `${name}.v`,
  ...(valueLayer !== undefined && { valueLayer }),
  outputLayer: output.name,
});

/** Of a block whose stream cannot be turned. @param down the layer of its perceptron that is added to the stream */
export const fixedRoles = (attention: SelfAttention, down: string, valueLayer?: string): Roles => ({
  writers: [attention.output.name, down],
  norms: [],
  attention: attentionRoles(attention, valueLayer),
});

export function selfAttention(design: SelfAttention): Sublayer {
  const { name, heads, keyHeads, headSize, project, output, headNorm, turn, mask, bias, scale, cap, window } =
    design;
  const [queryNorm, keyNorm] = design.headNorms ?? ['q_norm', 'k_norm'];
  /** Queries or keys [batch·tokens, count·headSize] as they enter the product. */
  const positioned = (b: Builder, norm: string, x: Value, batch: number, count: number): Value => {
    const length = x.shape[0]! / batch;
    const normal = headNorm ? headNorm(b, norm, x, count) : x;
    const turns = turn && (b.kept?.next?.turn ?? turn(length));
    const turned = turns ? turns(op.reshape(normal, [batch, length, count, headSize])) : normal;
    return op.reshape(turned, x.shape);
  };
  return (b, x, batch) => {
    const length = x.shape[0]! / batch;
    const { q, k, v } = project(b, x);
    const mixed = attention(
      b,
      name,
      {
        q: positioned(b, `${name}.${queryNorm}`, q, batch, heads),
        k: positioned(b, `${name}.${keyNorm}`, k, batch, keyHeads),
        v,
      },
      batch,
      {
        heads,
        keyHeads,
        mask: b.kept?.next?.mask(window) ?? mask(length)(x.graph),
        ...(bias && { bias: bias(length)(x.graph) }),
        ...(scale !== undefined && { scale }),
        ...(cap !== undefined && { cap }),
      },
    );
    return applied(b, output, mixed, x.shape[1]!);
  };
}
