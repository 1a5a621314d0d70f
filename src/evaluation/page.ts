/** One evaluation from choice to result, as its page shows it. Knows no editor. */
import { basename, dirname, join } from 'node:path';
import type {
  EvaluationReport,
  EvaluationTask,
  MethodReport,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import type { ChooseData, Choices, Result, Run, View } from '../../webview/evaluation/protocol.js';
import type { Connection } from '../common/connection.js';
import { createEmitter, type Disposable, type Event } from '../common/event.js';
import { modelName } from '../models/names.js';
import { followRun } from './run.js';
import { findBaselineData, setupOf } from './setup.js';
import type { SavedPage, Surroundings } from './surroundings.js';

export interface EvaluationPage extends Disposable {
  /** The whole view may have changed. */
  readonly onDidChange: Event<void>;
  readonly onDidProgress: Event<Run>;
  readonly saved: () => SavedPage;
  view(): Promise<View>;
  setData(use: ChooseData['use'], path: string): void;
  remember(choices: Choices): void;
  /** The next four reject with one line for people. */
  start(choices: Choices): Promise<void>;
  cancel(): Promise<void>;
  /** Runs again what was interrupted, cancelled or failed. */
  again(): Promise<void>;
}

export function createPage(initial: SavedPage, around: Surroundings): EvaluationPage {
  const { connection, adapters } = around;
  const changed = createEmitter<void>();
  const progressed = createEmitter<Run>();
  const { job: begun, ...rest } = initial;
  let saved: Omit<SavedPage, 'job'> = rest;
  let methods: Promise<readonly MethodReport[]> | undefined;
  /** Adapter sets and plans by the names that the page has for them, as it sees no path. */
  const paths = new Map<string, string>();
  const idOf = (path: string): string => {
    for (const [id, known] of paths) if (known === path) return id;
    const id = `path-${paths.size}`;
    paths.set(id, path);
    return id;
  };
  const run = followRun(connection, begun, {
    changed: () => changed.fire(),
    progressed: (now) => progressed.fire(now),
    finished: (result) => {
      saved = { ...saved, result };
      adapters.refresh();
      changed.fire();
    },
  });

  async function view(): Promise<View> {
    const ended = await run.find();
    if (ended !== undefined) saved = { ...saved, result: ended };
    const [model, report] = await Promise.all([
      findModel(around, saved.model),
      findResult(connection, saved.result),
    ]);
    const result = report && resultOf(report);
    const shown = run.shown();
    const problem = model ? (around.trusted() ? undefined : around.words.untrusted) : around.words.gone;
    return {
      locale: around.locale,
      model: {
        name: model ? modelName(model) : basename(saved.model),
        task: model ? taskOf(model) : (result?.task ?? 'image-classification'),
        details: model ? around.words.details(model) : '',
      },
      ...(model && { methods: await titlesOf() }),
      ...(model && problem === undefined
        ? { setup: await setupOf(around, model, saved, await methodsOf(), idOf) }
        : { reason: problem ?? around.words.gone }),
      ...(shown && { run: shown }),
      ...(result && { result }),
    };
  }

  /** Asked once; they are those of the model. */
  function methodsOf(): Promise<readonly MethodReport[]> {
    methods ??= connection
      .request('calibrate/methods', { path: saved.model })
      .then((answer) => answer.methods)
      .catch((error: unknown) => {
        methods = undefined;
        throw error;
      });
    return methods;
  }

  /** Where they cannot be had, rows go by the names of methods. */
  async function titlesOf(): Promise<Record<string, string>> {
    const known = await methodsOf().catch(() => []);
    return Object.fromEntries(known.map(({ name, title }) => [name, title]));
  }

  function remember({ sets, bits, plans, baselines, limit, length }: Choices): void {
    const pathsOf = (ids: readonly string[]) => ids.flatMap((id) => paths.get(id) ?? []);
    saved = {
      ...without(without(saved, 'limit'), 'length'),
      sets: pathsOf(sets),
      bits,
      plans: pathsOf(plans),
      baselines,
      ...(limit !== undefined && { limit }),
      ...(length !== undefined && { length }),
    };
  }

  async function start(choices: Choices): Promise<void> {
    if (!around.trusted()) throw new Error(around.words.untrusted);
    remember(choices);
    const { model, data, sets, bits, plans = [], limit, length } = saved;
    const [first] = sets;
    if (first === undefined || data === undefined || bits === undefined) throw new Error(around.words.gone);
    const { baselines = [] } = (await view()).setup ?? {};
    const compared = baselines.filter(({ chosen }) => chosen);
    const baselineData = compared.some(({ needsData }) => needsData)
      ? await findBaselineData(connection, saved)
      : undefined;
    const { device, threads } = around.placement();
    const name = fileName(around.now());
    const { job: record } = await connection.request('jobs/start', {
      kind: 'evaluate',
      request: {
        model,
        data,
        adapters: sets,
        ...(bits.length > 0 && { bits }),
        ...(plans.length > 0 && { plans }),
        device,
        save: name,
        ...(threads > 0 && { threads }),
        ...(limit !== undefined && { limit }),
        ...(length !== undefined && { length }),
        ...(compared.length > 0 && { baseline: compared.map(({ name }) => name) }),
        ...(baselineData !== undefined && { baselineData }),
      },
    });
    await run.begin(record, join(first, 'evaluations', `${name}.json`));
  }

  return {
    onDidChange: changed.event,
    onDidProgress: progressed.event,
    saved: () => {
      const job = run.saved();
      return { ...saved, ...(job && { job }) };
    },
    view,
    remember,
    setData: (use, path) => {
      saved = { ...saved, ...(use === 'evaluation' ? { data: path } : { baselineData: path }) };
    },
    start,
    cancel: () => run.cancel(),
    again: () => run.again(),
    dispose: () => run.dispose(),
  };
}

async function findModel({ models }: Surroundings, path: string): Promise<SupportedModel | undefined> {
  const model = (await models.all()).find((other) => other.path === path);
  return model?.supported ? model : undefined;
}

/** The saved evaluation at a path; undefined where it is gone or cannot be read. */
async function findResult(connection: Connection, path: string | undefined) {
  if (path === undefined) return undefined;
  const folders = [dirname(dirname(path))];
  const { evaluations } = await connection.request('evaluations/list', { folders });
  const report = evaluations.find((other) => other.path === path);
  return report?.readable ? report : undefined;
}

const taskOf = (model: SupportedModel): EvaluationTask =>
  model.task === 'image-classification' ? 'image-classification' : 'perplexity';

function resultOf({ name, modified, evaluation }: Extract<EvaluationReport, { readable: true }>): Result {
  const { task, data, device, seconds, skipped, skippedCount, rows } = evaluation.result;
  return { name, task, data, device, seconds, rows, skipped: skippedCount ?? skipped.length, date: modified };
}

/** Such as `2025-11-24 22-31-05`, in local time: sorts by time, and is a file name everywhere. */
export function fileName(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join('-')}`;
}

function without<T extends object, K extends keyof T>(object: T, key: K): Omit<T, K> {
  const { [key]: _, ...rest } = object;
  return rest;
}
