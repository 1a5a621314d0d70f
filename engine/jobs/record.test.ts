import { describe, expect, it } from 'vitest';
import {
  crashed,
  newRecord,
  parseRecord,
  restarted,
  resumed,
  stopped,
  withCalibrationStatus,
  type StoredCalibrateJob,
} from './record.js';
import { calibrateResult, evaluateResult, statusAt } from './testing.js';

const fresh = newRecord(
  { kind: 'calibrate', request: { model: '/models/vit', data: '/data', out: '/out' } },
  'lq2x0000-00000001',
  5,
) as StoredCalibrateJob;
const at = (block: number, epoch: number, losses?: number[], job = fresh) =>
  withCalibrationStatus(job, statusAt(block, epoch, losses), undefined);

describe('the curve of losses', () => {
  const pointsOf = (job: StoredCalibrateJob) =>
    job.losses.map(({ block, epoch, losses }) => [block, epoch, ...losses]);

  it('has a point for every epoch that is done', () => {
    let job = at(0, 0);
    for (const [block, epoch, losses] of [
      [0, 1, [5, 6]],
      [0, 2, [4, 5]],
      [1, 0, undefined],
      [1, 1, [9, 9]],
    ] as const)
      // prettier-ignore
      for (let step = 0; step < 3; step++) job = at(block, epoch, losses && [...losses], job);
    expect(pointsOf(job)).toEqual([[0, 0, 5, 6], [0, 1, 4, 5], [1, 0, 9, 9]]); // prettier-ignore
  });

  it('goes on from where a resumed job begins', () => {
    let job = at(0, 3, [1, 1], at(0, 2, [2, 2], at(0, 1, [3, 3])));
    // What it had kept ended with the first epoch.
    job = at(0, 2, [2.5, 2.5], at(0, 1, [3, 3], job));
    expect(pointsOf(job)).toEqual([[0, 0, 3, 3], [0, 1, 2.5, 2.5]]); // prettier-ignore
  });
});

describe('a stopped job', () => {
  it.each([
    ['nothing kept', undefined, { block: 0, epoch: 0 }, 0],
    ['nothing finished', { blocks: 0, epochs: 0 }, { block: 0, epoch: 0 }, 0],
    ['in the middle', { blocks: 2, epochs: 5 }, { block: 2, epoch: 5 }, 0.625],
    ['all blocks learned', { blocks: 4, epochs: 0 }, { block: 3, epoch: 10 }, 1],
    ['files of another model', { blocks: 9, epochs: 99 }, { block: 3, epoch: 10 }, 1],
  ])('has the progress that was kept: %s', (_, made, place, progress) => {
    const job = stopped(at(2, 9, [1, 1]), 'cancelled', 7, made) as StoredCalibrateJob;
    expect(job).toMatchObject({ state: 'cancelled', ended: 7, progress, resumable: true });
    expect(job.at).toMatchObject(place);
  });

  it('can be resumed unless it failed before there was anything to go on from', () => {
    expect(stopped(fresh, 'failed', 7, undefined, 'No.')).toMatchObject({ resumable: false, error: 'No.' });
    expect(stopped(fresh, 'failed', 7, { blocks: 0, epochs: 0 })).toMatchObject({ resumable: true });
    expect(stopped(fresh, 'interrupted', 7, undefined)).toMatchObject({ resumable: true, progress: 0 });
  });
});

it('crashes are counted at the block where they happen', () => {
  const crashesOf = (blocks: number[]) =>
    blocks.reduce((job, block) => crashed(at(block, 1, undefined, job)), fresh).crashes;
  expect(crashesOf([0])).toEqual({ total: 1, block: 0, atBlock: 1 });
  expect(crashesOf([0, 0])).toEqual({ total: 2, block: 0, atBlock: 2 });
  expect(crashesOf([0, 3])).toEqual({ total: 2, block: 3, atBlock: 1 });
  expect(crashesOf([3, 3, 2, 3])).toEqual({ total: 4, block: 3, atBlock: 1 });
});

it('a job queued again keeps its progress where it is resumed, and nothing where it is retried', () => {
  const job = stopped(crashed(at(2, 3, [1, 1])), 'interrupted', 7, { blocks: 2, epochs: 3 }, 'Crashed.');
  const again = resumed(job as StoredCalibrateJob);
  expect(again).toMatchObject({ state: 'queued', progress: job.progress, request: { resume: true } });
  expect(again).toMatchObject({ crashes: { total: 1 }, losses: [{ block: 2, epoch: 2 }] });
  for (const key of ['error', 'ended', 'started']) expect(again).not.toHaveProperty(key);
  expect(restarted(job)).toEqual(fresh);
});

describe('a record read back', () => {
  const roundTrip = (job: object) =>
    parseRecord(JSON.parse(JSON.stringify({ schema_version: 1, ...job })) as unknown, 'x.json');

  it('is what was written', () => {
    const finished = {
      ...at(3, 10, [1, 1]),
      state: 'finished',
      started: 1,
      ended: 2,
      result: calibrateResult,
    };
    expect(roundTrip(finished)).toEqual(finished);
    const evaluation = newRecord({ kind: 'evaluate', request: { model: '/m', data: '/d' } }, 'i', 1);
    const evaluated = { ...evaluation, rows: evaluateResult.rows, result: evaluateResult };
    expect(roundTrip(evaluated)).toEqual(evaluated);
  });

  it('loses what a later version added, and nothing else', () => {
    expect(roundTrip({ ...fresh, mood: 'happy' })).toEqual(fresh);
  });

  it.each<[object, string]>([
    [{ kind: 'dance' }, 'x.json: "kind" must be one of "calibrate", found "dance".'],
    [{ progress: 2 }, 'x.json: "progress" must be a number from 0 to 1, found 2.'],
    [{ request: { model: 'vit' } }, 'x.json: request: "model" must be an absolute path, found "vit".'],
    [{ losses: [{ block: 0, epoch: 0 }] }, 'x.json: losses[0]: "losses" must be a list, found nothing.'],
    [{ crashes: null }, 'x.json: crashes: must be a JSON object, found null.'],
    [{ schema_version: 2 }, 'x.json: of another version of Elastic Precision (schema 2).'],
  ])('is refused with %j', (change, message) => {
    expect(() => roundTrip({ ...fresh, ...change })).toThrow(message);
  });
});
