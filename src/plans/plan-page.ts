/** One page of a plan in an editor: shows the text as it is, and turns what is done on the page into edits of it. */
import { basename } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { Act, FromPage, Results, ToPage } from '../../webview/precision/protocol.js';
import type { Connection } from '../common/connection.js';
import { serve, type Handlers } from '../common/webview.js';
import { chooseEvaluationData } from '../data/remembered.js';
import type { JobList } from '../jobs/job-list.js';
import { jobSummary } from '../jobs/nodes.js';
import type { ModelList } from '../models/model-list.js';
import { editsOfChanges, editsOfBits, readDocument } from './document.js';
import type { LiveModel } from './live.js';
import { frontierPoints } from './page.js';
import type { Pins } from './pins.js';
import { planName, type Plans } from './plans.js';
import type { RunningModels } from './running.js';
import { sensitivityJobOf } from './sensitivity-job.js';
import { tableMessage } from './show-table.js';

/** What pages draw on. */
export interface PageSurroundings {
  readonly extension: vscode.ExtensionContext;
  readonly engine: Connection;
  readonly models: ModelList;
  readonly plans: Plans;
  readonly running: RunningModels;
  readonly pins: Pins;
  readonly jobs: Pick<JobList, 'known' | 'onDidChange'>;
  readonly log: vscode.LogOutputChannel;
}

export interface PlanPage extends vscode.Disposable {
  /** Shows another plan beside this one; none where it is undefined. */
  compare(other: vscode.Uri | undefined): void;
}

interface Page extends PageSurroundings {
  readonly document: vscode.TextDocument;
  /** The plan, for `running`. */
  readonly key: string;
  readonly webview: vscode.Webview;
  /** Whether the page listens. */
  ready: boolean;
  /** The table that the page has, and what surrounds it, so that it is not sent again with every edit. */
  shown: { readonly table: unknown; readonly rest: string } | undefined;
  /** What it was told last of the measurement of its layers. */
  measuring: string;
  other: vscode.Uri | undefined;
  /** Subscriptions to the running model. */
  following: readonly { dispose(): void }[];
}

