import { describe, expect, it } from 'vitest';
import {
  crashed,
  finished,
  newRecord,
  parseRecord,
  restarted,
  resumed,
  stopped,
  withStatus,
} from './record.js';
import type { StoredJob } from './record.js';
import { calibrateResult, evaluateResult, seriesOf, statusAt } from './testing.js';

const fresh = newRecord(
  { kind: 'calibrate', request: { model: '/models/vit', data: '/data', out: '/out' } },
  'lq2x0000-00000001',
  5,
);
const evaluation = newRecord({ kind: 'evaluate', request: { model: '/m', data: '/d' } }, 'i', 1);
const at = (block: number, epoch: number, losses?: [number, number], job = fresh) =>
  withStatus(job, statusAt(block, epoch, losses), undefined);

describe('the series of a job', () => {
  const seriesAt = (job: StoredJob) => job.series.map(({ place, points }) => [place, points]);

  it('has the last figures of every place, and keeps them while there are no others', () => {
    let job = at(0, 0);
    const reports = [
      [0, 1, [5, 6]],
      [0, 2, [4, 5]],
      [1, 0, undefined],
      [1, 1, [9, 9]],
    ] as const;
    for (const [block, epoch, losses] of reports) job = at(block, epoch, losses && [...losses], job);
    expect(seriesAt(job)).toEqual([
      [0, seriesOf([4, 5])],
      [1, seriesOf([9, 9])],
    ]);
    // Told by identity whether anything is new.
    expect(at(1, 1, [9, 9], job).series).toBe(job.series);
    expect(at(1, 2, undefined, job).series).toBe(job.series);
  });

  it('goes on from where a resumed job begins', () => {
    const before = at(2, 1, [1, 1], at(1, 1, [2, 2], at(0, 1, [3, 3])));
    expect(seriesAt(at(1, 1, [2.5, 2.5], before))).toEqual([
      [0, seriesOf([3, 3])],
      [1, seriesOf([2.5, 2.5])],
    ]);
  });
});

describe('a stopped job', () => {
  it('stands where it was, if that was kept', () => {
    const status = statusAt(2, 5);
    const job = at(2, 5);
    expect(stopped(job, 'cancelled', 7, true)).toMatchObject({
      state: 'cancelled',
      ended: 7,
      progress: status.done,
      phase: status.phase,
      resumable: true,
    });
    const lost = stopped(job, 'cancelled', 7, false);
    expect(lost).toMatchObject({ progress: 0, resumable: true });
    expect(lost).not.toHaveProperty('phase');
  });

  it('can be resumed unless it failed before there was anything to go on from', () => {
    expect(stopped(fresh, 'failed', 7, false, 'No.')).toMatchObject({ resumable: false, error: 'No.' });
    expect(stopped(fresh, 'failed', 7, true)).toMatchObject({ resumable: true });
    expect(stopped(fresh, 'interrupted', 7, false)).toMatchObject({ resumable: true, progress: 0 });
    expect(stopped(evaluation, 'interrupted', 7, false)).toMatchObject({ resumable: false });
  });
});

it('crashes are counted at the place where they happen', () => {
  const crashesOf = (blocks: number[]) =>
    blocks.reduce((job, block) => crashed(at(block, 1, undefined, job)), fresh).crashes;
  expect(crashesOf([0])).toEqual({ total: 1, place: 0, atPlace: 1 });
  expect(crashesOf([0, 0])).toEqual({ total: 2, place: 0, atPlace: 2 });
  expect(crashesOf([0, 3])).toEqual({ total: 2, place: 3, atPlace: 1 });
  expect(crashesOf([3, 3, 2, 3])).toEqual({ total: 4, place: 3, atPlace: 1 });
});

it('a job queued again keeps its progress where it is resumed, and nothing where it is retried', () => {
  const job = stopped(crashed(at(2, 3, [1, 1])), 'interrupted', 7, true, 'Crashed.');
  const again = resumed(job);
  expect(again).toMatchObject({ state: 'queued', progress: job.progress, request: { resume: true } });
  expect(again).toMatchObject({ crashes: { total: 1 }, series: [{ place: 2 }], phase: job.phase });
  for (const key of ['error', 'ended', 'started']) expect(again).not.toHaveProperty(key);
  expect(restarted(job)).toEqual(fresh);
  expect(resumed(evaluation)).toBeUndefined();
});

