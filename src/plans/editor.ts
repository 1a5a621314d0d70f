/** The visual editor of precision plans. The text is the document; everything that the page changes is an edit of it. */
import { basename } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { SupportedModel } from '../../engine/protocol/protocol.js';
import type { FromPage, Lack, Results, ShowTable, ToPage } from '../../webview/precision/protocol.js';
import { formatBits } from '../common/format.js';
import { pageDocument, pageRoot, serve } from '../common/webview.js';
import { readSettings } from '../configuration.js';
import type { Connection } from '../common/connection.js';
import { chooseEvaluationData, lastEvaluationData } from '../data/remembered.js';
import type { ModelList } from '../models/model-list.js';
import { editsOfChanges, editsOfDigits, readDocument } from './document.js';
import { createLive, type LiveModel } from './live.js';
import { frontierPoints, pageTable } from './page.js';
import { isPlan, planName, type OpenPlan, type Plans } from './plans.js';
import { pageStrings } from './strings.js';

export const PLAN_EDITOR = 'elasticPrecision.precisionEditor';

/** A measurement on so many samples ends within moments; a whole evaluation set belongs to an evaluation. */
const LIMITS = { 'image-classification': 1000, 'text-generation': 16 } as const;

export interface PlanEditors extends vscode.Disposable {
  /** Opens the running model of a plan, which an editor shows, and switches it. */
  apply(uri: vscode.Uri): Promise<void>;
  /** Shows another plan beside that of an editor. */
  compare(uri: vscode.Uri, other: vscode.Uri): Promise<void>;
}

interface Shared {
  live: LiveModel | undefined;
  /** Model and set that `live` runs. */
  key: string;
  editors: number;
}

/** What editors draw on. */
export interface PlanSurroundings {
  readonly extension: vscode.ExtensionContext;
  readonly engine: Connection;
  readonly models: ModelList;
  readonly plans: Plans;
  readonly log: vscode.LogOutputChannel;
}

