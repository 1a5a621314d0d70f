import { describe, expect, it } from 'vitest';
import type {
  AdapterSetReport,
  EvaluateJob,
  EvaluationReport,
  JobRecord,
  JobState,
  MethodReport,
  Mode,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import type { Run } from '../../webview/evaluation/protocol.js';
import { fakeConnection } from '../common/testing.js';
import { calibration } from '../jobs/testing.js';
import { createPage, fileName } from './page.js';
import type { PlanFile } from '../plans/plan-files.js';
import type { SavedPage } from './surroundings.js';

const model: SupportedModel = {
  path: '/m/vit',
  name: 'vit',
  supported: true,
  family: 'vit',
  task: 'image-classification',
  blocks: 6,
  layers: 38,
  parameters: 1_200_000,
  bytes: 4_800_000,
  warnings: [],
};
const set = (name: string, bits: number[], matches = true) =>
  ({
    path: `/m/vit/adapters/${name}`,
    name,
    modified: 0,
    readable: true,
    bytes: 1,
    matches,
    facts: { offered: bits, mode: 'weight-only' },
  }) as unknown as AdapterSetReport;
const broken: AdapterSetReport = {
  path: '/m/vit/adapters/broken',
  name: 'broken',
  modified: 0,
  readable: false,
  reason: 'Cut off.',
};
const rows = [{ label: 'full', kind: 'full', bits: 'fp', bytes: 1, samples: 9, top1: 0.9 }] as const;
const RESULT = '/m/vit/adapters/a/evaluations/2025-01-02 03-04-05.json';
const report: EvaluationReport = {
  path: RESULT,
  name: '2025-01-02 03-04-05',
  folder: '/m/vit/adapters/a',
  modified: 7,
  readable: true,
  evaluation: {
    schemaVersion: 1,
    engineVersion: '0',
    model: { family: 'vit', name: 'vit', fingerprint: '' },
    adapters: [],
    result: {
      device: 'cpu',
      task: 'image-classification',
      data: 'images',
      rows,
      seconds: 2,
      peakMemory: 1,
      skipped: [{ name: 'x', reason: 'y' }],
    },
  },
};
const job = (state: JobState, more: Partial<EvaluateJob> = {}): EvaluateJob => ({
  id: 'j',
  kind: 'evaluate',
  title: '',
  state,
  created: 0,
  progress: 0.5,
  resumable: false,
  series: [],
  partial: { rows },
  crashes: { total: 0, place: 0, atPlace: 0 },
  elsewhere: false,
  request: { model: '', data: '' },
  ...more,
});

const method = (name: string, baseline: boolean, mode: Mode, samples: number): MethodReport => ({
  name,
  title: name.toUpperCase(),
  description: `what ${name} does`,
  modes: [{ mode, bits: [8, 4], allowed: [8, 4], samples }],
  recipes: ['default'],
  options: [],
  extremes: [],
  baseline,
});
const METHODS = [
  method('quept', false, 'weight-only', 128),
  method('gptq', true, 'weight-only', 128),
  method('rounding', true, 'weight-only', 0),
  method('other', true, 'weight-activation', 0),
];

function open(
  saved: Partial<SavedPage> = {},
  more: { jobs?: JobRecord[]; trusted?: boolean; task?: SupportedModel['task']; plans?: PlanFile[] } = {},
) {
  const connection = fakeConnection({
    'jobs/list': () => ({ jobs: more.jobs ?? [] }),
    'jobs/start': () => ({ job: job('queued') }),
    'jobs/retry': () => ({ job: job('queued') }),
    'jobs/resume': () => ({ job: job('queued') }),
    'jobs/cancel': () => ({ job: job('cancelled') }),
    'evaluations/list': () => ({ evaluations: [report] }),
    'calibrate/methods': () => ({ methods: METHODS }),
  });
  const sets = [set('a', [8, 4]), set('b', [8, 6, 2]), set('stale', [8], false), broken];
  const owner = { ...model, task: more.task ?? model.task };
  let refreshed = 0;
  const page = createPage(
    { model: model.path, sets: ['/m/vit/adapters/a'], baselines: ['rounding'], ...saved },
    {
      connection,
      models: { all: () => Promise.resolve([owner]) },
      adapters: {
        all: () =>
          Promise.resolve([
            { model: owner, sets: sets.map((s) => ({ set: s, evaluations: [] })), evaluations: [] },
          ]),
        refresh: () => void refreshed++,
      },
      plans: () => Promise.resolve(more.plans ?? []),
      locale: 'en',
      trusted: () => more.trusted ?? true,
      placement: () => ({ device: 'cpu', threads: 2 }),
      now: () => new Date(2025, 0, 2, 3, 4, 5),
      words: { details: () => 'details', gone: 'gone', untrusted: 'untrusted', changed: 'changed' },
    },
  );
  const progress: Run[] = [];
  let changes = 0;
  page.onDidProgress((run) => progress.push(run));
  page.onDidChange(() => changes++);
  return { connection, page, progress, changes: () => changes, refreshed: () => refreshed };
}

/** Shows the page once, as it has ids for the sets only then. */
async function choose(page: ReturnType<typeof open>['page'], names: readonly string[]) {
  const { setup } = await page.view();
  return names.map((name) => setup!.sets.find((choice) => choice.name === name)!.id);
}

describe('the form', () => {
  it('offers the sets of the model without their paths, and says why one cannot be chosen', async () => {
    const { setup } = await open().page.view();
    expect(setup!.sets.map(({ name, chosen, bits, problem }) => [name, chosen, bits, problem])).toEqual([
      ['a', true, [8, 4], undefined],
      ['b', false, [8, 6, 2], undefined],
      ['stale', false, [8], 'changed'],
      ['broken', false, [], 'Cut off.'],
    ]);
    expect(JSON.stringify(await open({ data: '/secret/images' }).page.view())).not.toMatch(/\/(m|secret)\//);
  });

  it('starts with the bit-widths of the chosen sets, and with those chosen before', async () => {
    expect((await open().page.view()).setup!.bits).toEqual([8, 4]);
    expect((await open({ bits: [4] }).page.view()).setup!.bits).toEqual([4]);
  });

  it('is closed where the model is gone or the workspace is not trusted', async () => {
    const gone = await open({ model: '/m/other' }).page.view();
    expect(gone).toMatchObject({ reason: 'gone', model: { name: 'other' } });
    expect(gone.setup).toBeUndefined();
    expect(await open({}, { trusted: false }).page.view()).toMatchObject({ reason: 'untrusted' });
  });
});

describe('the comparison', () => {
  const baselines = ['rounding', 'gptq'];
  const made = calibration('c', 'finished', {
    request: { model: '/m/vit', data: '/d/text', out: '/m/vit/adapters/a' },
  });
  const baselineOf = async (...args: Parameters<typeof open>) => {
    const { page, connection } = open(...args);
    await page.start({ sets: await choose(page, ['a']), bits: [8], plans: [], baselines });
    return connection.requests.find(({ method }) => method === 'jobs/start')?.params;
  };

  it('offers methods that quantize what the sets do', async () => {
    const { setup } = await open({ baselines: ['gptq'] }, { task: 'text-generation' }).page.view();
    expect(setup!.baselines.map(({ name, chosen, needsData }) => [name, chosen, needsData])).toEqual([
      ['gptq', true, true],
      ['rounding', false, false],
    ]);
  });

  it('is calibrated on what was chosen, or else on what the set was, where it is text', async () => {
    const task = 'text-generation';
    expect(await baselineOf({ data: '/d' }, { task, jobs: [made] })).toMatchObject({
      request: { baseline: ['gptq', 'rounding'], baselineData: '/d/text' },
    });
    const chosen = { data: '/d', baselineData: '/d/other' };
    expect(await baselineOf(chosen, { task, jobs: [made] })).toMatchObject({
      request: { baselineData: '/d/other' },
    });
    expect(await baselineOf(chosen)).not.toHaveProperty('request.baselineData');
    const { setup } = await open({}, { task }).page.view();
    expect(setup).not.toHaveProperty('baselineData');
  });
});

describe('precision plans', () => {
  const plan = (name: string, paths: PlanFile['paths']): PlanFile => ({ path: `/w/${name}`, name, paths });
  const plans = [
    plan('any', { model: '/m/vit', adapters: undefined }),
    plan('ofA', { model: '/m/vit', adapters: '/m/vit/adapters/a' }),
    plan('setAlone', { model: undefined, adapters: '/m/vit/adapters/b' }),
    plan('other', { model: '/m/other', adapters: undefined }),
    plan('nothing', { model: undefined, adapters: undefined }),
  ];

  it('are those of the model, with the set that each names', async () => {
    const { page } = open({ plans: ['/w/ofA'] }, { plans });
    const { setup } = await page.view();
    const idOf = (name: string) => setup!.sets.find((one) => one.name === name)?.id;
    expect(setup!.plans.map(({ name, chosen, set }) => [name, chosen, set])).toEqual([
      ['any', false, undefined],
      ['ofA', true, idOf('a')],
      ['setAlone', false, idOf('b')],
    ]);
  });

  it('run without a bit-width, and windows as long as is said', async () => {
    const { page, connection } = open({ data: '/d/text' }, { plans, task: 'text-generation' });
    const { setup } = await page.view();
    expect(setup!.hasLength).toBe(true);
    const chosen = setup!.plans.filter(({ name }) => name !== 'setAlone').map(({ id }) => id);
    const sets = setup!.sets.filter(({ name }) => name === 'a').map(({ id }) => id);
    await page.start({ sets, bits: [], plans: chosen, baselines: [], length: 64 });
    const { request } = connection.requests.find(({ method }) => method === 'jobs/start')!.params as {
      request: object;
    };
    expect(request).toMatchObject({ plans: ['/w/any', '/w/ofA'], length: 64 });
    expect(request).not.toHaveProperty('bits');
  });
});

describe('a run', () => {
  it('asks the engine for what was chosen, to be kept in the first set', async () => {
    const { page, connection } = open({ data: '/d/images' });
    const sets = await choose(page, ['a', 'b']);
    await page.start({ sets, bits: [8], plans: [], baselines: ['rounding'], limit: 100 });
    expect(connection.requests.find(({ method }) => method === 'jobs/start')?.params).toEqual({
      kind: 'evaluate',
      request: {
        model: '/m/vit',
        data: '/d/images',
        adapters: ['/m/vit/adapters/a', '/m/vit/adapters/b'],
        bits: [8],
        limit: 100,
        baseline: ['rounding'],
        device: 'cpu',
        threads: 2,
        save: '2025-01-02 03-04-05',
      },
    });
    expect(page.saved()).toMatchObject({ job: { id: 'j', result: RESULT }, bits: [8] });
    expect((await page.view()).run?.state).toBe('queued');
  });

  it('is not begun in a workspace that is not trusted, nor without data', async () => {
    const choices = { sets: [], bits: [8], plans: [], baselines: [] };
    await expect(open({}, { trusted: false }).page.start(choices)).rejects.toThrow('untrusted');
    await expect(open().page.start(choices)).rejects.toThrow('gone');
  });

  it('reports progress, and a change when its state changes', async () => {
    const { page, connection, progress, changes } = open({ data: '/d' });
    await page.start({ sets: await choose(page, ['a']), bits: [8], plans: [], baselines: [] });
    const before = changes();
    connection.notify('jobs/changed', { job: job('running', { progress: 0.1 }) });
    connection.notify('jobs/changed', { job: job('running', { progress: 0.6, secondsLeft: 3 }) });
    connection.notify('jobs/changed', { job: { ...job('running'), id: 'another' } });
    expect(changes()).toBe(before + 1);
    expect(progress).toEqual([
      { state: 'running', progress: 0.1, rows },
      { state: 'running', progress: 0.6, secondsLeft: 3, rows },
    ]);
  });

  it('waits for another job only where one runs', async () => {
    const { page, connection, progress } = open({ data: '/d' });
    await page.start({ sets: await choose(page, ['a']), bits: [8], plans: [], baselines: [] });
    expect((await page.view()).run).toEqual({ state: 'queued', progress: 0.5, rows });
    const other = { ...job('running'), id: 'another' };
    connection.notify('jobs/changed', { job: other });
    expect((await page.view()).run).toMatchObject({ state: 'queued', waits: true });
    connection.notify('jobs/changed', { job: { ...other, state: 'finished' } });
    expect(progress.map(({ waits = false }) => waits)).toEqual([true, false]);
    const late = open({ data: '/d' }, { jobs: [other] });
    await late.page.start({ sets: await choose(late.page, ['a']), bits: [8], plans: [], baselines: [] });
    expect((await late.page.view()).run).toMatchObject({ state: 'queued', waits: true });
  });

  it('becomes its result when it is finished', async () => {
    const { page, connection, refreshed } = open(
      { job: { id: 'j', result: RESULT } },
      { jobs: [job('running')] },
    );
    expect((await page.view()).run?.state).toBe('running');
    connection.notify('jobs/changed', { job: job('finished') });
    const view = await page.view();
    expect(view.run).toBeUndefined();
    expect(view.result).toEqual({
      name: '2025-01-02 03-04-05',
      task: 'image-classification',
      data: 'images',
      device: 'cpu',
      seconds: 2,
      skipped: 1,
      date: 7,
      rows,
    });
    expect(refreshed()).toBe(1);
    expect(page.saved()).toMatchObject({ result: RESULT });
  });

  it('that ended, went on or was removed while the page was away is found again', async () => {
    const saved = { job: { id: 'j', result: RESULT } };
    expect((await open(saved, { jobs: [job('interrupted', { error: 'Ended.' })] }).page.view()).run).toEqual({
      state: 'interrupted',
      progress: 0.5,
      error: 'Ended.',
      rows,
    });
    expect((await open(saved, { jobs: [job('finished')] }).page.view()).result?.rows).toEqual(rows);
    expect((await open(saved).page.view()).run).toBeUndefined();
  });

  it('goes on where it can, and begins again where it cannot', async () => {
    for (const resumable of [true, false]) {
      const { page, connection } = open(
        { job: { id: 'j', result: RESULT } },
        { jobs: [job('interrupted', { resumable })] },
      );
      await page.view();
      await page.again();
      expect(connection.requests.at(-1)?.method).toBe(resumable ? 'jobs/resume' : 'jobs/retry');
    }
  });
});

it('names results by local time', () => {
  expect(fileName(new Date(2025, 10, 24, 9, 5, 7))).toBe('2025-11-24 09-05-07');
});
