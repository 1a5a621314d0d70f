/** What an evaluation yields, from JSON of unknown origin: in records of jobs and in saved evaluations. */
import {
  either,
  integer,
  list,
  number,
  oneOf,
  optional,
  record,
  text,
  type Field,
  type Fields,
} from '../../formats/json-fields.js';
import { MIN_BITS } from '../../plans/bits.js';
import type { Difference, EvaluateResult, EvaluationRow, RowKind } from '../../protocol/protocol.js';
import { device, skippedSamples } from './fields.js';

const share = optional(number(0, 1));
const positive = optional(number(0));
/** Evaluations that were kept before any method could be a baseline name it as the kind of a row. */
const rowKind: Field<RowKind> = (object, key, where) => {
  const kind = oneOf('full', 'baseline', 'adapters', 'exported', 'rounding', 'gptq')(object, key, where);
  return kind === 'rounding' || kind === 'gptq' ? 'baseline' : kind;
};

const difference: Fields<Difference> = {
  label: text(),
  kind: rowKind,
  score: optional(number()),
  scoreError: positive,
  kl: optional(number()),
  klError: positive,
};

const row: Fields<EvaluationRow> = {
  label: text(),
  kind: rowKind,
  method: optional(text()),
  runtime: optional(text()),
  bits: either(number(MIN_BITS), oneOf('fp')),
  averageBits: positive,
  bytes: integer(0),
  samples: integer(0),
  top1: share,
  top5: share,
  kl: positive,
  perplexity: positive,
  accuracy: share,
  accuracyNormalised: share,
  scoreError: positive,
  against: optional(list(record(difference, 'dropped'))),
};
export const rows = list(record(row, 'dropped'));

export const evaluateResult: Fields<EvaluateResult> = {
  device,
  task: oneOf('image-classification', 'perplexity', 'multiple-choice'),
  data: text(),
  rows,
  ...skippedSamples,
  seconds: number(0),
  peakMemory: integer(0),
  saved: optional(text()),
};