it('a finished job has its result in place of what was known before', () => {
  const { rows } = evaluateResult;
  const running = withStatus(evaluation, { done: 0.5, phase: 'x', partial: { rows } }, 9);
  expect(running).toMatchObject({ partial: { rows }, secondsLeft: 9 });
  const job = finished(running, evaluateResult, 7);
  expect(job).toMatchObject({ state: 'finished', progress: 1, ended: 7, result: evaluateResult });
  for (const key of ['partial', 'phase', 'secondsLeft']) expect(job).not.toHaveProperty(key);
});

describe('a record read back', () => {
  const roundTrip = (job: object) =>
    parseRecord(JSON.parse(JSON.stringify({ schema_version: 2, ...job })) as unknown, 'x.json');

  it('is what was written', () => {
    const running = { ...at(3, 10, [1, 1]), state: 'running', started: 1 };
    expect(roundTrip(running)).toEqual(running);
    const done = finished(at(3, 10, [1, 1]), calibrateResult, 2);
    expect(roundTrip(done)).toEqual(done);
    const partly = withStatus(
      evaluation,
      { done: 0.5, phase: 'x', partial: { rows: evaluateResult.rows } },
      9,
    );
    expect(roundTrip(partly)).toEqual(partly);
    const evaluated = finished(partly, evaluateResult, 2);
    expect(roundTrip(evaluated)).toEqual(evaluated);
  });

  it('loses what a later version added, and nothing else', () => {
    expect(roundTrip({ ...fresh, mood: 'happy' })).toEqual(fresh);
  });

  it('of the first schema is taken without its place and losses', () => {
    const { series: _, crashes: _crashes, ...common } = fresh;
    const old = { ...common, schema_version: 1, crashes: { total: 3, block: 2, atBlock: 1 }, progress: 0.5 };
    const calibration = {
      ...old,
      at: { block: 2, blocks: 4, epoch: 1, epochs: 3 },
      groups: [[7, 8]],
      losses: [{ block: 0, epoch: 0, losses: [1] }],
    };
    expect(roundTrip(calibration)).toEqual({
      ...fresh,
      request: { ...fresh.request, method: 'quept' },
      progress: 0.5,
      crashes: { total: 3, place: 2, atPlace: 1 },
    });
    // There was one method, whose options stood among the others.
    const options = { groups: [[8], [4, 3]], rank: 8, rateLora: 0.001, guard: 'off' };
    const flat = { ...fresh.request, samples: 64, recipe: 'paper', ...options };
    expect(roundTrip({ ...old, request: flat }).request).toEqual({
      ...fresh.request,
      samples: 64,
      recipe: 'paper',
      method: 'quept',
      options,
    });
    const { rows } = evaluateResult;
    const { request } = evaluation;
    expect(roundTrip({ ...old, kind: 'evaluate', request, rows })).toMatchObject({ partial: { rows } });
  });

  it.each<[object, string]>([
    [
      { kind: 'dance' },
      'x.json: "kind" must be one of "calibrate", "evaluate", "sensitivity", "export", "get", found "dance".',
    ],
    [{ progress: 2 }, 'x.json: "progress" must be a number from 0 to 1, found 2.'],
    [{ request: { model: 'vit' } }, 'x.json: request: "model" must be an absolute path, found "vit".'],
    [{ series: [{ place: 0 }] }, 'x.json: series[0]: "points" must be a list, found nothing.'],
    [{ crashes: null }, 'x.json: crashes: must be a JSON object, found null.'],
    [{ schema_version: 1, crashes: null }, 'x.json: crashes: must be a JSON object, found null.'],
    [{ schema_version: 3 }, 'x.json: of another version of Elastic Precision (schema 3).'],
  ])('is refused with %j', (change, message) => {
    expect(() => roundTrip({ ...fresh, ...change })).toThrow(message);
  });
});
