/** A tree view over nodes that know neither the editor nor each other. */
import { vscode } from './vscode.js';
import { messageOf } from './errors.js';
import { plain } from './plain.js';

export interface TreeSource<N> {
  readonly children: (node: N | undefined) => Promise<readonly N[]> | readonly N[];
  readonly item: (node: N) => vscode.TreeItem;
  readonly parent: (node: N) => N | undefined;
}

export interface Tree<N> extends vscode.Disposable {
  readonly view: vscode.TreeView<N>;
  readonly provider: vscode.TreeDataProvider<N>;
  /** Asks for the children and the item of a node again, or for everything. */
  refresh(node?: N): void;
}

/**
 * A failure to find children is shown above the tree, unless `explained` says that its welcome view does so already.
 */
export function createTree<N>(id: string, source: TreeSource<N>, explained: () => boolean): Tree<N> {
  const changed = new vscode.EventEmitter<N | undefined>();
  const say = (message: string) => {
    if ((view.message ?? '') !== message) view.message = message;
  };
  const provider: vscode.TreeDataProvider<N> = {
    onDidChangeTreeData: changed.event,
    getTreeItem: source.item,
    getParent: source.parent,
    getChildren: async (node) => {
      try {
        const children = await source.children(node);
        say('');
        return [...children];
      } catch (error) {
        say(explained() ? '' : plain(messageOf(error)));
        return [];
      }
    },
  };
  const view = vscode.window.createTreeView(id, { treeDataProvider: provider, showCollapseAll: true });
  return {
    view,
    provider,
    refresh: (node) => changed.fire(node),
    dispose: () => {
      view.dispose();
      changed.dispose();
    },
  };
}

/** What a row says and is. */
export interface Row {
  /** Keeps selection and expansion over refreshes. */
  readonly id: string;
  readonly label: string;
  readonly description?: string;
  /** What it is, for those who hear it: `model`, `adapter set`. */
  readonly kind: string;
  readonly icon: string;
  /** Of the icon; never the only sign of anything. */
  readonly color?: string;
  /** Lines, taken literally. */
  readonly tooltip?: readonly string[];
  /** Words that menus match: see `view/item/context` in the manifest. */
  readonly context: string;
  readonly open?: 'collapsed' | 'expanded';
  readonly command?: vscode.Command;
}

export function rowItem(row: Row): vscode.TreeItem {
  const state = {
    collapsed: vscode.TreeItemCollapsibleState.Collapsed,
    expanded: vscode.TreeItemCollapsibleState.Expanded,
    none: vscode.TreeItemCollapsibleState.None,
  }[row.open ?? 'none'];
  const item = new vscode.TreeItem(plain(row.label), state);
  item.id = row.id;
  item.contextValue = row.context;
  item.iconPath = new vscode.ThemeIcon(row.icon, row.color ? new vscode.ThemeColor(row.color) : undefined);
  item.accessibilityInformation = {
    label: plain([row.label, row.kind, row.description].filter(Boolean).join(', ')),
  };
  if (row.description !== undefined) item.description = plain(row.description);
  if (row.tooltip) item.tooltip = row.tooltip.map(plain).join('\n');
  if (row.command) item.command = row.command;
  return item;
}
