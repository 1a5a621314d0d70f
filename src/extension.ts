/** The extension's beginning and end. */
import * as vscode from 'vscode';
import { registerCommands } from './commands.js';
import { messageOf } from './common/errors.js';
import { createContext, type Context } from './context.js';
import { tellNews } from './jobs/news.js';
import { followForMenus } from './menus.js';
import { registerLanguage } from './plans/language.js';
import { createStatusItem } from './status/item.js';
import { watchFolders } from './watch.js';

let context: Context | undefined;

/** Starts no engine: that waits for the first view, command or page that needs one. */
export async function activate(extension: vscode.ExtensionContext): Promise<Context | undefined> {
  try {
    context = createContext(extension);
    extension.subscriptions.push(
      ...registerCommands(context),
      ...tellNews(context),
      createStatusItem(context.engine, context.jobs),
      watchFolders(context),
      followForMenus(context),
      ...registerLanguage(context.plans),
    );
    await vscode.commands.executeCommand('setContext', 'elasticPrecision.active', true);
    return context;
  } catch (error) {
    // The editor itself tells nobody.
    void vscode.window.showErrorMessage(
      vscode.l10n.t('Elastic Precision could not start: {0}', messageOf(error)),
    );
    throw error;
  }
}

/** Resolves when no process of ours is left. */
export async function deactivate(): Promise<void> {
  await context?.engine.stop();
}
