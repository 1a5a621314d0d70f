import { vscode } from '../common/vscode.js';
import type { OwnerNode } from '../adapters/nodes.js';
import type { MethodReport, SupportedModel } from '../../engine/protocol/protocol.js';
import { ask } from '../common/ask.js';
import { inform } from '../common/messages.js';
import { readSettings, workspaceFolders } from '../configuration.js';
import type { Context } from '../context.js';
import { promisedFolders } from '../jobs/job-list.js';
import { modelName } from '../models/names.js';
import type { ModelNode } from '../models/nodes.js';
import { choicesOf, remember, requestOf, type Answers, type Remembered, type Task } from './choices.js';
import type { Sources } from './questions.js';
import { calibrationSteps } from './steps.js';

const memory = (task: Task) => `calibrate.${task}`;

/** Asks what to calibrate and on what, and queues the job. @param node the model, where the command came from one */
export async function calibrate(context: Context, node?: ModelNode | OwnerNode): Promise<void> {
  const preset = modelOf(node);
  if (!preset && (await supportedModels(context)).length === 0) return tellNoModel();
  const state = context.extension.workspaceState;
  const remembered = (task: Task) => state.get<Remembered>(memory(task), {});
  const { device, threads, cacheMemory } = readSettings();
  const limits = { threads, cacheMemory };
  const sources: Sources = {
    connection: context.engine,
    remembered,
    device,
    limits,
    models: () => supportedModels(context),
    methods: (model) => methodsFor(context, model),
    devices: async () => (await context.engine.request('devices/list', {})).devices,
    root: context.extension.extensionUri.fsPath,
    workspace: workspaceFolders(),
    promised: () => promisedFolders(context.jobs.known()),
  };
  const title = preset
    ? vscode.l10n.t('Calibrate {0}', modelName(preset))
    : vscode.l10n.t('Calibrate a Model');
  const answers = await ask<Answers>(
    title,
    calibrationSteps(sources, preset !== undefined),
    preset ? { model: preset, methods: await sources.methods(preset) } : {},
  );
  if (!answers) return;
  const choices = choicesOf(answers);
  await state.update(memory(choices.model.task), remember(remembered(choices.model.task), choices));
  const { job } = await context.engine.request('jobs/start', {
    kind: 'calibrate',
    request: requestOf(choices, limits, answers.out!),
    title: vscode.l10n.t('Calibrate {0}', modelName(choices.model)),
  });
  await context.jobs.all();
  await context.trees.jobs.view.reveal({ kind: 'job', id: job.id }, { select: true, focus: false });
}

const modelOf = (node: ModelNode | OwnerNode | undefined): SupportedModel | undefined => {
  if (node?.kind === 'owner') return node.owner.model;
  return node?.kind === 'model' && node.model.supported ? node.model : undefined;
};

async function supportedModels({ models }: Context): Promise<readonly SupportedModel[]> {
  return (await models.all()).filter((model) => model.supported);
}

async function methodsFor({ engine }: Context, { path }: SupportedModel): Promise<readonly MethodReport[]> {
  const { methods } = await engine.request('calibrate/methods', { path });
  if (methods.length === 0) throw new Error(vscode.l10n.t('There is no calibration method for this model.'));
  return methods;
}

async function tellNoModel(): Promise<void> {
  const copy = vscode.l10n.t('Copy Sample Models');
  const search = vscode.l10n.t('Add Model Folder');
  const chosen = await inform(vscode.l10n.t('No model was found that can be calibrated.'), copy, search);
  if (chosen === copy) await vscode.commands.executeCommand('elasticPrecision.copySamples');
  if (chosen === search) await vscode.commands.executeCommand('elasticPrecision.addModelFolder');
}
