import { vscode } from './common/vscode.js';
import { createAdapterList } from './adapters/adapter-list.js';
import { targetsOf } from './adapters/targets.js';
import { createAdaptersTree } from './adapters/tree.js';
import { readSettings, searchedFolders } from './configuration.js';
import type { Context } from './context.js';
import { createEngineClient } from './engine/client.js';
import { locateEngine } from './engine/locate.js';
import { createEvaluationPanels } from './evaluation/panel.js';
import { createJobList } from './jobs/job-list.js';
import { createLogDocuments } from './jobs/log-documents.js';
import { createJobsTree } from './jobs/tree.js';
import { createModelList } from './models/model-list.js';
import { createModelsTree } from './models/tree.js';
import { createPlanEditors } from './plans/editor.js';
import { createPins } from './plans/pins.js';
import { createPlans } from './plans/plans.js';
import { createTables } from './plans/tables.js';

/** Everything is made here, and nothing is asked of the engine yet. What it makes, it adds to the extension's subscriptions. */
export function createContext(extension: vscode.ExtensionContext): Context {
  const log = vscode.window.createOutputChannel('Elastic Precision', { log: true });
  const engine = createEngineClient({
    locate: () =>
      locateEngine({
        setting: readSettings().enginePath,
        bundled: vscode.Uri.joinPath(extension.extensionUri, 'dist', 'engine.js').fsPath,
      }),
    storage: (extension.storageUri ?? extension.globalStorageUri).fsPath,
    log,
  });
  const folders = () => searchedFolders(log);
  const models = createModelList(engine, folders);
  const adapters = createAdapterList(engine, models, folders);
  const jobs = createJobList(engine);
  // A tree that is empty because the engine has failed has a welcome view that says so.
  const explained = () => engine.state === 'failed';
  const trees = {
    models: createModelsTree(models, explained),
    adapters: createAdaptersTree(adapters, explained),
    jobs: createJobsTree(jobs, explained),
  };
  const evaluations = createEvaluationPanels(extension, {
    connection: engine,
    models,
    adapters,
    placement: readSettings,
  });
  const logs = createLogDocuments(engine, jobs, adapters);
  const tables = createTables(
    engine,
    [adapters.onDidChange, (listener) => vscode.workspace.onDidGrantWorkspaceTrust(listener)],
    () => vscode.workspace.isTrusted,
  );
  const plans = createPlans(tables, async (set) =>
    vscode.workspace.isTrusted
      ? (await targetsOf(adapters)).find((target) => target.set.path === set)?.model.path
      : undefined,
  );
  const pins = createPins(extension.workspaceState);
  const planEditors = createPlanEditors({ extension, engine, models, plans, pins, jobs, log });
  extension.subscriptions.push(
    logs,
    tables,
    plans,
    planEditors,
    log,
    models,
    jobs,
    trees.models,
    trees.adapters,
    trees.jobs,
    evaluations,
  );
  return {
    extension,
    log,
    engine,
    models,
    adapters,
    jobs,
    trees,
    evaluations,
    plans,
    pins,
    planEditors,
    logs,
  };
}
