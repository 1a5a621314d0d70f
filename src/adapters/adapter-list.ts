/** Adapter sets by the model they belong to, with their saved evaluations. Knows no editor. */
import type {
  AdapterSetReport,
  EvaluationReport,
  ModelReport,
  ReadableAdapterSet,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import type { Connection } from '../common/connection.js';
import { createEmitter, type Event } from '../common/event.js';
import type { ModelList } from '../models/model-list.js';

/** A model and what belongs to it. */
export interface ModelAdapters {
  /** Undefined for sets of a model that is not there. */
  readonly model: SupportedModel | undefined;
  readonly sets: readonly AdapterSetEntry[];
  /** Of the model without an adapter set. */
  readonly evaluations: readonly EvaluationReport[];
}

export interface AdapterSetEntry {
  readonly set: AdapterSetReport;
  /** Newest first: its own, and those of the model's other sets that it was compared in. */
  readonly evaluations: readonly EvaluationReport[];
}

export interface AdapterList {
  readonly onDidChange: Event<void>;
  /** Fires with what was read. */
  readonly onDidRead: Event<readonly ModelAdapters[]>;
  /** Models in the order of the model list; those without adapter sets and evaluations are left out. */
  all(): Promise<readonly ModelAdapters[]>;
  /** Reads again, where somebody has read before, and tells then. */
  refresh(): void;
}

/** The bit-widths that a set holds, high to low. */
export const offeredBits = ({ facts }: ReadableAdapterSet): readonly number[] => facts.offered;

/** @param folders absolute; searched for adapter sets with everything below */
export function createAdapterList(
  connection: Connection,
  models: ModelList,
  folders: () => Promise<readonly string[]>,
): AdapterList {
  const changed = createEmitter<void>();
  const read = createEmitter<readonly ModelAdapters[]>();
  let reading: Promise<readonly ModelAdapters[]> | undefined;

  async function ask(): Promise<readonly ModelAdapters[]> {
    const where = await folders();
    if (where.length === 0) return [];
    const checkpoints = (await models.all()).filter(isSupported);
    const paths = checkpoints.map(({ path }) => path);
    const { sets } = await connection.request('adapters/list', { folders: where, models: paths });
    const { evaluations } = await connection.request('evaluations/list', {
      folders: [...paths, ...sets.map(({ path }) => path)],
    });
    return group(checkpoints, sets, evaluations);
  }

  function start(): Promise<readonly ModelAdapters[]> {
    const run = ask();
    reading = run;
    run.then(
      (owners) => read.fire(owners),
      () => {
        if (reading === run) reading = undefined;
      },
    );
    return run;
  }

  return {
    onDidChange: changed.event,
    onDidRead: read.event,
    all: () => reading ?? start(),
    refresh: () => {
      if (!reading) return changed.fire();
      // A view that is told before there is anything to show forgets what is selected in it meanwhile.
      const run = start();
      const tell = () => {
        if (reading === run || reading === undefined) changed.fire();
      };
      run.then(tell, tell);
    },
  };
}

const isSupported = (model: ModelReport): model is SupportedModel => model.supported;

/** An evaluation names sets as its rows do, and lies in the folder of the first. */
const compares = (report: EvaluationReport, name: string): boolean =>
  report.readable && report.evaluation.adapters.slice(1).some(({ label }) => label === name);

function group(
  models: readonly SupportedModel[],
  sets: readonly AdapterSetReport[],
  evaluations: readonly EvaluationReport[],
): readonly ModelAdapters[] {
  const evaluationsOf = (folder: string) => evaluations.filter((report) => report.folder === folder);
  const known = new Set(models.map(({ path }) => path));
  const modelOf = (set: AdapterSetReport) =>
    set.readable && set.model && known.has(set.model) ? set.model : '';
  const entriesOf = (path: string) => {
    const own = sets.filter((set) => modelOf(set) === path);
    const folders = new Set(own.map((set) => set.path));
    const beside = evaluations.filter((report) => folders.has(report.folder));
    return own.map((set) => ({
      set,
      evaluations: beside.filter((report) => report.folder === set.path || compares(report, set.name)),
    }));
  };
  return [...models, undefined]
    .map((model) => ({
      model,
      sets: entriesOf(model?.path ?? ''),
      evaluations: model ? evaluationsOf(model.path) : [],
    }))
    .filter((entry) => entry.sets.length > 0 || entry.evaluations.length > 0);
}
