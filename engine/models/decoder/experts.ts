/** Mixtures of experts (Shazeer et al. 2017; Fedus et al. 2022) as sublayers. */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { ModelConfig } from '../config.js';
import type { Builder, Roles } from '../model.js';
import type { Sublayer } from './decoder.js';
import { gatedPerceptron, type Perceptron } from './perceptrons.js';
import { attentionRoles, type SelfAttention } from './self-attention.js';

export interface Experts extends Perceptron {
  /** The router's weight, [count, features], which stays in floating point. */
  readonly router: string;
  readonly count: number;
  /** Experts that a token is sent to. */
  readonly chosen: number;
  /** Whether the shares of these are made to sum up to 1. */
  readonly isNormal: boolean;
  readonly names: (expert: number) => Parameters<typeof gatedPerceptron>[0];
}

/**
 * Gated perceptrons of which each token is sent to a few. All tokens pass all of them, as zeros where they are not sent: an expert's
 * layers see what reaches it, and nothing else has a part in what is observed of them.
 */
export const experts =
  (design: Experts): Sublayer =>
  (b, x, batch) => {
    const shares = sharesOf(b, x, design);
    const columns = op.split(shares, Array<number>(design.count).fill(1), 1);
    const made = columns.map((share, e) => {
      const isSent = op.stopGradient(op.sign(share));
      return op.mul(gatedPerceptron(design.names(e), design)(b, op.mul(x, isSent), batch), share);
    });
    return made.reduce((sum, one) => op.add(sum, one));
  };

/** What experts are to other libraries. */
export const EXPERT_LAYERS = 'experts, which other libraries hold together';

/** Experts are read one by one in the graph: more of them would make one of no reasonable size. */
const MAX_EXPERTS = 1 << 10;

/** How many experts there are, by the first of the keys that is there, and how many of them a token is sent to. */
export function readChosen(
  config: ModelConfig,
  defaults: { readonly keys: readonly string[]; readonly count: number; readonly chosen: number },
): Pick<Experts, 'count' | 'chosen'> {
  const key = defaults.keys.find((each) => config.has(each)) ?? defaults.keys[0]!;
  const count = config.size(key, defaults.count, MAX_EXPERTS);
  const chosen = config.size('num_experts_per_tok', defaults.chosen);
  if (chosen > count) config.fail('num_experts_per_tok', `is ${chosen}, and there are ${count} experts`);
  return { count, chosen };
}

/** The router reads the stream as it is: it cannot be turned. */
export const expertRoles = (attention: SelfAttention): Roles => ({
  writers: [],
  norms: [],
  attention: attentionRoles(attention, 'self_attn.v_proj'),
});

/** The share of each expert in each token, [batch·tokens, count]: zero where it is not sent there. */
function sharesOf(b: Builder, x: Value, { router, count, chosen, isNormal }: Experts): Value {
  const likely = op.softmax(op.gemm(x, b.parameter(router, [count, x.shape[1]!]), { transB: true }));
  const least = op.slice(op.topK(op.stopGradient(likely), chosen), 1, chosen - 1, chosen);
  const kept = op.mul(likely, op.cast(op.greaterOrEqual(op.stopGradient(likely), least), 'float32'));
  return isNormal ? op.div(kept, op.reduceSum(kept, [1])) : kept;
}
