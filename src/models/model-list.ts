/** The models that the engine found, and what each is made of. Knows no editor. */
import type { ModelDescription, ModelReport, UnsupportedModel } from '../../engine/protocol/protocol.js';
import type { Connection } from '../common/connection.js';
import { createEmitter, type Disposable, type Event } from '../common/event.js';

export interface ModelList extends Disposable {
  /** Models were found, have gone, or may have changed. */
  readonly onDidChange: Event<void>;
  /** Fires with the search under way. */
  readonly onDidSearch: Event<Promise<unknown>>;
  /** What is known so far; while nothing is, waits for the first model or the end of the search. */
  current(): Promise<readonly ModelReport[]>;
  /** All models, after the search. Rejects where the search failed. */
  all(): Promise<readonly ModelReport[]>;
  /** What is known now, without asking the engine. */
  known(): readonly ModelReport[];
  /** Blocks and layers of a model, or why it has none. Read once until `refresh`. */
  describe(path: string): Promise<ModelDescription | UnsupportedModel>;
  /** Forgets what is known to be true; the next question searches again. */
  refresh(): void;
}

/** @param folders absolute, searched in this order; asked for at each search */
export function createModelList(
  connection: Connection,
  folders: () => Promise<readonly string[]>,
): ModelList {
  const changed = createEmitter<void>();
  const searching = createEmitter<Promise<unknown>>();
  let models: readonly ModelReport[] = [];
  let descriptions = new Map<string, Promise<ModelDescription | UnsupportedModel>>();
  let search: Promise<readonly ModelReport[]> | undefined;
  let latest = 0;

  const subscription = connection.onNotification('models/found', ({ search: name, model }) => {
    if (name !== searchName(latest)) return;
    const at = models.findIndex(({ path }) => path === model.path);
    models = at < 0 ? [...models, model] : models.with(at, model);
    changed.fire();
  });

  function all(): Promise<readonly ModelReport[]> {
    search ??= start();
    return search;
  }

  function start(): Promise<readonly ModelReport[]> {
    latest += 1;
    const number = latest;
    const run = find(number);
    searching.fire(run);
    run.catch(() => {
      // The next question tries again, unless another search has begun since.
      if (number === latest) search = undefined;
    });
    return run;
  }

  async function find(number: number): Promise<readonly ModelReport[]> {
    const where = await folders();
    const found =
      where.length === 0
        ? []
        : (await connection.request('models/list', { folders: where, search: searchName(number) })).models;
    if (number !== latest) return all();
    models = uniqueByPath(found);
    changed.fire();
    return models;
  }

  const firstChange = () =>
    new Promise<void>((resolve) => {
      const once = changed.event(() => {
        once.dispose();
        resolve();
      });
    });

  return {
    onDidChange: changed.event,
    onDidSearch: searching.event,
    all,
    known: () => models,
    current: async () => {
      const done = all();
      if (models.length > 0) return models;
      await Promise.race([done, firstChange()]);
      return models;
    },
    describe: (path) => {
      const known = descriptions.get(path);
      if (known) return known;
      const reading = connection.request('models/describe', { path });
      descriptions.set(path, reading);
      reading.catch(() => descriptions.delete(path));
      return reading;
    },
    refresh: () => {
      search = undefined;
      descriptions = new Map();
      changed.fire();
    },
    dispose: () => subscription.dispose(),
  };
}

const searchName = (number: number) => `search-${number}`;

/** Folders to search may lie inside each other. */
function uniqueByPath(models: readonly ModelReport[]): readonly ModelReport[] {
  return [...new Map(models.map((model) => [model.path, model])).values()];
}
