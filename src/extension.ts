/** The extension's beginning and end. */
import { began } from './common/began.js';
import { vscode } from './common/vscode.js';
import { registerCommands } from './commands.js';
import { messageOf } from './common/errors.js';
import { alarm } from './common/messages.js';
import type { Context } from './context.js';
import { createContext } from './create-context.js';
import { tellNews } from './jobs/news.js';
import { followForMenus } from './menus.js';
import { registerLanguage } from './plans/language.js';
import { registerSuggestions } from './plans/suggest.js';
import { createStatusItem } from './status/item.js';
import { watchFolders } from './watch.js';

const loading = performance.now() - began;
let context: Context | undefined;

/** Starts no engine: that waits for the first view, command or page that needs one. */
export async function activate(extension: vscode.ExtensionContext): Promise<Context | undefined> {
  const called = performance.now();
  try {
    context = createContext(extension);
    extension.subscriptions.push(
      ...registerCommands(context),
      ...tellNews(context),
      createStatusItem(context.engine, context.jobs),
      watchFolders(context),
      followForMenus(context),
      ...registerLanguage(context.plans),
      ...registerSuggestions(context.plans),
    );
    // Own work: evaluating the modules, and this function up to here; what is awaited below is the window's.
    const own = loading + performance.now() - called;
    context.log.info(`Activated in ${own.toFixed(1)} ms.`);
    await vscode.commands.executeCommand('setContext', 'elasticPrecision.active', true);
    return context;
  } catch (error) {
    // The editor itself tells nobody.
    void alarm(vscode.l10n.t('Elastic Precision could not start: {0}', messageOf(error)));
    throw error;
  }
}

/** Resolves when no process of ours is left. */
export async function deactivate(): Promise<void> {
  await context?.engine.stop();
}
