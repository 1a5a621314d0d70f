/** What the features share: the engine, the lists that follow it, and the views of them. */
import type { vscode } from './common/vscode.js';
import type { AdapterList } from './adapters/adapter-list.js';
import type { AdaptersNode } from './adapters/nodes.js';
import type { Tree } from './common/tree.js';
import type { EngineClient } from './engine/client.js';
import type { EvaluationPanels } from './evaluation/panel.js';
import type { JobList } from './jobs/job-list.js';
import type { JobsNode } from './jobs/nodes.js';
import type { ModelList } from './models/model-list.js';
import type { ModelsNode } from './models/nodes.js';
import type { PlanEditors } from './plans/editor.js';
import type { LogDocuments } from './jobs/log-documents.js';
import type { Pins } from './plans/pins.js';
import type { Plans } from './plans/plans.js';

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
  readonly pins: Pins;
  readonly logs: LogDocuments;
  readonly planEditors: PlanEditors;
}
