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
import { expectObject, type JsonObject } from '../formats/json.js';
import { show } from '../formats/paths.js';
import type { Job, JobKind, JobState, SeriesPoint, StartParams } from '../protocol/protocol.js';
import type { Kind } from './kinds/kind.js';
import { kindOf, parseKind, parseRequest } from './kinds/registry.js';
import type { JobStatus } from './requests.js';

/** A record as it lies on disk, of whichever kind; whose it is lies beside it. */
export type StoredJob = Omit<Job<JobKind>, 'elsewhere'>;

export const SCHEMA_VERSION = 2;

export const isActive = ({ state }: { readonly state: JobState }): boolean =>
  state === 'queued' || state === 'running';

export function newRecord(params: StartParams<JobKind>, id: string, now: number): StoredJob {
  const { kind, request, title } = params;
  return {
    id,
    kind,
    request,
    title: title ?? `${kindOf(kind).title} ${basename(request.model)}`,
    state: 'queued',
    created: now,
    progress: 0,
    series: [],
    resumable: false,
    crashes: { total: 0, place: 0, atPlace: 0 },
  };
}

/** The record of a job that is queued again, to run from its beginning. */
export const restarted = (job: StoredJob): StoredJob => newRecord(job, job.id, job.created);

/** The record of a job that is queued again, to go on from what it has done; undefined where its kind cannot. */
export function resumed(job: StoredJob): StoredJob | undefined {
  const { progress: kept } = kindOf(job.kind);
  if (!kept) return undefined;
  const { crashes, progress, series, phase, place } = job;
  return {
    ...restarted(job),
    request: kept.resumed(job.request),
    crashes,
    progress,
    series,
    ...(phase !== undefined && { phase }),
    ...(place !== undefined && { place }),
  };
}

/** @param left seconds */
export function withStatus(
  job: StoredJob,
  { done, phase, place, series, partial }: JobStatus<JobKind>,
  left: number | undefined,
): StoredJob {
  return {
    ...without(job, 'secondsLeft'),
    progress: done,
    phase,
    ...(place !== undefined && { place }),
    series: series ? withPoints(job.series, place ?? 0, series) : job.series,
    ...(partial && { partial }),
    ...(left !== undefined && { secondsLeft: left }),
  };
}

/** The same list where it says so already; what a resumed job computes again replaces what was there. */
function withPoints(
  series: StoredJob['series'],
  place: number,
  points: readonly SeriesPoint[],
): StoredJob['series'] {
  const last = series.at(-1);
  if (last?.place === place && JSON.stringify(last.points) === JSON.stringify(points)) return series;
  return [...series.filter((other) => other.place < place), { place, points }];
}

/** A record whose job has stopped before its end. @param made whether there is anything that resuming it would go on from */
export function stopped(
  job: StoredJob,
  state: 'interrupted' | 'failed' | 'cancelled',
  now: number,
  made: boolean,
  error?: string,
): StoredJob {
  const { error: _error, ...kept } = without(job, 'secondsLeft');
  const base = { ...kept, state, ended: now, ...(error !== undefined && { error }) };
  if (!kindOf(job.kind).progress) return base;
  // A failure before there was progress would only happen again.
  const resumable = state !== 'failed' || made;
  return made ? { ...base, resumable } : { ...without(base, 'phase'), resumable, progress: 0 };
}

export function finished(job: StoredJob, result: StoredJob['result'], now: number): StoredJob {
  const { secondsLeft: _left, phase: _phase, place: _place, partial: _partial, ...rest } = job;
  return { ...rest, state: 'finished', ended: now, progress: 1, ...(result && { result }) };
}

/** A record after its process crashed. */
export function crashed(job: StoredJob): StoredJob {
  const { total, place, atPlace } = job.crashes;
  const here = job.place ?? 0;
  return {
    ...job,
    crashes: { total: total + 1, place: here, atPlace: here === place ? atPlace + 1 : 1 },
  };
}

function without<T extends object, K extends keyof T>(object: T, key: K): Omit<T, K> {
  const { [key]: _, ...rest } = object;
  return rest;
}

const fieldsOf = (name: JobKind): Fields<StoredJob> => {
  const { result, partial }: Kind<JobKind> = kindOf(name);
  return {
    id: text(),
    kind: oneOf(name),
    request: (object, key, where) => parseRequest(name, object[key], `${where}: request`),
    title: text(),
    state: oneOf('queued', 'running', 'interrupted', 'finished', 'failed', 'cancelled'),
    created: number(0),
    started: optional(number(0)),
    ended: optional(number(0)),
    progress: number(0, 1),
    secondsLeft: optional(number(0)),
    phase: optional(text()),
    place: optional(integer(0)),
    series: list(record({ place: integer(0), points: list(record({ label: text(), value: number() })) })),
    partial: partial ? optional(record(partial)) : () => undefined,
    result: optional(record(result)),
    error: optional(text()),
    resumable: flag(),
    crashes: record({ total: integer(0), place: integer(0), atPlace: integer(0) }),
  };
};

/** The content of a record's file. Throws UserError that begins with `where` for the first thing wrong. */
export function parseRecord(value: unknown, where: string): StoredJob {
  const object = expectObject(value, where);
  const { schema_version } = object;
  if (schema_version !== 1 && schema_version !== SCHEMA_VERSION)
    throw new UserError(
      `${where}: of another version of Elastic Precision (schema ${show(schema_version, 20)}).`,
    );
  const kind = parseKind(object.kind, where);
  // A later version may know more of a job.
  return readFields(
    schema_version === 1 ? fromSchema1(object, kind, where) : object,
    fieldsOf(kind),
    where,
    'dropped',
  );
}

/** Without the place and losses of calibrations, which a job that goes on reports again. */
function fromSchema1(job: JsonObject, kind: JobKind, where: string): JsonObject {
  const { total, block, atBlock } = expectObject(job.crashes, `${where}: crashes`);
  const request = expectObject(job.request, `${where}: request`);
  return {
    ...job,
    request: kindOf(kind).fromSchema1?.(request) ?? request,
    series: [],
    crashes: { total: total!, place: block!, atPlace: atBlock! },
    ...(job.rows !== undefined && job.result === undefined && { partial: { rows: job.rows } }),
  };
}
