import { dirname } from 'node:path';
import { vscode } from '../common/vscode.js';
import { moveToTrash } from '../adapters/commands.js';
import type { EvaluationNode, SetNode } from '../adapters/nodes.js';
import { chooseTarget, targetOf } from '../adapters/targets.js';
import type { Context } from '../context.js';

/** Opens the evaluation page for an adapter set: the one of the node, or one chosen of all. */
export async function evaluate({ adapters, evaluations }: Context, node?: SetNode): Promise<void> {
  const target =
    node?.kind === 'set'
      ? targetOf(node)
      : await chooseTarget(adapters, {
          title: vscode.l10n.t('Evaluate Adapter Set'),
          placeholder: vscode.l10n.t('Adapter set to evaluate; others can be added on the page'),
        });
  if (target) evaluations.evaluate(target.model.path, [target.set.path]);
}

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
    paths: [chosen.report.path],
    question: vscode.l10n.t('Move the evaluation "{0}" to the trash?', chosen.report.name),
    detail: vscode.l10n.t('The adapter set is not changed.'),
    erase: () => vscode.workspace.fs.delete(vscode.Uri.file(chosen.report.path), { useTrash: false }),
  });
  adapters.refresh();
}