export function openPlanPage(
  document: vscode.TextDocument,
  webview: vscode.Webview,
  surroundings: PageSurroundings,
): PlanPage {
  const { plans, running, jobs } = surroundings;
  const page: Page = {
    ...surroundings,
    document,
    key: document.uri.toString(),
    webview,
    ready: false,
    shown: undefined,
    measuring: '',
    other: undefined,
    following: [],
  };
  const held = running.hold(page.key);
  const subscriptions = [
    plans.onDidChange(({ uri }) => {
      if (uri.toString() === page.key) void show(page);
      else if (uri.toString() === page.other?.toString()) void showComparison(page);
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void show(page)),
    jobs.onDidChange(() => showMeasuring(page)),
    running.onDidReplace((plan) => {
      if (plan === page.key) followLive(page);
    }),
    serve<FromPage, Results>(webview, handlersOf(page)),
  ];
  return {
    compare: (other) => void compare(page, other),
    dispose: () => {
      for (const subscription of [...subscriptions, ...page.following, held]) subscription.dispose();
    },
  };
}

const handlersOf = (page: Page): Handlers<FromPage, Results> => ({
  ready: () => {
    page.ready = true;
    page.shown = undefined;
    page.measuring = '';
    void show(page);
  },
  set: ({ changes }) =>
    void page.plans.edit(page.document, (text, table) => (table ? editsOfChanges(text, table, changes) : [])),
  setAll: ({ bits }) =>
    void page.plans.edit(page.document, (text, table) => (table ? editsOfBits(text, table, bits) : [])),
  frontier: ({ pinned }) => frontier(page, pinned),
  act: ({ action }) => void act(page, action),
  pin: ({ layers }) => void page.pins.set(page.key, layers),
  try: ({ input }) => liveOf(page)?.attempt(input),
});

const ACTIONS: Readonly<Record<Act['action'], (page: Page) => unknown>> = {
  text: openText,
  problems: openText,
  jobs: () => vscode.commands.executeCommand('elasticPrecision.jobs.focus'),
  compare: (page) => runCommand(page, 'comparePlans'),
  uncompare: (page) => compare(page, undefined),
  measure,
  keep,
  unkeep: (page) => liveOf(page)?.keep(false),
  cancel: (page) => liveOf(page)?.cancel(),
  data: chooseData,
  model: (page) => runCommand(page, 'choosePlanModel'),
  adapters: (page) => runCommand(page, 'choosePlanAdapters'),
  sensitivity: (page) => runCommand(page, 'computeSensitivity'),
  stale: (page) => runCommand(page, 'computeSensitivity'),
  engine: show,
  trust: () => vscode.commands.executeCommand('workbench.trust.manage'),
};

async function act(page: Page, action: Act['action']): Promise<void> {
  try {
    await ACTIONS[action](page);
  } catch (error) {
    page.log.error(String(error));
  }
}

const liveOf = ({ running, key }: Page): LiveModel | undefined => running.of(key);

function post({ ready, webview }: Page, message: ToPage): void {
  if (ready) void webview.postMessage(message);
}

/** Shows the text as it is now, and the table where it is another. */
async function show(page: Page): Promise<void> {
  const { document, plans, running } = page;
  const plan = await plans.read(document);
  if (document.getText() !== plan.state.text) return;
  const live = running.update(page.key, plan);
  const message = tableMessage(plan, live !== undefined, page.pins.of(page.key));
  const rest = JSON.stringify({ ...message, table: undefined, strings: undefined, pinned: undefined });
  if (page.shown?.rest !== rest || page.shown.table !== plan.table) {
    page.shown = { table: plan.table, rest };
    post(page, message);
    followLive(page);
    void showComparison(page);
  }
  showMeasuring(page);
  const { bits, broken, problems } = plan.state;
  live?.follow(bits);
  post(page, {
    type: 'plan',
    bits,
    ...(broken !== undefined && { broken }),
    problems: broken === undefined ? problems.map(({ message }) => message) : [],
  });
}

function showMeasuring(page: Page): void {
  const { plans, document, jobs } = page;
  const job = sensitivityJobOf(jobs.known(), plans.known(document)?.paths.adapters);
  const message = {
    type: 'measuring' as const,
    ...(job && {
      job: { text: jobSummary(job), ...(job.state === 'running' && { share: job.progress }) },
    }),
  };
  const told = JSON.stringify(message);
  if (told === page.measuring) return;
  page.measuring = told;
  post(page, message);
}

function followLive(page: Page): void {
  for (const subscription of page.following) subscription.dispose();
  const live = liveOf(page);
  page.following = live
    ? [
        live.onDidChange((now) => post(page, { type: 'live', live: now })),
        live.onDidTry((tried) => post(page, { type: 'tried', ...tried })),
      ]
    : [];
  showLive(page);
}

function showLive(page: Page): void {
  const live = liveOf(page)?.now() ?? { state: 'closed', keep: false, measured: [] };
  post(page, { type: 'live', live });
}

function compare(page: Page, other: vscode.Uri | undefined): Promise<void> {
  page.other = other;
  return showComparison(page);
}

async function showComparison(page: Page): Promise<void> {
  const { document, plans, other } = page;
  const table = plans.known(document)?.table;
  if (other === undefined || !table) return post(page, { type: 'comparison' });
  const text = (await vscode.workspace.openTextDocument(other)).getText();
  const { bits } = readDocument(text, table);
  post(page, { type: 'comparison', other: { name: planName(other), bits } });
}

/** The best plans of all sizes in which some layers keep their bits. */
async function frontier(
  { document, engine, plans }: Page,
  pinned: readonly (readonly [layer: number, bits: number])[],
): Promise<Results['frontier']> {
  const { paths, table } = plans.known(document) ?? (await plans.read(document));
  if (!table?.sensitivity || paths.model === undefined) return { points: [] };
  const constraints = pinned.flatMap(([i, bits]) => {
    const layer = table.layers[i]?.name;
    return layer === undefined ? [] : [{ layer, fixed: bits }];
  });
  const allocation = await engine.request('precision/allocate', {
    model: paths.model,
    ...(paths.adapters !== undefined && { adapters: paths.adapters }),
    budget: 'bytes',
    constraints,
  });
  return { points: frontierPoints(allocation, table) };
}

async function openText({ document }: Page): Promise<void> {
  const { Beside } = vscode.ViewColumn;
  await vscode.commands.executeCommand('vscode.openWith', document.uri, 'default', Beside);
}

const runCommand = ({ document }: Page, name: string): Thenable<unknown> =>
  vscode.commands.executeCommand(`elasticPrecision.${name}`, document.uri);

async function measure(page: Page): Promise<void> {
  if (await hasData(page)) await liveOf(page)?.measure();
}

async function keep(page: Page): Promise<void> {
  if (await hasData(page)) liveOf(page)?.keep(true);
  // The page has ticked its box already.
  else showLive(page);
}

/** Asks for an evaluation set where there is none yet. */
const hasData = async (page: Page): Promise<boolean> =>
  liveOf(page)?.now().data !== undefined || (await chooseData(page));

/** @returns whether a set was chosen */
async function chooseData(page: Page): Promise<boolean> {
  const { document, extension, models, plans } = page;
  const model = plans.known(document)?.paths.model;
  const found = (await models.all()).find(({ path }) => path === model);
  const path = found?.supported ? await chooseEvaluationData(extension, found) : undefined;
  if (path === undefined) return false;
  liveOf(page)?.setData(path, basename(path));
  return true;
}
