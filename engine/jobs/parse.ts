/** Requests of jobs from JSON of unknown origin. A field without a reader here does not compile. */
import {
  either,
  flag,
  integer,
  list,
  number,
  oneOf,
  optional,
  path,
  readFields,
  text,
  type Fields,
} from '../formats/json-fields.js';
import { checkName } from '../formats/paths.js';
import { MAX_BITS, MIN_BITS } from '../plans/bits.js';
import {
  BASELINES,
  type CalibrateRequest,
  type EstimateRequest,
  type EvaluateRequest,
  type Placement,
  type SensitivityRequest,
} from '../protocol/protocol.js';

const placement: Fields<Placement> = {
  device: optional(oneOf('auto', 'cpu', 'webgpu', 'cuda')),
  threads: optional(integer(1, 1024)),
};

const bits = integer(MIN_BITS, MAX_BITS);

const settings: Fields<Omit<CalibrateRequest, 'data' | 'out' | 'resume'>> = {
  ...placement,
  model: path(),
  mode: optional(oneOf('weight-activation', 'weight-only')),
  length: optional(integer(2)),
  recipe: optional(oneOf('default', 'paper')),
  bits: optional(list(bits, 1)),
  groups: optional(list(list(bits, 1), 1)),
  rank: optional(either(integer(0), list(integer(0), 1))),
  samples: optional(integer(1)),
  epochs: optional(integer(1)),
  batch: optional(integer(1)),
  seed: optional(integer(0)),
  loss: optional(oneOf('mae', 'mse')),
  merge: optional(oneOf('selective', 'uniform', 'random', 'off', 'drawn')),
  keep: optional(number(0, 1)),
  clipStart: optional(oneOf('paper', 'search')),
  smooth: optional(oneOf('on', 'off')),
  guard: optional(oneOf('on', 'off')),
  cacheMemory: optional(integer(0)),
  rotation: optional(oneOf('on', 'off')),
  kvBits: optional(bits),
  rateLora: optional(number(0)),
  rateClip: optional(number(0)),
  rateScale: optional(number(0)),
};

const calibrate: Fields<CalibrateRequest> = {
  ...settings,
  data: path(),
  out: path(),
  resume: optional(flag()),
};

const evaluate: Fields<EvaluateRequest> = {
  ...placement,
  model: path(),
  data: path(),
  adapters: optional(list(path())),
  bits: optional(list(bits)),
  plans: optional(list(path())),
  limit: optional(integer(1)),
  length: optional(integer(2)),
  task: optional(oneOf('perplexity', 'multiple-choice')),
  baseline: optional(list(oneOf(...BASELINES))),
  baselineData: optional(path()),
  baselineSamples: optional(integer(1)),
  cacheMemory: optional(integer(0)),
  save: optional((object, key, where) => checkName(text()(object, key, where))),
};

/** Throws UserError for the first thing wrong. */
export const parseCalibrate = (value: unknown, where = 'calibrate request'): CalibrateRequest =>
  readFields(value, calibrate, where);

/** Throws UserError for the first thing wrong. */
export const parseEvaluate = (value: unknown, where = 'evaluate request'): EvaluateRequest =>
  readFields(value, evaluate, where);

const sensitivity: Fields<SensitivityRequest> = {
  ...placement,
  model: path(),
  adapters: path(),
  data: path(),
  out: optional(path()),
  samples: optional(integer(1)),
  batch: optional(integer(1)),
  resume: optional(flag()),
  cacheMemory: optional(integer(0)),
};

/** Throws UserError for the first thing wrong. */
export const parseSensitivity = (value: unknown, where = 'sensitivity request'): SensitivityRequest =>
  readFields(value, sensitivity, where);

/** Throws UserError for the first thing wrong. */
export const parseEstimate = (value: unknown, where = 'calibrate request'): EstimateRequest =>
  readFields<EstimateRequest>(value, { ...settings, data: optional(path()) }, where);
