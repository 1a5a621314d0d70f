/** One evaluation from choice to result, as its page shows it. Knows no editor. */
import { basename, dirname, join } from 'node:path';
import type {
  CalibrateJob,
  DeviceChoice,
  EvaluateJob,
  EvaluationReport,
  EvaluationTask,
  JobRecord,
  MethodReport,
  Mode,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import type {
  BaselineChoice,
  ChooseData,
  Choices,
  Result,
  Run,
  SetChoice,
  Setup,
  View,
} from '../../webview/evaluation/protocol.js';
import { offeredBits, type AdapterList, type AdapterSetEntry } from '../adapters/adapter-list.js';
import type { Connection } from '../common/connection.js';
import { createEmitter, type Disposable, type Event } from '../common/event.js';
import type { ModelList } from '../models/model-list.js';
import { modelName } from '../models/names.js';

/** All that a session needs to come back after a reload: plain JSON. Paths are absolute. */
export interface SavedSession {
  readonly model: string;
  /** Folders of the chosen adapter sets. */
  readonly sets: readonly string[];
  readonly data?: string;
  readonly bits?: readonly number[];
  /** Names of the methods to compare with. */
  readonly baselines: readonly string[];
  /** What they are calibrated on, where that was chosen. */
  readonly baselineData?: string;
  readonly limit?: number;
  /** The run, until its result is there. */
  readonly job?: { readonly id: string; readonly result: string };
  /** The file of the result. */
  readonly result?: string;
}

export interface Surroundings {
  readonly connection: Connection;
  readonly models: Pick<ModelList, 'all'>;
  readonly adapters: Pick<AdapterList, 'all' | 'refresh'>;
  readonly locale: string;
  readonly trusted: () => boolean;
  /** What the settings say at the time of a run; 0 threads leaves them to the engine. */
  readonly placement: () => { readonly device: DeviceChoice; readonly threads: number };
  readonly now: () => Date;
  /** In the language of the editor. */
  readonly words: {
    readonly details: (model: SupportedModel) => string;
    readonly gone: string;
    readonly untrusted: string;
    readonly changed: string;
  };
}

export interface EvaluationSession extends Disposable {
  /** The whole view may have changed. */
  readonly onDidChange: Event<void>;
  readonly onDidProgress: Event<Run>;
  readonly saved: () => SavedSession;
  view(): Promise<View>;
  setData(use: ChooseData['use'], path: string): void;
  remember(choices: Choices): void;
  /** The next four reject with one line for people. */
  start(choices: Choices): Promise<void>;
  cancel(): Promise<void>;
  /** Runs again what was interrupted, cancelled or failed. */
  again(): Promise<void>;
}

export function createSession(initial: SavedSession, around: Surroundings): EvaluationSession {
  const { connection, adapters } = around;
  const changed = createEmitter<void>();
  const progressed = createEmitter<Run>();
  let saved = initial;
  /** The newest record of the run. */
  let job: EvaluateJob | undefined;
  let methods: Promise<readonly MethodReport[]> | undefined;
  /** Other jobs of this engine that run now: what a queued one waits for. */
  const others = new Set<string>();
  const waits = () => others.size > 0;
  /** Adapter sets by the names that the page has for them, as it sees no path. */
  const paths = new Map<string, string>();
  const idOf = (path: string): string => {
    for (const [id, known] of paths) if (known === path) return id;
    const id = `set-${paths.size}`;
    paths.set(id, path);
    return id;
  };

  const subscriptions = [
    connection.onNotification('jobs/changed', ({ job: record }) => {
      if (record.id !== saved.job?.id || record.kind !== 'evaluate') return noteOther(record);
      const before = job?.state;
      job = record;
      if (record.state === 'finished') return finish(saved.job.result);
      // At once: the whole view may be long in coming from an engine that has begun to work.
      progressed.fire(runOf(record, waits()));
      if (record.state !== before) changed.fire();
    }),
    connection.onNotification('jobs/removed', ({ id }) => {
      if (id === saved.job?.id) forgetRun();
    }),
  ];

  function noteOther({ id, state, elsewhere }: JobRecord): void {
    const before = waits();
    if (state === 'running' && !elsewhere) others.add(id);
    else others.delete(id);
    if (job?.state === 'queued' && waits() !== before) progressed.fire(runOf(job, waits()));
  }

  function finish(result: string): void {
    saved = { ...without(saved, 'job'), result };
    job = undefined;
    adapters.refresh();
    changed.fire();
  }

  function forgetRun(): void {
    saved = without(saved, 'job');
    job = undefined;
    changed.fire();
  }

  /** Asks for the record of a run that was begun before this session. */
  async function findRun(): Promise<void> {
    if (saved.job === undefined || job !== undefined) return;
    const { id, result } = saved.job;
    const { jobs } = await connection.request('jobs/list', {});
    jobs.forEach((other) => other.id !== id && noteOther(other));
    if (saved.job?.id !== id || job) return;
    const record = jobs.find((other): other is EvaluateJob => other.id === id && other.kind === 'evaluate');
    if (record === undefined) saved = without(saved, 'job');
    else if (record.state === 'finished') saved = { ...without(saved, 'job'), result };
    else job = record;
  }

  async function view(): Promise<View> {
    await findRun();
    const [model, report] = await Promise.all([
      findModel(around, saved.model),
      findResult(connection, saved.result),
    ]);
    const result = report && resultOf(report);
    const problem = model ? (around.trusted() ? undefined : around.words.untrusted) : around.words.gone;
    return {
      locale: around.locale,
      model: {
        name: model ? modelName(model) : basename(saved.model),
        task: model ? taskOf(model) : (result?.task ?? 'image-classification'),
        details: model ? around.words.details(model) : '',
      },
      ...(model && problem === undefined
        ? { setup: await setup(model) }
        : { reason: problem ?? around.words.gone }),
      ...(job && { run: runOf(job, waits()) }),
      ...(result && { result }),
    };
  }

  async function setup(model: SupportedModel): Promise<Setup> {
    const entries = setsOf(await adapters.all(), saved.model);
    const baselineData = await findBaselineData(connection, saved);
    const sets = entries.map(({ set }) => ({
      id: idOf(set.path),
      name: set.name,
      chosen: saved.sets.includes(set.path),
      ...availabilityOf(set, around.words.changed),
    }));
    const chosen = sets.filter((set) => set.chosen && !set.problem);
    return {
      sets,
      bits: saved.bits ?? [...new Set(chosen.flatMap((set) => set.bits))].sort((a, b) => b - a),
      baselines: baselinesOf(model, await methodsOf(), entries, saved.baselines),
      ...(baselineData !== undefined && { baselineData: { name: basename(baselineData) } }),
      ...(saved.data !== undefined && { data: { name: basename(saved.data) } }),
      ...(saved.limit !== undefined && { limit: saved.limit }),
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

  function remember({ sets, bits, baselines, limit }: Choices): void {
    const chosen = sets.flatMap((id) => paths.get(id) ?? []);
    saved = {
      ...without(saved, 'limit'),
      sets: chosen,
      bits,
      baselines,
      ...(limit !== undefined && { limit }),
    };
  }

  async function start(choices: Choices): Promise<void> {
    if (!around.trusted()) throw new Error(around.words.untrusted);
    remember(choices);
    const { model, data, sets, bits, limit } = saved;
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
        bits,
        device,
        save: name,
        ...(threads > 0 && { threads }),
        ...(limit !== undefined && { limit }),
        ...(compared.length > 0 && { baseline: compared.map(({ name }) => name) }),
        ...(baselineData !== undefined && { baselineData }),
      },
    });
    follow(record, join(first, 'evaluations', `${name}.json`));
    // Those that began before this session listened.
    const { jobs } = await connection.request('jobs/list', {});
    jobs.forEach((other) => other.id !== record.id && noteOther(other));
  }

  function follow(record: JobRecord, result: string): void {
    saved = { ...saved, job: { id: record.id, result } };
    if (record.state === 'finished') return finish(result);
    job = record.kind === 'evaluate' ? record : undefined;
    changed.fire();
  }

  return {
    onDidChange: changed.event,
    onDidProgress: progressed.event,
    saved: () => saved,
    view,
    remember,
    setData: (use, path) => {
      saved = { ...saved, ...(use === 'evaluation' ? { data: path } : { baselineData: path }) };
    },
    start,
    cancel: async () => {
      if (saved.job) await connection.request('jobs/cancel', { id: saved.job.id });
    },
    again: async () => {
      if (saved.job === undefined) return;
      const { id, result } = saved.job;
      const method = job?.resumable ? 'jobs/resume' : 'jobs/retry';
      follow((await connection.request(method, { id })).job, result);
    },
    dispose: () => subscriptions.forEach((subscription) => subscription.dispose()),
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

const setsOf = (groups: Awaited<ReturnType<AdapterList['all']>>, model: string): readonly AdapterSetEntry[] =>
  groups.find((group) => group.model?.path === model)?.sets ?? [];

function availabilityOf(set: AdapterSetEntry['set'], changed: string): Pick<SetChoice, 'bits' | 'problem'> {
  if (!set.readable) return { bits: [], problem: set.reason };
  return { bits: offeredBits(set), ...(!set.matches && { problem: changed }) };
}

/** The methods to compare with: those that quantize what sets of the model do. */
function baselinesOf(
  { task }: SupportedModel,
  methods: readonly MethodReport[],
  entries: readonly AdapterSetEntry[],
  chosen: readonly string[],
): BaselineChoice[] {
  const found = new Set(entries.flatMap(({ set }): Mode[] => (set.readable ? [set.facts.mode] : [])));
  return methods
    .filter(
      ({ baseline, modes }) => baseline && (found.size === 0 || modes.some(({ mode }) => found.has(mode))),
    )
    .map(({ name, title, description, modes }) => ({
      name,
      title,
      hint: description,
      chosen: chosen.includes(name),
      // Pictures to calibrate on are the first of the evaluation set.
      needsData: task === 'text-generation' && modes.some(({ samples }) => samples > 0),
    }));
}

/** What was chosen, or else what one of the chosen sets was calibrated on, as long as its job is known. */
async function findBaselineData(
  connection: Connection,
  { baselineData, sets }: SavedSession,
): Promise<string | undefined> {
  if (baselineData !== undefined) return baselineData;
  const { jobs } = await connection.request('jobs/list', {});
  const made = jobs.filter(
    (job): job is CalibrateJob => job.kind === 'calibrate' && sets.includes(job.request.out),
  );
  return made.findLast((job) => job.request.data !== undefined)?.request.data;
}

const taskOf = (model: SupportedModel): EvaluationTask =>
  model.task === 'image-classification' ? 'image-classification' : 'perplexity';

/** @param waits whether another job has to end first, where it is queued */
function runOf({ state, progress, secondsLeft, error, partial }: EvaluateJob, waits: boolean): Run {
  return {
    // A finished job is a result, not a run.
    state: state === 'finished' ? 'running' : state,
    progress,
    rows: partial?.rows ?? [],
    ...(state === 'queued' && waits && { waits }),
    ...(secondsLeft !== undefined && { secondsLeft }),
    ...(error !== undefined && { error }),
  };
}

function resultOf({ name, modified, evaluation }: Extract<EvaluationReport, { readable: true }>): Result {
  const { task, data, device, seconds, skipped, rows } = evaluation.result;
  return { name, task, data, device, seconds, rows, skipped: skipped.length, date: modified };
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
