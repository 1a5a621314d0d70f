/** Norms of decoders, over the last axis. */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { Builder } from '../model.js';

/** The norm of this name on a matrix [rows, features]. */
export type Norm = (b: Builder, name: string, x: Value) => Value;

export const rmsNorm =
  (epsilon: number): Norm =>
  (b, name, x) =>
    b.rmsNorm(name, x, epsilon);

/** A norm of queries or keys [batch·tokens, count·size] before they are turned. */
export type HeadNorm = (b: Builder, name: string, x: Value, count: number) => Value;

/** Each head by itself, with weights that all heads share: what comes out is [batch·tokens·count, size]. */
export const perHead =
  (norm: Norm): HeadNorm =>
  (b, name, x, count) =>
    norm(b, name, op.reshape(x, [x.shape[0]! * count, x.shape[1]! / count]));
