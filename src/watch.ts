/** Keeps models and adapter sets fresh: files of theirs that come, change or go, in every folder that is searched. */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { vscode } from './common/vscode.js';
import { onDidChangeSettings, searchedFolders } from './configuration.js';
import { contains } from './common/paths.js';
import type { Context } from './context.js';

/** Files of a checkpoint, an adapter set or an evaluation; what a running job writes on its way is not among them. */
export function concerns(path: string): 'models' | 'adapters' | undefined {
  if (/\.partial([/\\]|$)/.test(path)) return undefined;
  const name = basename(path);
  if (
    /^(adapter_config\.json|adapter_model\.safetensors|sensitivity\.json)$/.test(name) ||
    /[/\\]evaluations[/\\][^/\\]+\.json$/.test(path)
  )
    return 'adapters';
  return /^config\.json$|\.safetensors(\.index\.json)?$|\.bin$/.test(name) ? 'models' : undefined;
}

/** A checkpoint is copied file by file: what follows within this time is looked at together. */
const CALM_MILLISECONDS = 400;

export function watchFolders(context: Context): vscode.Disposable {
  const { models, adapters, log } = context;
  let watchers: vscode.Disposable[] = [];
  let timer: NodeJS.Timeout | undefined;
  let stale: 'models' | 'adapters' | undefined;

  function mark(what: 'models' | 'adapters' | undefined): void {
    if (what === undefined) return;
    stale = stale === 'models' ? stale : what;
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (stale === 'models') models.refresh();
      adapters.refresh();
      stale = undefined;
    }, CALM_MILLISECONDS);
  }

  /** A folder that was moved here as a whole is one event. */
  async function appeared({ fsPath }: vscode.Uri): Promise<void> {
    const what = concerns(fsPath);
    if (what) return mark(what);
    const isFolder = await stat(fsPath).then(
      (info) => info.isDirectory(),
      () => false,
    );
    if (isFolder && !fsPath.endsWith('.partial')) mark('models');
  }

  function vanished({ fsPath }: vscode.Uri): void {
    const held = models.known().some(({ path }) => contains(fsPath, path));
    // Adapter sets lie below a folder of any name.
    mark(concerns(fsPath) ?? (held ? 'models' : /\.\w+$/.test(fsPath) ? undefined : 'adapters'));
  }

  async function watch(): Promise<void> {
    for (const watcher of watchers) watcher.dispose();
    watchers = [];
    for (const folder of await searchedFolders(log)) {
      const pattern = new vscode.RelativePattern(vscode.Uri.file(folder), '**/*');
      const watcher = vscode.workspace.createFileSystemWatcher(pattern);
      watcher.onDidCreate((uri) => void appeared(uri));
      watcher.onDidChange(({ fsPath }) => mark(concerns(fsPath)));
      watcher.onDidDelete(vanished);
      watchers.push(watcher);
    }
  }

  const again = () => {
    models.refresh();
    adapters.refresh();
    void watch();
  };
  const subscriptions = [
    onDidChangeSettings(['models'], again),
    vscode.workspace.onDidChangeWorkspaceFolders(again),
    vscode.workspace.onDidGrantWorkspaceTrust(again),
  ];
  void watch();
  return {
    dispose: () => {
      clearTimeout(timer);
      for (const disposable of [...watchers, ...subscriptions]) disposable.dispose();
    },
  };
}