export function createPlanEditors({ extension, engine, models, plans, log }: PlanSurroundings): PlanEditors {
  const shared = new Map<string, Shared>();
  const compared = new vscode.EventEmitter<{
    readonly uri: string;
    readonly other: vscode.Uri | undefined;
  }>();
  const lives = new vscode.EventEmitter<string>();

  /** The running model of a plan, made anew where the plan names another model or set. */
  function liveOf(uri: string, plan: OpenPlan): LiveModel | undefined {
    const entry = shared.get(uri);
    if (!entry) return undefined;
    const { model, adapters } = plan.paths;
    const able = plan.table && model !== undefined && adapters !== undefined && vscode.workspace.isTrusted;
    const key = able ? JSON.stringify([model, adapters]) : '';
    if (entry.key !== key) {
      entry.live?.dispose();
      const limit = LIMITS[plan.table?.model.task ?? 'image-classification'];
      const options = { model: model!, adapters: adapters!, device: () => readSettings().device, limit };
      entry.live = able ? createLive(engine, options) : undefined;
      entry.key = key;
      if (entry.live && plan.table) rememberedData(plan.table.model.task, entry.live);
      lives.fire(uri);
    }
    return entry.live;
  }

  /** The evaluation set that was used last for such models. */
  function rememberedData(task: SupportedModel['task'], live: LiveModel): void {
    const path = lastEvaluationData(extension, task);
    if (path !== undefined) live.setData(path, basename(path));
  }

  function resolve(document: vscode.TextDocument, panel: vscode.WebviewPanel): void {
    const { webview } = panel;
    const uri = document.uri.toString();
    const entry = shared.get(uri) ?? { live: undefined, key: '', editors: 0 };
    shared.set(uri, entry);
    entry.editors++;
    let ready = false;
    let shownTable: string | undefined;
    let shownModel: unknown;
    let other: vscode.Uri | undefined;
    let following: vscode.Disposable[] = [];
    const post = (message: ToPage) => (ready ? webview.postMessage(message) : undefined);

    function followLive(): void {
      for (const subscription of following) subscription.dispose();
      const { live } = entry;
      following = live
        ? [
            live.onDidChange((now) => void post({ type: 'live', live: now })),
            live.onDidTry((tried) => void post({ type: 'tried', ...tried })),
          ]
        : [];
      void post({ type: 'live', live: live?.now() ?? { state: 'closed', keep: false, measured: [] } });
    }

    async function show(): Promise<void> {
      const plan = await plans.read(document);
      if (document.getText() !== plan.state.text) return;
      const live = liveOf(uri, plan);
      const table = tableMessage(plan, live !== undefined);
      const rest = JSON.stringify({ ...table, table: undefined, strings: undefined });
      // The same table is not sent again with every edit.
      if (rest !== shownTable || shownModel !== plan.table) {
        [shownTable, shownModel] = [rest, plan.table];
        void post(table);
        followLive();
        void showComparison();
      }
      const { digits, broken, problems } = plan.state;
      live?.follow(digits);
      void post({
        type: 'plan',
        bits: digits,
        ...(broken !== undefined && { broken }),
        problems: broken === undefined ? problems.map(({ message }) => message) : [],
      });
    }

    async function showComparison(): Promise<void> {
      const table = plans.known(document)?.table;
      if (other === undefined || !table) return void post({ type: 'comparison' });
      const text = (await vscode.workspace.openTextDocument(other)).getText();
      const { digits } = readDocument(text, table);
      void post({ type: 'comparison', other: { name: planName(other), bits: digits } });
    }

    async function chooseLiveData(): Promise<boolean> {
      const model = plans.known(document)?.paths.model;
      const found = (await models.all()).find(({ path }) => path === model);
      const path = found?.supported ? await chooseEvaluationData(extension, found) : undefined;
      if (path === undefined) return false;
      entry.live?.setData(path, basename(path));
      return true;
    }

    async function act(action: Extract<FromPage, { type: 'act' }>['action']): Promise<void> {
      const { live } = entry;
      const run = (name: string) => vscode.commands.executeCommand(`elasticPrecision.${name}`, document.uri);
      switch (action) {
        case 'text':
        case 'problems':
          await vscode.commands.executeCommand('vscode.openWith', document.uri, 'default', vscode.ViewColumn.Beside); // prettier-ignore
          return;
        case 'compare':
          return void (await run('comparePlans'));
        case 'uncompare':
          other = undefined;
          return showComparison();
        case 'measure':
          if (live?.now().data === undefined && !(await chooseLiveData())) return;
          return entry.live?.measure();
        case 'keep':
          if (live?.now().data === undefined && !(await chooseLiveData())) return void followLive();
          return entry.live?.keep(true);
        case 'unkeep':
          return live?.keep(false);
        case 'cancel':
          return live?.cancel();
        case 'data':
          return void (await chooseLiveData());
        case 'model':
          return void (await run('choosePlanModel'));
        case 'adapters':
          return void (await run('choosePlanAdapters'));
        case 'sensitivity':
        case 'stale':
          return void (await run('computeSensitivity'));
        case 'engine':
          return show();
      }
    }

    const subscriptions: vscode.Disposable[] = [
      plans.onDidChange((changed) => {
        if (changed.uri.toString() === uri) void show();
        else if (changed.uri.toString() === other?.toString()) void showComparison();
      }),
      vscode.workspace.onDidGrantWorkspaceTrust(() => void show()),
      lives.event((changed) => {
        if (changed === uri) followLive();
      }),
      compared.event((wanted) => {
        if (wanted.uri !== uri) return;
        other = wanted.other;
        void showComparison();
      }),
      serve<FromPage, Results>(webview, {
        ready: () => {
          ready = true;
          shownTable = undefined;
          void show();
        },
        set: ({ changes }) =>
          void plans.edit(document, (text, table) => (table ? editsOfChanges(text, table, changes) : [])),
        setAll: ({ bits }) =>
          void plans.edit(document, (text, table) => (table ? editsOfDigits(text, table, bits) : [])),
        frontier: async ({ pinned }) => {
          const { paths, table } = plans.known(document) ?? (await plans.read(document));
          if (!table?.sensitivity || paths.model === undefined) return { points: [] };
          const constraints = pinned.flatMap(([i, bits]) => {
            const layer = table.layers[i]?.name;
            return layer === undefined ? [] : [{ layer, fixed: bits }];
          });
          const { points } = await engine.request('precision/allocate', {
            model: paths.model,
            ...(paths.adapters !== undefined && { adapters: paths.adapters }),
            ...{ budget: 'bytes', constraints },
          });
          return { points: frontierPoints(points, table) };
        },
        act: ({ action }) => void act(action).catch((error: unknown) => log.error(String(error))),
        try: ({ input }) => entry.live?.attempt(input),
      }),
    ];
    webview.options = { enableScripts: true, localResourceRoots: [pageRoot(extension.extensionUri)] };
    panel.onDidDispose(() => {
      for (const subscription of [...subscriptions, ...following]) subscription.dispose();
      if (--entry.editors > 0) return;
      entry.live?.dispose();
      shared.delete(uri);
    });
    webview.html = pageDocument(webview, extension.extensionUri, 'precision', basename(document.uri.path));
  }

  const provider = vscode.window.registerCustomEditorProvider(
    PLAN_EDITOR,
    { resolveCustomTextEditor: resolve },
    { supportsMultipleEditorsPerDocument: true, webviewOptions: { retainContextWhenHidden: false } },
  );

  return {
    apply: async (uri) => {
      const document = await vscode.workspace.openTextDocument(uri);
      const plan = await plans.read(document);
      const live = liveOf(uri.toString(), plan);
      live?.follow(plan.state.digits);
      await live?.open();
    },
    compare: async (uri, other) => {
      if (isPlan({ uri: other })) compared.fire({ uri: uri.toString(), other });
      return Promise.resolve();
    },
    dispose: () => [provider, compared, lives].forEach((disposable) => void disposable.dispose()),
  };
}

