/** What the measurement of plans is told as. */
import { l10n } from 'vscode';
import { formatLoss } from '../common/format.js';
import { formatWidth } from '../../engine/plans/numbers.js';
import type { MeasuredPlan } from '../../engine/protocol/protocol.js';

/** Costs of the chosen plan and the uniform one, and whether the prediction was wrong. */
export function measuredText(
  { cost, predictedBest, uniform, samples, data }: MeasuredPlan,
  locale: string,
): string {
  const nats = (value: number) => formatLoss(value, locale);
  const own = l10n.t('The plan costs {0} nats, measured on {1} samples of {2}.', nats(cost), samples, data);
  const beside =
    uniform &&
    l10n.t('All layers at {0} bits cost {1}.', formatWidth(uniform.bits, locale), nats(uniform.cost));
  const wrong =
    predictedBest > cost
      ? l10n.t(
          'The plan of least predicted cost measured {0}, so another one was taken.',
          nats(predictedBest),
        )
      : undefined;
  return [own, beside, wrong].filter((line) => line !== undefined).join(' ');
}
