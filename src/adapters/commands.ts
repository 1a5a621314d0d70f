import { basename, dirname, join } from 'node:path';
import { readdir } from 'node:fs/promises';
import { vscode } from '../common/vscode.js';
import { nameProblemText } from '../calibrate/name-text.js';
import { askLine, confirm, warn } from '../common/messages.js';
import { visible } from '../../engine/plans/visible.js';
import { isActive, worksWith } from '../jobs/job-list.js';
import type { Context } from '../context.js';
import { revealFolder } from '../models/commands.js';
import type { AdapterSetReport } from '../../engine/protocol/protocol.js';
import type { ModelNode } from '../models/nodes.js';
import type { SetNode } from './nodes.js';

/** From a menu with its node, from a key with none: then the selected row counts. */
const setOf = ({ trees }: Context, node: SetNode | undefined) => {
  const chosen = node ?? trees.adapters.view.selection.find((other) => other.kind === 'set');
  return chosen?.kind === 'set' ? chosen.entry.set : undefined;
};

/** Of a set, or of a model. */
export async function openConfig(context: Context, node?: SetNode | ModelNode): Promise<void> {
  const path = node?.kind === 'model' ? join(node.model.path, 'config.json') : configOf(setOf(context, node));
  if (path === undefined) return;
  await vscode.window.showTextDocument(vscode.Uri.file(path), { preview: true });
}

const configOf = (set: AdapterSetReport | undefined): string | undefined =>
  set && join(set.path, 'adapter_config.json');

export async function reveal(context: Context, node?: SetNode): Promise<void> {
  const set = setOf(context, node);
  if (set) await revealFolder(set.path);
}

export async function rename(context: Context, node?: SetNode): Promise<void> {
  const set = setOf(context, node);
  if (!set) return;
  const taken = (await readdir(dirname(set.path)).catch(() => [])).filter(
    (name) => name !== basename(set.path),
  );
  const name = await askLine({
    title: vscode.l10n.t('Rename {0}', set.name),
    value: set.name,
    prompt: vscode.l10n.t('New name of the adapter set'),
    problem: (text) => nameProblemText(text, taken),
  });
  if (name === undefined || name === set.name) return;
  await context.engine.request('adapters/rename', { path: set.path, name });
  context.adapters.refresh();
}

export async function remove(context: Context, node?: SetNode): Promise<void> {
  const set = setOf(context, node);
  if (!set) return;
  const user = context.jobs.known().find((job) => isActive(job) && worksWith(job, set.path));
  if (user) {
    const message = vscode.l10n.t('"{0}" works with {1}; cancel it first.', user.title, set.name);
    void warn(message);
    return;
  }
  const { files, others } = await context.engine.request('adapters/contents', { path: set.path });
  await moveToTrash({
    // Files one by one where something else must stay.
    paths: others.length === 0 ? [set.path] : files.map((name) => join(set.path, name)),
    question: vscode.l10n.t('Move the adapter set "{0}" to the trash?', set.name),
    detail: deletionDetail(files, others),
    erase: () => context.engine.request('adapters/delete', { path: set.path }),
  });
  context.adapters.refresh();
}

function deletionDetail(files: readonly string[], others: readonly string[]): string {
  const gone = vscode.l10n.t('Deleted: {0}. The model is not changed.', named(files));
  if (others.length === 0) return gone;
  return `${gone}\n${vscode.l10n.t('The folder stays, with what is not part of the set: {0}.', named(others))}`;
}

const MAX_NAMED = 12;

/** The names, or the first of many and a number. */
function named(names: readonly string[]): string {
  const some = names.slice(0, MAX_NAMED).map(visible).join(', ');
  const left = names.length - MAX_NAMED;
  return left > 0 ? vscode.l10n.t('{0} and {1} more', some, left) : some;
}

/** Asks first. Where it cannot go to the trash (a server has none), asks again whether to delete it for good. */
export async function moveToTrash({
  paths,
  question,
  detail,
  erase,
}: {
  readonly paths: readonly string[];
  readonly question: string;
  readonly detail: string;
  /** Deletes it for good. */
  readonly erase: () => Thenable<unknown>;
}): Promise<void> {
  const move = vscode.l10n.t('Move to Trash');
  const answer = await confirm(question, detail, move);
  if (answer !== move) return;
  try {
    for (const path of paths)
      await vscode.workspace.fs.delete(vscode.Uri.file(path), { recursive: true, useTrash: true });
  } catch {
    const forGood = vscode.l10n.t('Delete Permanently');
    const again = await confirm(
      vscode.l10n.t('It could not be moved to the trash. Delete it permanently?'),
      `${detail}\n${vscode.l10n.t('This cannot be undone.')}`,
      forGood,
    );
    if (again === forGood) await erase();
  }
}
