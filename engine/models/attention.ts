import type { Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Builder } from './model.js';

/**
 * Multi-head attention over all tokens of a sample (Vaswani et al. 2017, section 3.2.2), softmax in floating point.
 * @param q,k,v [batch·tokens, width]; their names as operands are `${name}.q`, `.k`, `.v`
 * @returns [batch·tokens, width]
 */
export function attention(
  builder: Builder,
  name: string,
  q: Value,
  k: Value,
  v: Value,
  batch: number,
  heads: number,
): Value {
  const [rows, width] = q.shape as readonly [number, number];
  const tokens = rows / batch;
  const size = width / heads;
  const perHead = (x: Value, perm: readonly number[]) =>
    op.transpose(op.reshape(x, [batch, tokens, heads, size]), perm);
  const scale = q.graph.scalar(1 / Math.sqrt(size));
  const queries = perHead(op.mul(builder.operand(`${name}.q`, q), scale), [0, 2, 1, 3]);
  const keys = perHead(builder.operand(`${name}.k`, k), [0, 2, 3, 1]);
  const values = perHead(builder.operand(`${name}.v`, v), [0, 2, 1, 3]);
  const mixed = op.matMul(op.softmax(op.matMul(queries, keys)), values);
  return op.reshape(op.transpose(mixed, [0, 2, 1, 3]), [rows, width]);
}
