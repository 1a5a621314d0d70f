/** Norms of decoders, over the last axis. */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { Builder } from '../model.js';

/** The norm of this name on a matrix [rows, features]. */
export type Norm = (b: Builder, name: string, x: Value) => Value;

/** @param offset what is added to the weight that the checkpoint has */
export const rmsNorm =
  (epsilon: number, offset = 0): Norm =>
  (b, name, x) =>
    b.rmsNorm(name, x, epsilon, offset === 0 ? {} : { offset });

export const layerNorm =
  (epsilon: number, options: { readonly affine?: boolean; readonly bias?: boolean } = {}): Norm =>
  (b, name, x) =>
    b.layerNorm(name, x, epsilon, options);

/** A norm of queries or keys [batch·tokens, count·size] before they are turned; what comes out has the same elements in order. */
export type HeadNorm = (b: Builder, name: string, x: Value, count: number) => Value;

const heads = (x: Value, count: number): Value => op.reshape(x, [x.shape[0]! * count, x.shape[1]! / count]);

/** Each head by itself, with weights that all heads share. */
export const perHead =
  (norm: Norm): HeadNorm =>
  (b, name, x, count) =>
    norm(b, name, heads(x, count));

/** All heads at once. */
export const acrossHeads =
  (norm: Norm): HeadNorm =>
  (b, name, x) =>
    norm(b, name, x);

/** Each head by itself, with weights of its own [count, size]: LayerNorm without bias. */
export const ownPerHead =
  (epsilon: number): HeadNorm =>
  (b, name, x, count) => {
    const normal = b.layerNorm(name, heads(x, count), epsilon, { affine: false });
    const [rows, size] = [x.shape[0]!, x.shape[1]! / count];
    return op.mul(op.reshape(normal, [rows, count, size]), b.parameter(`${name}.weight`, [count, size]));
  };
