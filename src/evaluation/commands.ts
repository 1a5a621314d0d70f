import { dirname } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { ReadableAdapterSet } from '../../engine/protocol/protocol.js';
import { moveToTrash } from '../adapters/commands.js';
import { isCurrent, type EvaluationNode, type SetNode } from '../adapters/nodes.js';
import { alone, BACK } from '../common/ask.js';
import { formatBits } from '../common/format.js';
import { pickOne } from '../common/inputs.js';
import type { Context } from '../context.js';
import { modelName } from '../models/names.js';

/** A set that can be evaluated, and its model's folder. */
interface Target {
  readonly set: ReadableAdapterSet;
  readonly model: string;
}

/** Opens the evaluation page for an adapter set: the one of the node, or one chosen of all. */
export async function evaluate(context: Context, node?: SetNode): Promise<void> {
  const target = node?.kind === 'set' ? targetOf(node) : await chooseTarget(context);
  if (target) context.evaluations.evaluate(target.model, [target.set.path]);
}

function targetOf({ entry: { set }, owner: { model } }: SetNode): Target | undefined {
  return set.readable && isCurrent(set) && model ? { set, model: model.path } : undefined;
}

async function chooseTarget({ adapters }: Context): Promise<Target | undefined> {
  const all = await adapters.all();
  const targets = all.flatMap((owner) =>
    owner.sets.flatMap((entry) => {
      const target = targetOf({ kind: 'set', owner, entry });
      return target && owner.model ? [{ target, owner: owner.model }] : [];
    }),
  );
  if (targets.length === 0) {
    const start = vscode.l10n.t('Calibrate Model');
    const chosen = await vscode.window.showInformationMessage(
      vscode.l10n.t('There is no adapter set to evaluate yet. Calibrate a model first.'),
      start,
    );
    if (chosen) await vscode.commands.executeCommand('elasticPrecision.calibrate');
    return undefined;
  }
  if (targets.length === 1) return targets[0]!.target;
  const picked = await pickOne<Target>(alone(vscode.l10n.t('Evaluate Adapter Set')), {
    placeholder: vscode.l10n.t('Adapter set to evaluate; others can be added on the page'),
    items: targets.map(({ target, owner }) => ({
      value: target,
      label: target.set.name,
      description: `${modelName(owner)} · ${vscode.l10n.t('{0} bits', formatBits(bitsOf(target.set)))}`,
      detail: target.set.path,
    })),
  });
  return picked === BACK ? undefined : picked;
}

const bitsOf = ({ config }: ReadableAdapterSet) => config.bit_groups.flatMap(({ bits }) => bits);

/** Opens a saved evaluation; its page can also run the next one. */
export function open({ evaluations }: Context, node: EvaluationNode | undefined): void {
  if (!node?.report.readable) return;
  const model = node.parent.owner.model?.path ?? dirname(node.report.folder);
  evaluations.open(model, node.report.path);
}

export async function remove({ adapters, trees }: Context, node?: EvaluationNode): Promise<void> {
  const chosen = node ?? trees.adapters.view.selection[0];
  if (chosen?.kind !== 'evaluation') return;
  await moveToTrash({
    path: chosen.report.path,
    question: vscode.l10n.t('Move the evaluation "{0}" to the trash?', chosen.report.name),
    detail: vscode.l10n.t('The adapter set stays as it is.'),
  });
  adapters.refresh();
}
