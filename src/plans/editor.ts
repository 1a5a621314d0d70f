/** The visual editor of precision plans. The text is the document; everything that a page changes is an edit of it. */
import { basename } from 'node:path';
import { vscode } from '../common/vscode.js';
import { pageDocument, pageRoot } from '../common/webview.js';
import { readSettings } from '../configuration.js';
import { lastEvaluationData } from '../data/remembered.js';
import type { EngineClient } from '../engine/client.js';
import { openPlanPage, type PageSurroundings, type PlanPage } from './plan-page.js';
import { isPlan } from './plans.js';
import { createRunningModels } from './running.js';

export const PLAN_EDITOR = 'elasticPrecision.precisionEditor';

export interface PlanEditors extends vscode.Disposable {
  /** Opens the running model of a plan, which an editor shows, and switches it. */
  apply(uri: vscode.Uri): Promise<void>;
  /** Shows another plan beside that of an editor. */
  compare(uri: vscode.Uri, other: vscode.Uri): void;
}

export function createPlanEditors(
  surroundings: Omit<PageSurroundings, 'running'> & { readonly engine: EngineClient },
): PlanEditors {
  const { extension, engine, plans } = surroundings;
  const running = createRunningModels({
    connection: engine,
    device: () => readSettings().device,
    trusted: () => vscode.workspace.isTrusted,
    engineStopped: (listener) =>
      engine.onDidChangeState(({ state }) => state !== 'running' && listener(undefined)),
    lastData: (task) => lastEvaluationData(extension, task),
  });
  const pages = new Set<{ readonly uri: string; readonly page: PlanPage }>();

  function resolve(document: vscode.TextDocument, panel: vscode.WebviewPanel): void {
    const { webview } = panel;
    const page = openPlanPage(document, webview, { ...surroundings, running });
    const entry = { uri: document.uri.toString(), page };
    pages.add(entry);
    panel.onDidDispose(() => {
      pages.delete(entry);
      page.dispose();
    });
    webview.options = { enableScripts: true, localResourceRoots: [pageRoot(extension.extensionUri)] };
    webview.html = pageDocument(webview, extension.extensionUri, 'precision', basename(document.uri.path));
  }

  const provider = vscode.window.registerCustomEditorProvider(
    PLAN_EDITOR,
    { resolveCustomTextEditor: resolve },
    { supportsMultipleEditorsPerDocument: true, webviewOptions: { retainContextWhenHidden: false } },
  );

  return {
    apply: async (uri) => {
      const plan = await plans.read(await vscode.workspace.openTextDocument(uri));
      const live = running.update(uri.toString(), plan);
      live?.follow(plan.state.bits);
      await live?.open();
    },
    compare: (uri, other) => {
      if (!isPlan({ uri: other })) return;
      for (const { uri: shown, page } of pages) if (shown === uri.toString()) page.compare(other);
    },
    dispose: () => void provider.dispose(),
  };
}
