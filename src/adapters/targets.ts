/** Adapter sets that can be used with their models, and the choice among them. */
import { vscode } from '../common/vscode.js';
import type { ReadableAdapterSet, SupportedModel } from '../../engine/protocol/protocol.js';
import { alone, BACK } from '../common/ask.js';
import { formatBits } from '../common/format.js';
import { pickOne } from '../common/inputs.js';
import { inform } from '../common/messages.js';
import { modelName } from '../models/names.js';
import { offeredBits, type AdapterList } from './adapter-list.js';
import { isCurrent, type SetNode } from './nodes.js';

/** A set that can be used, and its model. */
export interface Target {
  readonly model: SupportedModel;
  readonly set: ReadableAdapterSet;
}

export interface TargetQuestion {
  readonly title: string;
  readonly placeholder: string;
}

/** Undefined where the set cannot be read, or is not for the model as it is now. */
export function targetOf({ entry: { set }, owner: { model } }: Omit<SetNode, 'kind'>): Target | undefined {
  return set.readable && isCurrent(set) && model ? { set, model } : undefined;
}

export async function targetsOf(adapters: AdapterList): Promise<Target[]> {
  const all = await adapters.all();
  return all.flatMap((owner) => owner.sets.flatMap((entry) => targetOf({ owner, entry }) ?? []));
}

/** The only one, or the one that is picked of several. Without any, offers to calibrate. */
export async function chooseTarget(
  adapters: AdapterList,
  question: TargetQuestion,
): Promise<Target | undefined> {
  const targets = await targetsOf(adapters);
  if (targets.length > 1) return pickTarget(targets, question);
  if (targets.length === 0)
    await offerCalibration(vscode.l10n.t('There is no adapter set yet. Calibrate a model first.'));
  return targets[0];
}

export async function pickTarget(
  targets: readonly Target[],
  { title, placeholder }: TargetQuestion,
): Promise<Target | undefined> {
  const picked = await pickOne<Target>(alone(title), {
    placeholder,
    items: targets.map((value) => ({
      value,
      label: value.set.name,
      description: `${modelName(value.model)} · ${vscode.l10n.t('{0} bits', formatBits(offeredBits(value.set), vscode.env.language))}`,
      detail: value.set.path,
    })),
  });
  return picked === BACK ? undefined : picked;
}

export async function offerCalibration(message: string): Promise<void> {
  const calibrate = vscode.l10n.t('Calibrate Model');
  if (await inform(message, calibrate)) await vscode.commands.executeCommand('elasticPrecision.calibrate');
}
