/** Which of the plans within a budget measures best. */
import type { MeasuredPlan } from '../protocol/protocol.js';
import type { Candidates } from '../plans/candidates.js';
import type { ComparePlansRequest, ComparePlansResult } from './requests.js';

export type Compare = (request: ComparePlansRequest) => Promise<ComparePlansResult>;

/** The candidate that costs least, of several the one that was predicted to. */
export async function bestMeasured(
  { least, uniform, guarded }: Candidates,
  request: Omit<ComparePlansRequest, 'plans'>,
  compare: Compare,
): Promise<{ readonly plan: readonly number[]; readonly measured: MeasuredPlan }> {
  const all = [least, ...guarded, ...(uniform ? [uniform.plan] : [])];
  const plans = [...new Map(all.map((plan) => [plan.join(), plan])).values()];
  const found = await compare({ ...request, plans });
  const costs = new Map(plans.map((plan, i) => [plan.join(), found.costs[i]!]));
  const costOf = (plan: readonly number[]) => costs.get(plan.join())!;
  const plan = plans.reduce((one, other) => (costOf(other) < costOf(one) ? other : one));
  return {
    plan,
    measured: {
      cost: costOf(plan),
      predictedBest: costOf(least),
      ...(uniform && { uniform: { bits: uniform.bits, cost: costOf(uniform.plan) } }),
      ...{ plans: plans.length, samples: found.samples, data: found.data },
    },
  };
}
