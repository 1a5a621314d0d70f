/** Commands of precision plans. */
import { basename, dirname, join } from 'node:path';
import { vscode } from '../common/vscode.js';
import { confirm, inform } from '../common/messages.js';
import { editPath } from '../../engine/plans/edit.js';
import type { SupportedModel } from '../../engine/protocol/protocol.js';
import { offeredBits } from '../adapters/adapter-list.js';
import type { SetNode } from '../adapters/nodes.js';
import {
  chooseTarget,
  offerCalibration,
  pickTarget,
  targetOf,
  targetsOf,
  type Target,
  type TargetQuestion,
} from '../adapters/targets.js';
import { alone, BACK } from '../common/ask.js';
import { pickOne } from '../common/inputs.js';
import { readSettings } from '../configuration.js';
import type { Context } from '../context.js';
import { chooseSensitivityData } from '../data/remembered.js';
import { modelName } from '../models/names.js';
import { newPlanText } from './document.js';
import { PLAN_EDITOR } from './editor.js';
import { planPath } from './plan-path.js';
import { findPlans } from './plan-files.js';
import { isPlan, planName, relativePath } from './plans.js';

/** Makes a plan for an adapter set, the one of the node or one chosen, and opens it. */
export async function newPlan(context: Context, node?: SetNode): Promise<void> {
  const own = node?.kind === 'set' ? targetOf(node) : undefined;
  const target =
    own ?? (await chooseTarget(context.adapters, questionOf(vscode.l10n.t('New Precision Plan'))));
  if (!target) return;
  const { model, set } = target;
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? dirname(model.path);
  const uri = await vscode.window.showSaveDialog({
    defaultUri: vscode.Uri.file(join(folder, `${basename(model.path)}.precision.json`)),
    // The simple dialog appends an extension that it does not see at the end, and sees but one dot.
    filters: { [vscode.l10n.t('Precision plan')]: ['json'] },
    title: vscode.l10n.t('New Precision Plan'),
  });
  if (!uri) return;
  const named = uri.with({ path: planPath(uri.path) });
  if (named.path !== uri.path && !(await mayReplace(named))) return;
  const [way, adapters] = [relativePath(named, model.path), relativePath(named, set.path)];
  if (way === undefined || adapters === undefined)
    throw new Error(vscode.l10n.t('A plan must be on the same drive as its model.'));
  const widths = offeredBits(set);
  const bits = widths.includes(4) ? 4 : widths[0]!;
  await vscode.workspace.fs.writeFile(
    named,
    new TextEncoder().encode(newPlanText({ model: way, adapters }, bits)),
  );
  await openPlan(context, named);
}

/** Asks where the dialog could not: it knew another name. */
async function mayReplace(uri: vscode.Uri): Promise<boolean> {
  const exists = await vscode.workspace.fs.stat(uri).then(
    () => true,
    () => false,
  );
  if (!exists) return true;
  const replace = vscode.l10n.t('Replace');
  const question = vscode.l10n.t('"{0}" exists already. Replace it?', basename(uri.path));
  return (await confirm(question, undefined, replace)) === replace;
}

export async function openPlan(_: Context, uri?: vscode.Uri): Promise<void> {
  const plan = uri ?? activePlan();
  if (plan) await vscode.commands.executeCommand('vscode.openWith', plan, PLAN_EDITOR);
}

/** Runs the model as the plan says, and shows it in the editor. */
export async function applyPlan(context: Context, uri?: vscode.Uri): Promise<void> {
  const plan = await planOf(uri);
  if (!plan) return;
  await openPlan(context, plan);
  const location = vscode.ProgressLocation.Window;
  const title = vscode.l10n.t('Opening the model…');
  await vscode.window.withProgress({ location, title }, () => context.planEditors.apply(plan));
}

/** Shows a plan beside another. */
export async function comparePlans(context: Context, uri?: vscode.Uri): Promise<void> {
  const plan = await planOf(uri);
  if (!plan) return;
  const found = await findPlans();
  const others = found.filter((other) => other.toString() !== plan.toString());
  if (others.length === 0) {
    void inform(vscode.l10n.t('There is no other precision plan in this workspace.'));
    return;
  }
  const picked = await pickOne<vscode.Uri>(alone(vscode.l10n.t('Compare {0}', planName(plan))), {
    placeholder: vscode.l10n.t('The plan to compare with'),
    items: others.map((value) => ({
      value,
      label: planName(value),
      description: vscode.workspace.asRelativePath(value),
    })),
  });
  if (picked === undefined || picked === BACK) return;
  await openPlan(context, plan);
  context.planEditors.compare(plan, picked);
}

