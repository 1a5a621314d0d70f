/** The evaluation pages: one panel per model or opened result, brought back after a reload. */
import { randomUUID } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import {
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
import type { FromPage, Results, ToPage, View } from '../../webview/evaluation/protocol.js';
import type { AdapterList } from '../adapters/adapter-list.js';
import type { Connection } from '../common/connection.js';
import { messageOf } from '../common/errors.js';
import { plain } from '../common/plain.js';
import { formatCount } from '../common/format.js';
import { pageDocument, pageRoot, serve } from '../common/webview.js';
import { chooseBaselineData, chooseEvaluationData } from '../data/remembered.js';
import type { ModelList } from '../models/model-list.js';
import { createSession, type SavedSession, type Surroundings } from './session.js';
import { pageStrings } from './strings.js';
import { wordsOf } from '../tasks.js';

const TYPE = 'elasticPrecision.evaluation';
/** Where sessions are kept, by the token that their page has. */
const SESSIONS = 'evaluation.sessions';
const REMEMBERED = 'evaluation.remembered';
/** Sessions whose panel was closed in another window are forgotten after this many newer ones. */
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
  /** Opens a saved result. */
  open(model: string, result: string): void;
}

export function createEvaluationPanels(
  context: ExtensionContext,
  options: EvaluationOptions,
): EvaluationPanels {
  const state = context.workspaceState;
  const open = new Map<string, { readonly panel: WebviewPanel; readonly saved: () => SavedSession }>();
  const sessions = () => state.get<Readonly<Record<string, SavedSession>>>(SESSIONS, {});
  const keep = (token: string, saved: SavedSession | undefined) => {
    const { [token]: _, ...others } = sessions();
    const entries = Object.entries(others);
    const kept = [...entries.slice(-KEPT), ...(saved ? [[token, saved] as const] : [])];
    return state.update(SESSIONS, Object.fromEntries(kept));
  };

  function create(title: string): WebviewPanel {
    return window.createWebviewPanel(TYPE, title, ViewColumn.Active, {});
  }

  function fill(panel: WebviewPanel, token: string, initial: SavedSession): void {
    const session = createSession(initial, surroundings(options));
    const { webview } = panel;
    const post = (message: ToPage) => webview.postMessage(message);
    const remember = () => keep(token, session.saved());
    const show = async () => {
      await remember();
      const view = await session.view().catch((error: unknown) => failedView(session.saved(), error));
      panel.title = plain(titleOf(view.model.name));
      await post({ type: 'show', view, strings: pageStrings(), token });
    };
    webview.options = { enableScripts: true, localResourceRoots: [pageRoot(context.extensionUri)] };
    panel.iconPath = {
      light: Uri.joinPath(context.extensionUri, 'media', 'evaluation-light.svg'),
      dark: Uri.joinPath(context.extensionUri, 'media', 'evaluation-dark.svg'),
    };
    const subscriptions: Disposable[] = [
      session,
      session.onDidChange(() => void show()),
      session.onDidProgress((run) => void post({ type: 'progress', run })),
      options.adapters.onDidChange(() => void show()),
      workspace.onDidGrantWorkspaceTrust(() => void show()),
      serve<FromPage, Results>(webview, {
        ready: () => void show(),
        remember: (choices) => {
          session.remember(choices);
          void remember();
        },
        chooseData: async ({ use }) => {
          const model = (await options.models.all()).find(({ path }) => path === session.saved().model);
          const choose = use === 'evaluation' ? chooseEvaluationData : chooseBaselineData;
          const path = model?.supported ? await choose(context, model) : undefined;
          if (path === undefined) return undefined;
          session.setData(use, path);
          await remember();
          return { name: basename(path) };
        },
        start: async (choices) => {
          await session.start(choices);
          const { model, data, baselines, baselineData, limit } = session.saved();
          await state.update(`${REMEMBERED}.${model}`, { data, baselines, baselineData, limit });
        },
        cancel: () => session.cancel(),
        again: () => session.again(),
        export: ({ format, text }) => exportTable(session.saved(), panel.title, format, text),
      }),
    ];
    open.set(token, { panel, saved: session.saved });
    panel.onDidDispose(() => {
      open.delete(token);
      void keep(token, undefined);
      for (const subscription of subscriptions) subscription.dispose();
    });
    webview.html = pageDocument(webview, context.extensionUri, 'evaluation', panel.title);
  }

  const serializer = window.registerWebviewPanelSerializer(TYPE, {
    deserializeWebviewPanel: async (panel, token: unknown) => {
      const saved = typeof token === 'string' ? sessions()[token] : undefined;
      if (saved === undefined) panel.dispose();
      else fill(panel, token as string, { ...FORM, ...saved });
      return Promise.resolve();
    },
  });

  /** Reveals the panel that shows this already, or opens one with what was chosen for the model before. */
  function reveal(
    shows: (saved: SavedSession) => boolean,
    wanted: Pick<SavedSession, 'model' | 'sets' | 'result'>,
  ): void {
    const shown = [...open.values()].find(({ saved }) => shows(saved()));
    if (shown) return shown.panel.reveal();
    const remembered = state.get<Partial<SavedSession>>(`${REMEMBERED}.${wanted.model}`, {});
    fill(create(titleOf(basename(wanted.model))), randomUUID(), { ...FORM, ...remembered, ...wanted });
  }

  return {
    evaluate: (model, sets) =>
      reveal((saved) => saved.model === model && sameSets(saved.sets, sets), { model, sets }),
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
function failedView(saved: SavedSession, error: unknown): View {
  return {
    locale: env.language,
    model: { name: basename(saved.model), task: 'image-classification', details: '' },
    reason: messageOf(error),
  };
}

async function exportTable(
  saved: SavedSession,
  title: string,
  format: 'csv' | 'json',
  text: string,
): Promise<boolean> {
  const name = `${title.replace(/[/\\:*?"<>|]+/g, ' ').trim()}.${format}`;
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
