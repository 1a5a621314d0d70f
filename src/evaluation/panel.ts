/** The evaluation pages: one panel per model or opened result, brought back after a reload. */
import { randomUUID } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import {
  commands,
  env,
  l10n,
  Uri,
  ViewColumn,
  window,
  workspace,
  type Disposable,
  type ExtensionContext,
  type WebviewPanel,
} from 'vscode';
import type { DeviceChoice } from '../../engine/protocol/protocol.js';
import type { ExportModel, FromPage, Results, ToPage, View } from '../../webview/evaluation/protocol.js';
import type { AdapterList } from '../adapters/adapter-list.js';
import type { Connection } from '../common/connection.js';
import { messageOf } from '../common/errors.js';
import { plain } from '../common/plain.js';
import { alone, BACK } from '../common/ask.js';
import { formatBits, formatCount } from '../common/format.js';
import { pickOne } from '../common/inputs.js';
import { pageDocument, pageRoot, serve } from '../common/webview.js';
import { chooseBaselineData, chooseEvaluationData } from '../data/remembered.js';
import type { ModelList } from '../models/model-list.js';
import type { SetAtBits } from '../exports/set-at-bits.js';
import { onDidChangePlanFiles, readPlanFiles } from '../plans/plan-files.js';
import { exportableRows, type ExportableRow } from './exported.js';
import type { SavedRun } from './run.js';
import { createPage, type EvaluationPage } from './page.js';
import { scoreOf } from './score.js';
import type { SavedPage, Surroundings } from './surroundings.js';
import { pageStrings } from './strings.js';
import { wordsOf } from '../tasks.js';

const TYPE = 'elasticPrecision.evaluation';
/** Where pages are kept, by their tokens. */
const PAGES = 'evaluation.sessions';
const REMEMBERED = 'evaluation.remembered';
/** Pages whose panel was closed in another window are forgotten after this many newer ones. */
const KEPT = 20;
/** What the form says where nothing was chosen before. */
const FORM = { baselines: ['rounding'] };

export interface EvaluationOptions {
  readonly connection: Connection;
  readonly models: ModelList;
  readonly adapters: AdapterList;
  readonly placement: () => { readonly device: DeviceChoice; readonly threads: number };
}

export interface EvaluationPanels extends Disposable {
  /** Opens the form for a model, with these adapter sets chosen. */
  evaluate(model: string, sets: readonly string[]): void;
  /** Opens what a job measures, until its result is there. */
  follow(model: string, set: string, job: SavedRun): void;
  /** Opens a saved result. */
  open(model: string, result: string): void;
}

export function createEvaluationPanels(
  context: ExtensionContext,
  options: EvaluationOptions,
): EvaluationPanels {
  const state = context.workspaceState;
  const open = new Map<string, { readonly panel: WebviewPanel; readonly saved: () => SavedPage }>();
  const pages = () => state.get<Readonly<Record<string, SavedPage>>>(PAGES, {});
  const keep = (token: string, saved: SavedPage | undefined) => {
    const { [token]: _, ...others } = pages();
    const entries = Object.entries(others);
    const kept = [...entries.slice(-KEPT), ...(saved ? [[token, saved] as const] : [])];
    return state.update(PAGES, Object.fromEntries(kept));
  };

  function create(title: string): WebviewPanel {
    return window.createWebviewPanel(TYPE, title, ViewColumn.Active, {});
  }

  function fill(panel: WebviewPanel, token: string, initial: SavedPage): void {
    const page = createPage(initial, surroundings(options));
    const { webview } = panel;
    const post = (message: ToPage) => webview.postMessage(message);
    const remember = () => keep(token, page.saved());
    const show = async () => {
      await remember();
      const view = await page.view().catch((error: unknown) => failedView(page.saved(), error));
      panel.title = plain(titleOf(view.model.name));
      await post({ type: 'show', view, strings: pageStrings(), token });
    };
    webview.options = { enableScripts: true, localResourceRoots: [pageRoot(context.extensionUri)] };
    panel.iconPath = {
      light: Uri.joinPath(context.extensionUri, 'media', 'evaluation-light.svg'),
      dark: Uri.joinPath(context.extensionUri, 'media', 'evaluation-dark.svg'),
    };
    const subscriptions: Disposable[] = [
      page,
      page.onDidChange(() => void show()),
      page.onDidProgress((run) => void post({ type: 'progress', run })),
      options.adapters.onDidChange(() => void show()),
      onDidChangePlanFiles(() => void show()),
      workspace.onDidGrantWorkspaceTrust(() => void show()),
      serve<FromPage, Results>(webview, {
        ready: () => void show(),
        remember: (choices) => {
          page.remember(choices);
          void remember();
        },
        chooseData: async ({ use }) => {
          const model = (await options.models.all()).find(({ path }) => path === page.saved().model);
          const choose = use === 'evaluation' ? chooseEvaluationData : chooseBaselineData;
          const path = model?.supported ? await choose(context, model) : undefined;
          if (path === undefined) return undefined;
          page.setData(use, path);
          await remember();
          return { name: basename(path) };
        },
        start: async (choices) => {
          await page.start(choices);
          const { model, data, baselines, baselineData, limit, length } = page.saved();
          await state.update(`${REMEMBERED}.${model}`, { data, baselines, baselineData, limit, length });
        },
        cancel: () => page.cancel(),
        again: () => page.again(),
        exportModel: ({ row }) => exportRow(options, page, row),
        export: ({ format, text }) => exportTable(page.saved(), panel.title, format, text),
      }),
    ];
    open.set(token, { panel, saved: page.saved });
    panel.onDidDispose(() => {
      open.delete(token);
      void keep(token, undefined);
      for (const subscription of subscriptions) subscription.dispose();
    });
    webview.html = pageDocument(webview, context.extensionUri, 'evaluation', panel.title);
  }

  const serializer = window.registerWebviewPanelSerializer(TYPE, {
    deserializeWebviewPanel: async (panel, token: unknown) => {
      const saved = typeof token === 'string' ? pages()[token] : undefined;
      if (saved === undefined) panel.dispose();
      else fill(panel, token as string, { ...FORM, ...saved });
      return Promise.resolve();
    },
  });

  /** Reveals the panel that shows this already, or opens one with what was chosen for the model before. */
  function reveal(
    shows: (saved: SavedPage) => boolean,
    wanted: Pick<SavedPage, 'model' | 'sets' | 'result' | 'job'>,
  ): void {
    const shown = [...open.values()].find(({ saved }) => shows(saved()));
    if (shown) return shown.panel.reveal();
    const remembered = state.get<Partial<SavedPage>>(`${REMEMBERED}.${wanted.model}`, {});
    fill(create(titleOf(basename(wanted.model))), randomUUID(), { ...FORM, ...remembered, ...wanted });
  }

  return {
    evaluate: (model, sets) =>
      reveal((saved) => saved.model === model && sameSets(saved.sets, sets), { model, sets }),
    follow: (model, set, job) => reveal((saved) => saved.job?.id === job.id, { model, sets: [set], job }),
    open: (model, result) =>
      reveal((saved) => saved.result === result, { model, sets: [dirname(dirname(result))], result }),
    dispose: () => void serializer.dispose(),
  };
}

