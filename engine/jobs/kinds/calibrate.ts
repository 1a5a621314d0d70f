/** The kind `calibrate`: an adapter set from a model and a calibration set. */
import { resolve } from 'node:path';
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
} from '../../formats/json-fields.js';
import { discardProgress, progressMade } from '../../methods/quept/progress.js';
import type { CalibrateRequest, EstimateRequest } from '../../protocol/protocol.js';
import { bits, device, placement, skipped } from './fields.js';
import type { Kind } from './kind.js';

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

export const calibrate: Kind<'calibrate'> = {
  title: 'Calibrate',
  request: { ...settings, data: path(), out: path(), resume: optional(flag()) },
  result: {
    out: text(),
    device,
    bits: list(bits),
    samples: integer(0),
    skipped,
    seconds: number(0),
    peakMemory: integer(0),
  },
  writes: ({ out }) => resolve(out),
  sets: ({ out }) => [out],
  progress: {
    place: 'block',
    made: async ({ out }) => (await progressMade(out)) !== undefined,
    discard: ({ out }) => discardProgress(out),
    resumed: (request) => ({ ...request, resume: true }),
  },
  run: async (request, hooks) => (await import('../runs/calibrate.js')).runCalibrate(request, hooks),
};

/** Throws UserError for the first thing wrong. */
export const parseEstimate = (value: unknown, where = 'calibrate request'): EstimateRequest =>
  readFields<EstimateRequest>(value, { ...settings, data: optional(path()) }, where);
