/** What `allocate` found, and the lines that say so. */
import { formatWidth } from '../plans/numbers.js';
import type { MeasuredPlan } from '../protocol/protocol.js';
import { bytes } from './format.js';

export interface Allocated {
  readonly out: string;
  readonly averageBits: number;
  /** Of the layers alone. */
  readonly layerBytes: number;
  /** What `bytes` are of. */
  readonly format?: string;
  /** Of the model as it would ship, or as it is exported, and what it takes to stay switchable; known where its folder is. */
  readonly bytes?: number;
  readonly switchableBytes?: number;
  /** The sum of the layers' sensitivities, nats. */
  readonly cost: number;
  readonly exact: boolean;
  readonly stale?: string;
  readonly measured?: MeasuredPlan;
}

function sizeText({ bytes: whole, layerBytes, format }: Allocated): string {
  if (whole === undefined) return `${bytes(layerBytes)} of layers`;
  return format === undefined ? bytes(whole) : `${bytes(whole)} exported as ${format}`;
}

/** One line or more that say what was found. */
export function formatAllocated(r: Allocated): string {
  return [
    `Wrote ${r.out}: ${r.averageBits.toFixed(3)} bits per weight, ${sizeText(r)}, predicted cost ${nats(r.cost)}.`,
    ...(r.switchableBytes === undefined
      ? []
      : [`To stay switchable: ${bytes(r.switchableBytes)}, the original model and the adapter set.`]),
    ...(r.measured
      ? measuredLines(r.measured)
      : ['Predicted, not measured: with --model and --data it is compared with uniform bit-widths.']),
    ...(r.exact ? [] : ['Sizes were rounded up to be told apart; a slightly better plan may exist.']),
    ...(r.stale === undefined ? [] : [r.stale]),
  ].join('\n');
}

function measuredLines({ cost, predictedBest, uniform, plans, samples, data }: MeasuredPlan): string[] {
  const all = uniform && `all layers at ${formatWidth(uniform.bits, 'en')} bits`;
  const beside =
    uniform === undefined
      ? 'no uniform bit-width is within the budget'
      : `${all!}, the highest within the budget, cost ${nats(uniform.cost)}`;
  return [
    `Measured cost ${nats(cost)} on ${samples} samples of ${data}; ${beside}.`,
    ...(predictedBest > cost
      ? [
          `The plan of least predicted cost measured ${nats(predictedBest)}${uniform && predictedBest > uniform.cost ? `, worse than ${all!}` : ''}; what was written measured best of ${plans}.`,
        ]
      : []),
  ];
}

const nats = (cost: number) => `${cost.toPrecision(4)} nats`;
