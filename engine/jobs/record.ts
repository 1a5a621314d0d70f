/** The record of a job: how it begins, what changes it, and how it is read back from disk. */
import { basename } from 'node:path';
import { UserError } from '../errors.js';
import {
  flag,
  integer,
  list,
  number,
  oneOf,
  optional,
  readFields,
  record,
  text,
  type Fields,
} from '../formats/json-fields.js';
import { expectObject } from '../formats/json.js';
import { show } from '../formats/paths.js';
import type { CalibrationStatus } from '../methods/quept/calibrate.js';
import { MAX_BITS, MIN_BITS } from '../plans/bits.js';
import type { ProgressMade } from '../methods/quept/progress.js';
import type {
  CalibrateJob,
  EvaluateJob,
  JobRecord,
  LossPoint,
  SensitivityJob,
  StartJobParams,
} from '../protocol/protocol.js';
import { parseCalibrate, parseEvaluate, parseSensitivity } from './parse.js';
import type { EvaluateStatus, SensitivityStatus } from './requests.js';
import { calibrateResult, evaluateResult, evaluationRow, sensitivityResult } from './results.js';

/** A record as it lies on disk; whose it is lies beside it. */
export type StoredCalibrateJob = Omit<CalibrateJob, 'elsewhere'>;
export type StoredEvaluateJob = Omit<EvaluateJob, 'elsewhere'>;
export type StoredSensitivityJob = Omit<SensitivityJob, 'elsewhere'>;
export type StoredJob = StoredCalibrateJob | StoredEvaluateJob | StoredSensitivityJob;

/** Jobs that can go on from what they have kept. */
export type ResumableJob = StoredCalibrateJob | StoredSensitivityJob;

export const isActive = ({ state }: Pick<JobRecord, 'state'>): boolean =>
  state === 'queued' || state === 'running';

export function newRecord(params: StartJobParams, id: string, now: number): StoredJob {
  const common = {
    id,
    title: params.title ?? `${VERBS[params.kind]} ${basename(params.request.model)}`,
    state: 'queued' as const,
    created: now,
    progress: 0,
    resumable: false,
    crashes: { total: 0, block: 0, atBlock: 0 },
  };
  switch (params.kind) {
    case 'calibrate':
      return { ...common, kind: params.kind, request: params.request, groups: [], losses: [] };
    case 'evaluate':
      return { ...common, kind: params.kind, request: params.request, rows: [] };
    case 'sensitivity':
      return { ...common, kind: params.kind, request: params.request };
  }
}

const VERBS = { calibrate: 'Calibrate', evaluate: 'Evaluate', sensitivity: 'Measure sensitivity of' };

/** The record of a job that is queued again, to run from its beginning. */
export const restarted = (job: StoredJob): StoredJob => newRecord(job, job.id, job.created);

/** The record of a job that is queued again, to go on from what it has done. */
export function resumed(job: ResumableJob): StoredJob {
  const { crashes, progress } = job;
  if (job.kind === 'sensitivity')
    return {
      ...(newRecord(job, job.id, job.created) as StoredSensitivityJob),
      ...{ request: { ...job.request, resume: true }, crashes, progress },
      ...(job.at && { at: job.at }),
    };
  const { groups, losses } = job;
  return {
    ...(newRecord(job, job.id, job.created) as StoredCalibrateJob),
    ...{ request: { ...job.request, resume: true }, crashes, progress, groups, losses },
    ...(job.at && { at: job.at }),
  };
}

/** @param left seconds */
export function withCalibrationStatus(
  job: StoredCalibrateJob,
  { block, blocks, epoch, epochs, done, groups, losses }: CalibrationStatus,
  left: number | undefined,
): StoredCalibrateJob {
  const point = losses && epoch > 0 && { block, epoch: epoch - 1, losses };
  return {
    ...withoutTimeLeft(job),
    at: { block, blocks, epoch, epochs },
    groups,
    losses: point ? withPoint(job.losses, point) : job.losses,
    progress: done,
    ...(left !== undefined && { secondsLeft: left }),
  };
}

/** The curve up to a point; what a resumed job computes again replaces what was there. */
function withPoint(curve: readonly LossPoint[], point: LossPoint): readonly LossPoint[] {
  const isBefore = (a: LossPoint) =>
    a.block < point.block || (a.block === point.block && a.epoch < point.epoch);
  const last = curve.at(-1);
  if (last?.block === point.block && last.epoch === point.epoch) return curve;
  return [...curve.filter(isBefore), point];
}

/** @param left seconds */
export const withEvaluationStatus = (
  job: StoredEvaluateJob,
  { done, rows }: EvaluateStatus,
  left: number | undefined,
): StoredEvaluateJob => ({
  ...withoutTimeLeft(job),
  rows,
  progress: done,
  ...(left !== undefined && { secondsLeft: left }),
});