const titleOf = (model: string): string => l10n.t('Evaluation: {0}', model);

const sameSets = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((set) => b.includes(set));

function surroundings({ connection, models, adapters, placement }: EvaluationOptions): Surroundings {
  return {
    connection,
    models,
    adapters,
    placement,
    plans: readPlanFiles,
    locale: env.language,
    trusted: () => workspace.isTrusted,
    now: () => new Date(),
    words: {
      details: (model) =>
        [
          wordsOf(model.task).model,
          model.family,
          l10n.t('{0} parameters', formatCount(model.parameters, env.language)),
        ].join(' · '),
      gone: l10n.t('The model no longer exists, so nothing can be evaluated.'),
      untrusted: l10n.t('Evaluating needs a trusted workspace.'),
      changed: l10n.t('The model has changed since this adapter set was calibrated.'),
    },
  };
}

/** What stands on the page while the engine cannot be asked. */
function failedView(saved: SavedPage, error: unknown): View {
  return {
    locale: env.language,
    model: { name: basename(saved.model), task: 'image-classification', details: '' },
    reason: messageOf(error),
  };
}

/** Exports the model of a row, which is chosen where none is given. */
async function exportRow(
  { adapters }: EvaluationOptions,
  page: EvaluationPage,
  wanted: ExportModel['row'],
): Promise<void> {
  const [{ result }, owners, plans] = await Promise.all([page.view(), adapters.all(), readPlanFiles()]);
  const { model, sets } = page.saved();
  const entries = owners.find((owner) => owner.model?.path === model)?.sets ?? [];
  const exportable = exportableRows(result?.rows ?? [], entries, sets, plans).filter(
    ({ row }) => wanted === undefined || (row.label === wanted.label && row.bits === wanted.bits),
  );
  if (exportable.length === 0)
    throw new Error(l10n.t('The adapter sets of these rows are gone or have changed.'));
  const chosen = wanted === undefined ? await chooseRow(exportable) : exportable[0]!;
  if (!chosen) return;
  const source: SetAtBits | Uri =
    'plan' in chosen
      ? Uri.file(chosen.plan)
      : { kind: 'bits', model, adapters: chosen.adapters, bits: chosen.bits };
  await commands.executeCommand('elasticPrecision.export', source);
}

async function chooseRow(rows: readonly ExportableRow[]): Promise<ExportableRow | undefined> {
  const chosen = await pickOne<ExportableRow>(alone(l10n.t('Export Model')), {
    placeholder: l10n.t('The row whose model is exported'),
    items: rows.map((value) => ({
      value,
      label: `${value.row.label} · ${l10n.t('{0} bits', formatBits([value.row.bits as number], env.language))}`,
      description: scoreOf(value.row),
    })),
  });
  return chosen === BACK ? undefined : chosen;
}

async function exportTable(
  saved: SavedPage,
  title: string,
  format: 'csv' | 'json',
  text: string,
): Promise<boolean> {
  const name = `${title.replace(/[/\\:*?"<>|\s]+/g, ' ').trim()}.${format}`;
  const folder = saved.result === undefined ? saved.model : dirname(saved.result);
  const target = await window.showSaveDialog({
    defaultUri: Uri.file(join(folder, name)),
    filters: { [format.toUpperCase()]: [format] },
    title: l10n.t('Export Evaluation'),
  });
  if (!target) return false;
  await workspace.fs.writeFile(target, new TextEncoder().encode(text));
  return true;
}