/** Queues the measurement of a set's sensitivities: of the node, of the plan, or of one chosen. */
export async function computeSensitivity(context: Context, from?: SetNode | vscode.Uri): Promise<void> {
  const target = await targetFor(context, from);
  if (!target) return;
  const { model, set } = target;
  const data = await chooseSensitivityData(context.extension, model, set.name);
  if (data === undefined) return;
  const { device, threads } = readSettings();
  const { job } = await context.engine.request('jobs/start', {
    kind: 'sensitivity',
    request: {
      model: model.path,
      adapters: set.path,
      data,
      device,
      force: true,
      ...(threads > 0 && { threads }),
    },
    title: vscode.l10n.t('Sensitivity of {0}', modelName(model)),
  });
  await context.jobs.all();
  await context.trees.jobs.view.reveal({ kind: 'job', id: job.id }, { select: true, focus: false });
}

/** Names the model in a plan that has none. */
export async function choosePlanModel(context: Context, uri?: vscode.Uri): Promise<void> {
  const plan = await planOf(uri);
  if (!plan) return;
  const { paths } = await context.plans.read(await vscode.workspace.openTextDocument(plan));
  const fitting = (await targetsOf(context.adapters)).find(({ set }) => set.path === paths.adapters)?.model;
  const models = (await context.models.all())
    .filter((model) => model.supported)
    .sort((a, b) => Number(b.path === fitting?.path) - Number(a.path === fitting?.path));
  const picked = await pickOne<SupportedModel>(alone(vscode.l10n.t('Model of the Plan')), {
    placeholder: vscode.l10n.t('The model that the plan is for'),
    items: models.map((value) => ({ value, label: modelName(value), description: value.path })),
  });
  if (picked !== undefined && picked !== BACK) await namePath(context, plan, 'model', picked.path);
}

/** Names the adapter set in a plan that has none; without one, offers to calibrate. */
export async function choosePlanAdapters(context: Context, uri?: vscode.Uri): Promise<void> {
  const plan = await planOf(uri);
  if (!plan) return;
  const { paths } = await context.plans.read(await vscode.workspace.openTextDocument(plan));
  const targets = (await targetsOf(context.adapters)).filter(({ model }) => model.path === paths.model);
  if (targets.length === 0)
    return offerCalibration(vscode.l10n.t('This model has no adapter set yet. Calibrate it first.'));
  const target = await pickTarget(targets, questionOf(vscode.l10n.t('Adapter Set of the Plan')));
  if (target) await namePath(context, plan, 'adapters', target.set.path);
}

async function namePath(
  context: Context,
  plan: vscode.Uri,
  key: 'model' | 'adapters',
  path: string,
): Promise<void> {
  const way = relativePath(plan, path);
  if (way === undefined) throw new Error(vscode.l10n.t('A plan must be on the same drive as its model.'));
  const document = await vscode.workspace.openTextDocument(plan);
  await context.plans.edit(document, (text) => editPath(text, key, way));
}

async function targetFor(
  context: Context,
  from: SetNode | vscode.Uri | undefined,
): Promise<Target | undefined> {
  if (from instanceof vscode.Uri || from === undefined) {
    const plan = from ?? activePlan();
    const open = plan && (await context.plans.read(await vscode.workspace.openTextDocument(plan)));
    const own = (await targetsOf(context.adapters)).find(({ set }) => set.path === open?.paths.adapters);
    return own ?? chooseTarget(context.adapters, questionOf(vscode.l10n.t('Compute Sensitivity')));
  }
  return from.kind === 'set' ? targetOf(from) : undefined;
}

const questionOf = (title: string): TargetQuestion => ({
  title,
  placeholder: vscode.l10n.t('Adapter set'),
});

/** The plan in the active editor, visual or text. */
export function activePlan(): vscode.Uri | undefined {
  const input = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
  const uri =
    input instanceof vscode.TabInputCustom || input instanceof vscode.TabInputText ? input.uri : undefined;
  return uri && isPlan({ uri }) ? uri : undefined;
}

/** The plan of a menu, of the active editor, or one chosen. */
export async function planOf(uri: vscode.Uri | undefined): Promise<vscode.Uri | undefined> {
  const known = uri instanceof vscode.Uri ? uri : activePlan();
  if (known) return known;
  const found = await findPlans();
  if (found.length === 0) {
    const create = vscode.l10n.t('New Precision Plan');
    const message = vscode.l10n.t('There is no precision plan in this workspace.');
    if (await inform(message, create)) await vscode.commands.executeCommand('elasticPrecision.newPlan');
    return undefined;
  }
  const picked = await pickOne<vscode.Uri>(alone(vscode.l10n.t('Precision Plan')), {
    placeholder: vscode.l10n.t('Precision plan'),
    items: found.map((value) => ({
      value,
      label: planName(value),
      description: vscode.workspace.asRelativePath(value),
    })),
  });
  return picked === BACK ? undefined : picked;
}