/** @param left seconds */
export const withSensitivityStatus = (
  job: StoredSensitivityJob,
  { done, layer, layers }: SensitivityStatus,
  left: number | undefined,
): StoredSensitivityJob => ({
  ...withoutTimeLeft(job),
  at: { layer, layers },
  progress: done,
  ...(left !== undefined && { secondsLeft: left }),
});

/** A record whose job has stopped before its end. @param made what resuming would find done */
export function stopped(
  job: StoredJob,
  state: 'interrupted' | 'failed' | 'cancelled',
  now: number,
  made: ProgressMade | undefined,
  error?: string,
): StoredJob {
  const { error: _error, ...kept } = withoutTimeLeft(job);
  const base = { ...kept, state, ended: now, ...(error !== undefined && { error }) };
  if (base.kind === 'evaluate') return base;
  // A failure before there was progress would only happen again.
  const resumable = state !== 'failed' || made !== undefined;
  if (base.kind === 'sensitivity') return { ...base, resumable };
  const { at } = base;
  if (!at) return { ...base, progress: 0, resumable };
  const { blocks: block, epochs: epoch } = made ?? { blocks: 0, epochs: 0 };
  const isLearned = block >= at.blocks;
  return {
    ...base,
    resumable,
    at: { ...at, ...(isLearned ? { block: at.blocks - 1, epoch: at.epochs } : { block, epoch }) },
    progress: isLearned ? 1 : Math.min(1, (block + epoch / at.epochs) / at.blocks),
  };
}

/** The block, or layer, that a crash is counted at. */
function blockOf(job: StoredJob): number {
  if (job.kind === 'calibrate') return job.at?.block ?? 0;
  return job.kind === 'sensitivity' ? (job.at?.layer ?? 0) : 0;
}

/** A record after its process crashed. */
export function crashed<T extends StoredJob>(job: T): T {
  const { total, block, atBlock } = job.crashes;
  const here = blockOf(job);
  return { ...job, crashes: { total: total + 1, block: here, atBlock: here === block ? atBlock + 1 : 1 } };
}

function withoutTimeLeft<T extends StoredJob>(job: T): T {
  const { secondsLeft: _left, ...rest } = job;
  return rest as T;
}

const common: Fields<Omit<StoredCalibrateJob, 'kind' | 'request' | 'result' | 'at' | 'groups' | 'losses'>> = {
  id: text(),
  title: text(),
  state: oneOf('queued', 'running', 'interrupted', 'finished', 'failed', 'cancelled'),
  created: number(0),
  started: optional(number(0)),
  ended: optional(number(0)),
  progress: number(0, 1),
  secondsLeft: optional(number(0)),
  error: optional(text()),
  resumable: flag(),
  crashes: record({ total: integer(0), block: integer(0), atBlock: integer(0) }),
};

const calibrate: Fields<StoredCalibrateJob> = {
  ...common,
  kind: oneOf('calibrate'),
  request: (object, key, where) => parseCalibrate(object[key], `${where}: request`),
  result: optional(record(calibrateResult)),
  at: optional(record({ block: integer(0), blocks: integer(1), epoch: integer(0), epochs: integer(1) })),
  groups: list(list(integer(MIN_BITS, MAX_BITS))),
  losses: list(record({ block: integer(0), epoch: integer(0), losses: list(number()) })),
};

const evaluate: Fields<StoredEvaluateJob> = {
  ...common,
  kind: oneOf('evaluate'),
  request: (object, key, where) => parseEvaluate(object[key], `${where}: request`),
  result: optional(record(evaluateResult)),
  rows: list(record(evaluationRow)),
};

const sensitivity: Fields<StoredSensitivityJob> = {
  ...common,
  kind: oneOf('sensitivity'),
  request: (object, key, where) => parseSensitivity(object[key], `${where}: request`),
  result: optional(record(sensitivityResult)),
  at: optional(record({ layer: integer(0), layers: integer(1) })),
};

/** The content of a record's file. Throws UserError that begins with `where` for the first thing wrong. */
export function parseRecord(value: unknown, where: string): StoredJob {
  const { kind, schema_version } = expectObject(value, where);
  if (schema_version !== 1)
    throw new UserError(
      `${where}: of another version of Elastic Precision (schema ${show(schema_version, 20)}).`,
    );
  // A later version may know more of a job.
  if (kind === 'evaluate') return readFields(value, evaluate, where, 'dropped');
  if (kind === 'sensitivity') return readFields(value, sensitivity, where, 'dropped');
  return readFields(value, calibrate, where, 'dropped');
}
