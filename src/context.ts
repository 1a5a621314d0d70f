/** What the features share: the engine, the lists that follow it, and the views of them. */
import { vscode } from './common/vscode.js';
import { createAdapterList, type AdapterList } from './adapters/adapter-list.js';
import type { AdaptersNode } from './adapters/nodes.js';
import { createAdaptersTree } from './adapters/tree.js';
import { readSettings, searchedFolders } from './configuration.js';
import type { Tree } from './common/tree.js';
import { createEngineClient, type EngineClient } from './engine/client.js';
import { locateEngine } from './engine/locate.js';
import { createEvaluationPanels, type EvaluationPanels } from './evaluation/panel.js';
import { chooseEvaluationData } from './evaluation/commands.js';
import { createJobList, type JobList } from './jobs/job-list.js';
import type { JobsNode } from './jobs/nodes.js';
import { createJobsTree } from './jobs/tree.js';
import { createModelList, type ModelList } from './models/model-list.js';
import type { ModelsNode } from './models/nodes.js';
import { createModelsTree } from './models/tree.js';
import { createPlanEditors, type PlanEditors } from './plans/editor.js';
import { createPlans, type Plans } from './plans/plans.js';
import { createTables } from './plans/tables.js';

export interface Context {
  readonly extension: vscode.ExtensionContext;
  readonly log: vscode.LogOutputChannel;
  readonly engine: EngineClient;
  readonly models: ModelList;
  readonly adapters: AdapterList;
  readonly jobs: JobList;
  readonly trees: {
    readonly models: Tree<ModelsNode>;
    readonly adapters: Tree<AdaptersNode>;
    readonly jobs: Tree<JobsNode>;
  };
  readonly evaluations: EvaluationPanels;
  readonly plans: Plans;
  readonly planEditors: PlanEditors;
}

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
    locale: vscode.env.language,
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
    ...{ connection: engine, models, adapters },
    placement: readSettings,
    chooseData: (model) => chooseEvaluationData(extension, model),
  });
  const tables = createTables(engine, [adapters.onDidChange]);
  const plans = createPlans(tables);
  const planEditors = createPlanEditors({ extension, engine, models, log }, plans, (model) =>
    chooseEvaluationData(extension, model),
  );
  extension.subscriptions.push(
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
  return { extension, log, engine, models, adapters, jobs, trees, evaluations, plans, planEditors };
}
