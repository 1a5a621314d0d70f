import { vscode } from '../common/vscode.js';
import { addModelFolder } from '../configuration.js';
import type { Context } from '../context.js';
import type { SetNode } from '../adapters/nodes.js';
import { copySamples } from '../samples.js';
import type { ModelNode } from './nodes.js';

export function refresh({ models, adapters }: Context): void {
  models.refresh();
  adapters.refresh();
}

export async function addFolder(context: Context): Promise<void> {
  const [folder] =
    (await vscode.window.showOpenDialog({
      canSelectFolders: true,
      canSelectFiles: false,
      title: vscode.l10n.t('Folder to search for models'),
      openLabel: vscode.l10n.t('Search'),
    })) ?? [];
  if (!folder) return;
  await addModelFolder(folder.fsPath);
  await vscode.commands.executeCommand('elasticPrecision.models.focus');
  refresh(context);
}

/** Into the first workspace folder, or the one chosen of several. */
export async function copySamplesIntoFolder(context: Context): Promise<void> {
  const folders = vscode.workspace.workspaceFolders ?? [];
  const folder = folders.length > 1 ? await vscode.window.showWorkspaceFolderPick() : folders[0];
  if (!folder) return;
  const { extensionUri } = context.extension;
  await vscode.window.withProgress({ location: { viewId: 'elasticPrecision.models' } }, () =>
    copySamples(extensionUri.fsPath, folder.uri.fsPath),
  );
  refresh(context);
  await vscode.commands.executeCommand('elasticPrecision.models.focus');
}

export const reveal = async (
  { trees }: Context,
  node: ModelNode | undefined = selected(trees.models.view),
) => {
  if (node) await revealFolder(node.model.path);
};

/** In the editor's own explorer where the folder is open there, else in the system's. */
export async function revealFolder(path: string): Promise<void> {
  const uri = vscode.Uri.file(path);
  const command = vscode.workspace.getWorkspaceFolder(uri) ? 'revealInExplorer' : 'revealFileInOS';
  await vscode.commands.executeCommand(command, uri);
}

export async function copyPath(_context: Context, node: ModelNode | SetNode | undefined): Promise<void> {
  if (node) await vscode.env.clipboard.writeText(node.kind === 'set' ? node.entry.set.path : node.model.path);
}

const selected = (view: vscode.TreeView<unknown>): ModelNode | undefined => {
  const [node] = view.selection as readonly ({ readonly kind: string } | undefined)[];
  return node?.kind === 'model' ? (node as ModelNode) : undefined;
};
