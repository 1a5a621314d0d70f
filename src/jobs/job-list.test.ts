import { describe, expect, it } from 'vitest';
import type { JobRecord, JobState, ResultOf } from '../../engine/protocol/protocol.js';
import { fakeConnection } from '../common/testing.js';
import {
  actionsOf,
  createJobList,
  latestFigures,
  promisedFolders,
  worksWith,
  type JobChange,
} from './job-list.js';
import { calibration, evaluation, exporting, sensitivity } from './testing.js';

const ids = (jobs: readonly JobRecord[]) => jobs.map(({ id }) => id).join('');

describe('createJobList', () => {
  it('shows what runs, what waits in its order, what needs attention, and the latest of the rest', async () => {
    const jobs = [
      calibration('a', 'finished', { ended: 1 }),
      calibration('b', 'cancelled', { ended: 2 }),
      calibration('c', 'failed'),
      calibration('d', 'queued', { created: 5 }),
      calibration('e', 'interrupted'),
      calibration('f', 'queued', { created: 4 }),
      evaluation('g', 'running'),
    ];
    const list = createJobList(fakeConnection({ 'jobs/list': () => ({ jobs }) }));
    expect(ids(await list.all())).toBe('gfdecba');
  });

  it('follows notifications and says what a job was before', async () => {
    const connection = fakeConnection({ 'jobs/list': () => ({ jobs: [calibration('a', 'queued')] }) });
    const list = createJobList(connection);
    await list.all();
    const changes: (JobChange | undefined)[] = [];
    list.onDidChange((change) => changes.push(change));
    connection.notify('jobs/changed', { job: calibration('a', 'running') });
    connection.notify('jobs/changed', { job: calibration('b', 'queued') });
    connection.notify('jobs/removed', { id: 'a' });
    expect(changes.map((c) => [c?.before?.state, c?.job?.state])).toEqual([
      ['queued', 'running'],
      [undefined, 'queued'],
      ['running', undefined],
    ]);
    expect(ids(list.known())).toBe('b');
    expect(list.get('a')).toBeUndefined();
  });

  it('does not let an answer that was on its way undo newer news', async () => {
    let answer!: (result: ResultOf<'jobs/list'>) => void;
    const connection = fakeConnection({ 'jobs/list': () => new Promise((resolve) => (answer = resolve)) });
    const list = createJobList(connection);
    const all = list.all();
    connection.notify('jobs/changed', { job: calibration('a', 'finished') });
    connection.notify('jobs/removed', { id: 'b' });
    answer({ jobs: [calibration('a', 'running'), calibration('b', 'failed'), calibration('c', 'queued')] });
    expect((await all).map(({ id, state }) => id + state)).toEqual(['cqueued', 'afinished']);
  });

  it('asks again after a failure and after a refresh', async () => {
    let answers = 0;
    const connection = fakeConnection({
      'jobs/list': () => {
        answers += 1;
        if (answers === 1) throw new Error('The engine stopped.');
        return { jobs: [] };
      },
    });
    const list = createJobList(connection);
    await expect(list.all()).rejects.toThrow('stopped');
    await list.all();
    await list.all();
    expect(answers).toBe(2);
    list.refresh();
    await list.all();
    expect(answers).toBe(3);
  });
});

describe('actionsOf', () => {
  const actions = (state: JobState, more: { resumable?: boolean; elsewhere?: boolean } = {}) =>
    Object.entries(actionsOf(calibration('a', state, more)))
      .filter(([, can]) => can)
      .map(([name]) => name)
      .join(' ');

  it('depend on the state', () => {
    expect(actions('queued')).toBe('cancel');
    expect(actions('running', { resumable: true })).toBe('cancel');
    expect(actions('running', { elsewhere: true })).toBe('');
    expect(actions('interrupted', { resumable: true })).toBe('resume retry remove');
    expect(actions('cancelled')).toBe('retry remove');
    expect(actions('failed', { resumable: true })).toBe('resume retry remove');
    expect(actions('finished')).toBe('remove');
  });
});

describe('worksWith', () => {
  const set = '/models/vit/adapters/elastic';
  const request = { model: '/models/vit', data: '/data' };
  it.each([
    ['a calibration that makes it', calibration('1', 'running'), true],
    [
      'an evaluation of it',
      evaluation('1', 'running', { request: { ...request, adapters: ['/other', set] } }),
      true,
    ],
    ['an evaluation of none', evaluation('1', 'running'), false],
    [
      'a measurement of its layers',
      sensitivity('1', 'running', { request: { ...request, adapters: set } }),
      true,
    ],
    ['a measurement of another', sensitivity('1', 'running'), false],
  ])('%s', (_, job, expected) => expect(worksWith(job, set)).toBe(expected));
});

it('promisedFolders are those of calibrations and exports that are still to end', () => {
  const out = (name: string) => ({ request: { model: '/models/vit', data: '/data', out: `/sets/${name}` } });
  const states = ['queued', 'running', 'finished', 'failed', 'cancelled', 'interrupted'] as const;
  const jobs = states.map((state) => calibration(state, state, out(state)));
  const others = [evaluation('1', 'running'), exporting('2', 'queued'), exporting('3', 'finished')];
  expect(promisedFolders([...jobs, ...others])).toEqual(['/sets/queued', '/sets/running', '/out/vit.txt']);
});

it('latestFigures are those of the last place', () => {
  const [early, late] = [0.3, 0.2].map((value) => [{ label: 'loss at 7/8 bits', value }]);
  const series = [
    { place: 0, points: early! },
    { place: 1, points: late! },
  ];
  expect(latestFigures(calibration('a', 'running', { series }))).toEqual(late);
  expect(latestFigures(evaluation('a', 'running'))).toEqual([]);
});
