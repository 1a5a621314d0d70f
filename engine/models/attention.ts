import type { Graph, Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { lazyConstant } from './constants.js';
import type { Builder, KeptKind } from './model.js';

export interface AttentionOptions {
  /** Heads of queries. */
  readonly heads: number;
  /** Heads of keys and values; each serves heads / keyHeads consecutive heads of queries. Default as many as queries have. */
  readonly keyHeads?: number;
  /** What scores are multiplied by. Default 1/√size. */
  readonly scale?: number;
  /** What scores stay below: cap · tanh(score / cap). Default no bound. */
  readonly cap?: number;
  /** Added to the scores before the mask, as the mask is: what tells keys apart by their place. */
  readonly bias?: Value;
  /** Added to the scores, [tokens, all] or what broadcasts to [batch, heads, tokens, tokens]: rows are queries, columns keys. */
  readonly mask?: Value;
}

/**
 * Multi-head attention among the tokens of a sample (Vaswani et al. 2017, section 3.2.2), softmax in floating point.
 * @param q,k,v [batch·tokens, heads·size], keys and values with their own number of heads; their names as operands are
 *   `${name}.q`, `.k`, `.v`; kept ones come before them (`Builder.kept`)
 * @returns as q
 */
export function attention(
  builder: Builder,
  name: string,
  { q, k, v }: { readonly q: Value; readonly k: Value; readonly v: Value },
  batch: number,
  options: AttentionOptions,
): Value {
  const { heads, keyHeads = heads, mask, cap, bias } = options;
  const [rows, features] = q.shape as readonly [number, number];
  const tokens = rows / batch;
  const size = features / heads;
  const perHead = (x: Value, count: number, perm: readonly number[]) =>
    op.transpose(op.reshape(x, [batch, x.shape[0]! / batch, count, size]), perm);
  const scale = q.graph.scalar(options.scale ?? 1 / Math.sqrt(size));
  const queries = perHead(op.mul(builder.operand(`${name}.q`, q), scale), heads, [0, 2, 1, 3]);
  const keys = perHead(builder.operand(`${name}.k`, k), keyHeads, [0, 2, 3, 1]);
  const values = perHead(builder.operand(`${name}.v`, v), keyHeads, [0, 2, 1, 3]);
  // Kept ones lie as they enter the products: they are many, and joined to those of the token they would be copied.
  const seenKeys = withKept(builder, `${name}.k`, 'keys', keys);
  const seenValues = withKept(builder, `${name}.v`, 'values', values);
  // Heads that share keys lie one after another: as rows of one product, they need no copies of the keys.
  const groupRows = (heads / keyHeads) * tokens;
  const grouped = op.reshape(queries, [batch, keyHeads, groupRows, size]);
  const products = joined(seenKeys.map((each) => op.matMul(grouped, each)));
  const all = products.shape[3]!;
  const bare = op.reshape(products, [batch, heads, tokens, all]);
  const bounded = cap === undefined ? bare : capped(bare, cap);
  const scores = bias ? op.add(bounded, bias) : bounded;
  const shares = op.softmax(mask ? op.add(scores, mask) : scores);
  const lengths = seenValues.map(({ shape }) => shape[2]!);
  const parts = apart(op.reshape(shares, [batch, keyHeads, groupRows, all]), lengths);
  const mixed = seenValues.map((each, i) => op.matMul(parts[i]!, each)).reduce((a, b) => op.add(a, b));
  const byHead = op.reshape(mixed, [batch, heads, tokens, size]);
  return op.reshape(op.transpose(byHead, [0, 2, 1, 3]), [rows, features]);
}

/** Keys or values of the tokens before, where there are any, and those of the tokens that run. */
function withKept({ kept }: Builder, operand: string, kind: KeptKind, x: Value): Value[] {
  kept?.keep(operand, kind, x);
  return kept?.next ? [kept.next.before(operand, kind, x), x] : [x];
}

const joined = (values: readonly Value[]) => (values.length === 1 ? values[0]! : op.concat(values, 3));

const apart = (x: Value, lengths: readonly number[]) =>
  lengths.length === 1 ? [x] : op.split(x, lengths, 3);

/** Numbers kept between −cap and cap: cap · tanh(x / cap) (Gemma 2, section 2). */
export const capped = (x: Value, cap: number): Value =>
  op.mul(op.tanh(op.mul(x, x.graph.scalar(1 / cap))), x.graph.scalar(cap));

/**
 * Far below any score, and finite: a score and a mask add up to a number, and its exponential is zero (docs/METHOD.md,
 * section 11).
 */
export const MASKED = -1e9;

/**
 * The mask [tokens, tokens] of a causal model: a token attends to itself and those before it.
 * @param window the most tokens it attends to, itself included; undefined for all
 */
export const causalMask = (tokens: number, window = tokens): ((graph: Graph) => Value) =>
  lazyConstant([tokens, tokens], () => {
    const mask = new Float32Array(tokens * tokens).fill(MASKED);
    for (let t = 0; t < tokens; t++)
      mask.fill(0, t * tokens + Math.max(0, t - window + 1), t * tokens + t + 1);
    return mask;
  });
