import { describe, expect, it } from 'vitest';
import type {
  AdapterSetReport,
  EvaluationReport,
  ReadableAdapterSet,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import { fakeConnection } from '../common/testing.js';
import { createModelList } from '../models/model-list.js';
import { createAdapterList, summarizeGroups } from './adapter-list.js';

const model = (path: string): SupportedModel => ({
  path,
  name: path.slice(1),
  supported: true,
  family: 'vit',
  task: 'image-classification',
  blocks: 6,
  layers: 36,
  parameters: 1e6,
  bytes: 4e6,
});
const config = {} as ReadableAdapterSet['config'];
const set = (path: string, of?: string): AdapterSetReport => ({
  path,
  name: path.slice(1),
  modified: 0,
  readable: true,
  bytes: 1,
  matches: true,
  config,
  groupSizes: {},
  ...(of !== undefined && { model: of }),
});
const evaluation = (folder: string, name: string): EvaluationReport => ({
  path: `${folder}/evaluations/${name}.json`,
  name,
  folder,
  modified: 0,
  readable: false,
  reason: 'No.',
});

function listOf(sets: AdapterSetReport[], evaluations: EvaluationReport[] = []) {
  const connection = fakeConnection({
    'models/list': () => ({
      models: [
        model('/a'),
        { path: '/broken', name: 'broken', supported: false, reason: 'No.' },
        model('/b'),
      ],
    }),
    'adapters/list': () => ({ sets }),
    'evaluations/list': () => ({ evaluations }),
  });
  const folders = () => Promise.resolve(['/']);
  return { connection, list: createAdapterList(connection, createModelList(connection, folders), folders) };
}

describe('createAdapterList', () => {
  it('puts sets under their model, in the order of the models, and the rest last', async () => {
    const { list } = listOf([
      set('/1', '/b'),
      set('/2', '/a'),
      set('/3'),
      set('/4', '/a'),
      set('/5', '/broken'),
    ]);
    const found = (await list.all()).map(({ model, sets }) => [model?.path, ...sets.map((s) => s.set.path)]);
    expect(found).toEqual([
      ['/a', '/2', '/4'],
      ['/b', '/1'],
      [undefined, '/3', '/5'],
    ]);
  });

  it('asks with the models that can have sets', async () => {
    const { list, connection } = listOf([set('/1', '/a')]);
    await list.all();
    const params = connection.requests.map(({ params }) => params);
    expect(params.slice(1)).toEqual([
      { folders: ['/'], models: ['/a', '/b'] },
      { folders: ['/a', '/b', '/1'] },
    ]);
  });

  it('gives evaluations to the set, or to the model, that they lie beside', async () => {
    const { list } = listOf([set('/1', '/a')], [evaluation('/1', 'x'), evaluation('/b', 'y')]);
    const found = (await list.all()).map(({ sets, evaluations }) => [
      sets.map((s) => s.evaluations.map((e) => e.name)),
      evaluations.map((e) => e.name),
    ]);
    expect(found).toEqual([
      [[['x']], []],
      [[], ['y']],
    ]);
  });

  it('reads once until it is refreshed', async () => {
    const { list, connection } = listOf([]);
    await list.all();
    await list.all();
    const before = connection.requests.length;
    list.refresh();
    await list.all();
    expect(connection.requests.length).toBe(before + 2);
  });
});

describe('summarizeGroups', () => {
  const groups = [
    { bits: [7, 8], rank: 16, gain: 1 },
    { bits: [4], rank: 48, gain: 0 },
  ];

  it('averages each group over the blocks', () => {
    const losses = [
      { block: '0', first: { '7,8': 0.2, '4': 1 }, last: { '7,8': 0.1, '4': 0.5 } },
      { block: '1', first: { '7,8': 0.4, '4': 3 }, last: { '7,8': 0.3, '4': 1.5 } },
    ];
    const [high, low] = summarizeGroups(groups, losses);
    expect(high).toMatchObject({ bits: [8, 7], rank: 16, keptStart: false });
    expect(high!.first).toBeCloseTo(0.3);
    expect(high!.last).toBeCloseTo(0.2);
    expect(low).toEqual({ bits: [4], rank: 48, keptStart: true, first: 2, last: 1 });
  });

  it('gives the parts of a divided group the losses of the whole', () => {
    const losses = [{ block: '0', first: { '4,7,8': 0.2 }, last: { '4,7,8': 0.1 } }];
    expect(summarizeGroups(groups, losses).map(({ last }) => last)).toEqual([0.1, 0.1]);
  });

  it('says nothing of losses that nobody recorded', () => {
    expect(summarizeGroups(groups, [])[0]).toMatchObject({ first: undefined, last: undefined });
  });
});
