import { describe, expect, it } from 'vitest';
import type {
  AdapterSetReport,
  EvaluationReport,
  ReadableAdapterSet,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import { fakeConnection } from '../common/testing.js';
import { createModelList } from '../models/model-list.js';
import { createAdapterList, offeredBits } from './adapter-list.js';

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
  warnings: [],
});
const facts: ReadableAdapterSet['facts'] = {
  engineVersion: '0.1.0',
  method: { name: 'quept', title: 'QuEPT' },
  mode: 'weight-activation',
  offered: [8, 7, 4],
  model: { family: 'vit', fingerprint: 'a'.repeat(64), name: 'vit' },
  seed: 0,
  embeddingBits: 8,
  headBits: 8,
  parts: [],
};
const set = (path: string, of?: string): ReadableAdapterSet => ({
  path,
  name: path.slice(1),
  modified: 0,
  readable: true,
  bytes: 1,
  matches: true,
  facts,
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

  it('gives one that compares several sets of a model to each of them', async () => {
    const adapters = ['1', '2'].map((label) => ({ label, tensorsSha256: 'a'.repeat(64) }));
    const both = {
      ...{ path: '/1/evaluations/both.json', name: 'both', folder: '/1', modified: 0, readable: true },
      evaluation: { adapters },
    } as unknown as EvaluationReport;
    const { list } = listOf(
      [set('/1', '/a'), set('/2', '/a'), set('/3', '/a'), set('/elsewhere/2', '/b')],
      [both, evaluation('/3', 'x')],
    );
    const names = (await list.all()).map(({ sets }) => sets.map((s) => s.evaluations.map((e) => e.name)));
    expect(names).toEqual([[['both'], ['both'], ['x']], [[]]]);
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

  it('tells of a refresh once there is something new to show, and once of several', async () => {
    const { list } = listOf([]);
    let told = 0;
    list.onDidChange(() => told++);
    list.refresh();
    expect(told).toBe(1);
    await list.all();
    list.refresh();
    list.refresh();
    expect(told).toBe(1);
    await list.all();
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toBe(2);
  });
});

it('offers the bit-widths that a set says', () => {
  expect(offeredBits(set('/1'))).toEqual([8, 7, 4]);
});
