/** The kind `calibrate`: an adapter set from a model and a calibration set. */
import { resolve } from 'node:path';
import {
  flag,
  integer,
  list,
  number,
  oneOf,
  optional,
  path,
  readFields,
  text,
  type Field,
  type Fields,
} from '../../formats/json-fields.js';
import { expectObject, type JsonObject } from '../../formats/json.js';
import { followLinks, placeOf } from '../../formats/output.js';
import { requireUnlocked, whileLocked } from '../../locks/lock.js';
import { discardProgress, progressMade } from '../../methods/progress.js';
import { methodNamed } from '../../methods/registry.js';
import { checkMethodOptions } from '../../methods/request.js';
import type { EstimateRequest } from '../../protocol/protocol.js';
import { device, placement, skippedSamples } from './fields.js';
import type { Kind } from './kind.js';

/** The options that the method of the same request has. */
function methodOptions(...[object, key, where]: Parameters<Field<JsonObject>>): JsonObject {
  const options = expectObject(object[key], `${where}: ${key}`);
  const { method } = object;
  checkMethodOptions({ ...(typeof method === 'string' && { method }), options }, where);
  return options;
}

const settings: Fields<Omit<EstimateRequest, 'data'>> = {
  ...placement,
  model: path(),
  method: optional((object, key, where) => methodNamed(text()(object, key, where)).name),
  options: optional(methodOptions),
  recipe: optional(text()),
  mode: optional(oneOf('weight-activation', 'weight-only')),
  bits: optional(list(number(1, 8), 1)),
  length: optional(integer(2)),
  samples: optional(integer(1)),
  seed: optional(integer(0)),
  cacheMemory: optional(integer(0)),
};

const request: Kind<'calibrate'>['request'] = {
  ...settings,
  data: optional(path()),
  out: path(),
  resume: optional(flag()),
  force: optional(flag()),
};

/** There was one method, and its options stood among the others. */
function fromSchema1(old: JsonObject): JsonObject {
  const pick = (isCommon: boolean): JsonObject =>
    Object.fromEntries(Object.entries(old).filter(([key]) => key in request === isCommon));
  const options = pick(false);
  return { ...pick(true), method: 'quept', ...(Object.keys(options).length > 0 && { options }) };
}

export const calibrate: Kind<'calibrate'> = {
  title: 'Calibrate',
  request,
  fromSchema1,
  result: {
    out: text(),
    device: optional(device),
    bits: list(number(1, 8)),
    samples: integer(0),
    ...skippedSamples,
    seconds: number(0),
    peakMemory: integer(0),
  },
  writes: ({ out }) => resolve(out),
  sets: ({ out }) => [out],
  progress: {
    place: 'block',
    made: async ({ out }) => (await progressMade(await followLinks(out))) !== undefined,
    discard: async ({ out }) => {
      const place = await followLinks(out);
      await whileLocked(place, () => discardProgress(place));
    },
    resumed: (request) => ({ ...request, resume: true }),
  },
  run: async (request, hooks) => {
    // A second run is turned away before anything is loaded; the lock itself comes with the work.
    await requireUnlocked(await placeOf(request.out));
    return (await import('../runs/calibrate.js')).runCalibrate(request, hooks);
  },
};

/** Throws UserError for the first thing wrong. */
export const parseEstimate = (value: unknown, where = 'calibrate request'): EstimateRequest =>
  readFields<EstimateRequest>(value, { ...settings, data: optional(path()) }, where);