function tableMessage({ paths, table, failure, state }: OpenPlan, live: boolean): ShowTable {
  const { language: locale } = vscode.env;
  const subtitle = table
    ? [
        paths.adapters === undefined ? vscode.l10n.t('no adapter set') : basename(paths.adapters),
        vscode.l10n.t('{0} bits', formatBits(table.bits)),
        ...(table.sensitivity
          ? [
              vscode.l10n.t(
                'sensitivity on {0} samples of {1}',
                table.sensitivity.samples,
                table.sensitivity.data,
              ),
            ]
          : []),
      ].join(' · ')
    : '';
  return {
    ...{ type: 'table', locale, strings: pageStrings(), live, subtitle },
    title: table?.model.name ?? basename(paths.model ?? ''),
    lacks: lacksOf(paths, table, failure, state.plan !== undefined),
    ...(table && { table: pageTable(table) }),
  };
}

function lacksOf(
  { model, adapters }: OpenPlan['paths'],
  table: OpenPlan['table'],
  failure: string | undefined,
  read: boolean,
): ShowTable['lacks'] {
  const lack = (kind: Lack, text: string, action: string) => [{ lack: kind, text, action }];
  if (failure !== undefined) return lack('engine', failure, vscode.l10n.t('Try Again'));
  if (model === undefined)
    return read
      ? lack('model', vscode.l10n.t('The plan names no model yet.'), vscode.l10n.t('Choose Model…'))
      : [];
  if (adapters === undefined)
    return lack(
      'adapters',
      vscode.l10n.t('Without an adapter set only sizes are known.'),
      vscode.l10n.t('Choose Adapter Set…'),
    );
  if (table && !table.sensitivity)
    return lack(
      'sensitivity',
      vscode.l10n.t('What each bit-width costs each layer has not been measured yet.'),
      vscode.l10n.t('Compute Sensitivity…'),
    );
  if (table?.sensitivity?.stale)
    return lack('stale', table.sensitivity.stale, vscode.l10n.t('Compute Sensitivity…'));
  return [];
}
