/** Results of jobs from JSON of unknown origin: records of jobs and saved evaluations. */
import {
  either,
  integer,
  list,
  number,
  oneOf,
  optional,
  record,
  text,
  type Fields,
} from '../formats/json-fields.js';
import type {
  CalibrateResult,
  Difference,
  EvaluateResult,
  EvaluationRow,
  SensitivityResult,
} from '../protocol/protocol.js';
import { MAX_BITS, MIN_BITS } from '../plans/bits.js';

const device = oneOf('cpu', 'webgpu', 'cuda');
const share = optional(number(0, 1));
const positive = optional(number(0));
const bits = integer(MIN_BITS, MAX_BITS);
const skipped = list(record({ name: text(), reason: text() }));

const kind = oneOf('full', 'rounding', 'gptq', 'adapters');

const difference: Fields<Difference> = {
  label: text(),
  kind,
  score: optional(number()),
  scoreError: positive,
  kl: optional(number()),
  klError: positive,
};

export const evaluationRow: Fields<EvaluationRow> = {
  label: text(),
  kind,
  bits: either(number(MIN_BITS, MAX_BITS), oneOf('fp')),
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

export const evaluateResult: Fields<EvaluateResult> = {
  device,
  task: oneOf('image-classification', 'perplexity', 'multiple-choice'),
  data: text(),
  rows: list(record(evaluationRow, 'dropped')),
  skipped,
  seconds: number(0),
  peakMemory: integer(0),
  saved: optional(text()),
};

export const calibrateResult: Fields<CalibrateResult> = {
  out: text(),
  device,
  bits: list(bits),
  samples: integer(0),
  skipped,
  seconds: number(0),
  peakMemory: integer(0),
};

export const sensitivityResult: Fields<SensitivityResult> = {
  out: text(),
  device,
  layers: integer(0),
  bits: list(bits),
  samples: integer(0),
  saved: number(0, 1),
  seconds: number(0),
  peakMemory: integer(0),
};
