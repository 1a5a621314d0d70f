import { describe, expect, it } from 'vitest';
import type { ModelReport } from '../../engine/protocol/protocol.js';
import { fakeConnection } from '../common/testing.js';
import { createModelList } from './model-list.js';

const model = (path: string): ModelReport => ({ path, name: path.slice(1), supported: false, reason: 'No.' });
const folders = (list: string[]) => () => Promise.resolve(list);
const paths = (models: readonly ModelReport[]) => models.map(({ path }) => path);

interface Search {
  readonly name: string;
  readonly end: (...found: string[]) => void;
}

/** A connection whose searches end when they are told to. */
function heldConnection() {
  const begun: Search[] = [];
  const waiting: (() => void)[] = [];
  const connection = fakeConnection({
    'models/list': ({ search }) =>
      new Promise((resolve) => {
        begun.push({ name: search!, end: (...found) => resolve({ models: found.map(model) }) });
        waiting.splice(0).forEach((check) => check());
      }),
    'models/describe': ({ path }) => ({ path, name: path, supported: false, reason: 'No.' }),
  });
  /** The search of that number, once it has been asked for. */
  const search = (number: number) =>
    new Promise<Search>((resolve) => {
      const check = () => (begun[number] ? resolve(begun[number]) : waiting.push(check));
      check();
    });
  return { connection, search };
}

describe('createModelList', () => {
  it('asks nothing before somebody looks, and then once', async () => {
    const { connection, search } = heldConnection();
    const list = createModelList(connection, folders(['/f']));
    expect(connection.requests).toHaveLength(0);
    const both = Promise.all([list.all(), list.current()]);
    (await search(0)).end('/a');
    expect((await both).map(paths)).toEqual([['/a'], ['/a']]);
    await list.all();
    expect(connection.requests).toHaveLength(1);
  });

  it('shows models as they are found', async () => {
    const { connection, search } = heldConnection();
    const list = createModelList(connection, folders(['/f']));
    const current = list.current();
    const { name, end } = await search(0);
    connection.notify('models/found', { search: name, model: model('/a') });
    expect(paths(await current)).toEqual(['/a']);
    end('/a', '/b');
    expect(paths(await list.all())).toEqual(['/a', '/b']);
  });

  it('keeps what it showed while it searches again, and ignores what an older search still finds', async () => {
    const { connection, search } = heldConnection();
    const list = createModelList(connection, folders(['/f']));
    const first = list.all();
    (await search(0)).end('/a');
    await first;
    list.refresh();
    expect(paths(await list.current())).toEqual(['/a']);
    connection.notify('models/found', { search: (await search(0)).name, model: model('/old') });
    expect(paths(list.known())).toEqual(['/a']);
    const all = list.all();
    (await search(1)).end('/c');
    expect(paths(await all)).toEqual(['/c']);
  });

  it('answers a question about an outdated search with the new one', async () => {
    const { connection, search } = heldConnection();
    const list = createModelList(connection, folders(['/f']));
    const outdated = list.all();
    const old = await search(0);
    list.refresh();
    const renewed = list.all();
    (await search(1)).end('/new');
    old.end('/old');
    expect(paths(await outdated)).toEqual(['/new']);
    expect(paths(await renewed)).toEqual(['/new']);
  });

  it('lists a model once where folders lie inside each other', async () => {
    const connection = fakeConnection({ 'models/list': () => ({ models: [model('/f/a'), model('/f/a')] }) });
    expect(paths(await createModelList(connection, folders(['/f', '/f/a'])).all())).toEqual(['/f/a']);
  });

  it('does not start the engine where there is no folder', async () => {
    const connection = fakeConnection({});
    expect(await createModelList(connection, folders([])).current()).toEqual([]);
    expect(connection.requests).toHaveLength(0);
  });

  it('tries again after a failure', async () => {
    let fails = true;
    const connection = fakeConnection({
      'models/list': () => {
        if (fails) throw new Error('The engine stopped.');
        return { models: [model('/a')] };
      },
    });
    const list = createModelList(connection, folders(['/f']));
    await expect(list.current()).rejects.toThrow('The engine stopped.');
    fails = false;
    expect(paths(await list.current())).toEqual(['/a']);
  });

  it('describes a model once until it is refreshed', async () => {
    const { connection } = heldConnection();
    const list = createModelList(connection, folders(['/f']));
    await list.describe('/a');
    await list.describe('/a');
    expect(connection.requests).toHaveLength(1);
    list.refresh();
    await list.describe('/a');
    expect(connection.requests).toHaveLength(2);
  });
});
