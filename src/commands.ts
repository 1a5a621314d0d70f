/** Every command by its name: what it does, and what happens instead while it cannot. */
import { vscode } from './common/vscode.js';
import * as adapters from './adapters/commands.js';
import { calibrate } from './calibrate/command.js';
import { messageOf } from './common/errors.js';
import { alarm, inform, warn } from './common/messages.js';
import type { Context } from './context.js';
import { EngineError } from './engine/error.js';
import { ErrorCode } from '../engine/protocol/protocol.js';
import * as evaluation from './evaluation/commands.js';
import { exportModel } from './exports/command.js';
import { verifyExport } from './exports/verify.js';
import { getStarted } from './menus.js';
import * as jobs from './jobs/commands.js';
import * as models from './models/commands.js';
import { addFromHub } from './models/hub.js';
import { allocate } from './plans/allocate.js';
import * as plans from './plans/commands.js';
import * as status from './status/commands.js';

interface Command {
  // A command's arguments are what the menu or the caller gives it; each function checks its own.
  readonly enabled: (context: Context, ...args: never[]) => unknown;
  /** Tells why not, and says so by true. Asked in turn, before `enabled`. */
  readonly disabled?: readonly ((context: Context) => boolean)[];
}

const COMMANDS: Readonly<Record<string, Command>> = {
  calibrate: { enabled: calibrate, disabled: [untrusted, withoutEngine] },
  // The same by the words that others look for.
  quantize: { enabled: calibrate, disabled: [untrusted, withoutEngine] },
  evaluate: { enabled: evaluation.evaluate, disabled: [untrusted, withoutEngine] },
  export: { enabled: exportModel, disabled: [untrusted, withoutEngine] },
  refresh: { enabled: models.refresh },
  addModelFolder: { enabled: models.addFolder, disabled: [untrusted] },
  addModelFromHub: { enabled: addFromHub, disabled: [untrusted, withoutEngine] },
  copySamples: { enabled: models.copySamplesIntoFolder, disabled: [untrusted, withoutFolder] },
  revealModel: { enabled: models.reveal },
  copyPath: { enabled: models.copyPath },
  openConfig: { enabled: adapters.openConfig },
  revealAdapterSet: { enabled: adapters.reveal },
  renameAdapterSet: { enabled: adapters.rename, disabled: [untrusted, withoutEngine] },
  deleteAdapterSet: { enabled: adapters.remove, disabled: [untrusted] },
  openEvaluation: { enabled: evaluation.open },
  deleteEvaluation: { enabled: evaluation.remove, disabled: [untrusted] },
  newPlan: { enabled: plans.newPlan, disabled: [untrusted, withoutEngine] },
  openPlan: { enabled: plans.openPlan },
  allocate: { enabled: allocate, disabled: [withoutEngine] },
  computeSensitivity: { enabled: plans.computeSensitivity, disabled: [untrusted, withoutEngine] },
  applyPlan: { enabled: plans.applyPlan, disabled: [untrusted, withoutEngine] },
  comparePlans: { enabled: plans.comparePlans },
  choosePlanModel: { enabled: plans.choosePlanModel, disabled: [withoutEngine] },
  choosePlanAdapters: { enabled: plans.choosePlanAdapters, disabled: [withoutEngine] },
  cancelJob: { enabled: jobs.cancel },
  resumeJob: { enabled: jobs.resume, disabled: [untrusted, withoutEngine] },
  retryJob: { enabled: jobs.retry, disabled: [untrusted, withoutEngine] },
  verifyExport: { enabled: verifyExport, disabled: [untrusted, withoutEngine] },
  showJobLog: { enabled: jobs.showLog, disabled: [withoutEngine] },
  removeJob: { enabled: jobs.remove, disabled: [withoutEngine] },
  clearFinishedJobs: { enabled: jobs.clearFinished, disabled: [withoutEngine] },
  chooseDevice: { enabled: status.chooseDevice, disabled: [untrusted, withoutEngine] },
  restartEngine: { enabled: status.restartEngine },
  showLog: { enabled: ({ log }) => log.show() },
  showStatusMenu: { enabled: status.showMenu },
  getStarted: { enabled: getStarted },
};

export function registerCommands(context: Context): vscode.Disposable[] {
  return Object.entries(COMMANDS).map(([name, { enabled, disabled = [] }]) =>
    vscode.commands.registerCommand(`elasticPrecision.${name}`, async (...args: unknown[]) => {
      if (disabled.some((tell) => tell(context))) return;
      try {
        return await enabled(context, ...(args as never[]));
      } catch (error) {
        report(context, error);
      }
    }),
  );
}

/** What a person can mend is said in full; anything else also offers the log. */
function report({ log }: Context, error: unknown): void {
  if (error instanceof EngineError && error.isCancelled) return;
  const forPeople = error instanceof EngineError && error.code === ErrorCode.userError;
  if (!forPeople) log.error(error instanceof Error ? error : String(error));
  const show = vscode.l10n.t('Show Log');
  void alarm(messageOf(error), ...(forPeople ? [] : [show])).then((chosen) => chosen === show && log.show());
}

function untrusted(): boolean {
  if (vscode.workspace.isTrusted) return false;
  const manage = vscode.l10n.t('Manage Workspace Trust');
  void warn(vscode.l10n.t('This needs a trusted workspace.'), manage).then(
    (chosen) => chosen && vscode.commands.executeCommand('workbench.trust.manage'),
  );
  return true;
}

function withoutEngine({ engine }: Context): boolean {
  if (engine.state !== 'failed') return false;
  const restart = vscode.l10n.t('Restart Engine');
  void alarm(vscode.l10n.t('The engine is not running.'), restart).then(
    (chosen) => chosen && vscode.commands.executeCommand('elasticPrecision.restartEngine'),
  );
  return true;
}

function withoutFolder(): boolean {
  if (vscode.workspace.workspaceFolders?.length) return false;
  const open = vscode.l10n.t('Open Folder');
  void inform(vscode.l10n.t('First open the folder to copy the samples into.'), open).then(
    (chosen) => chosen && vscode.commands.executeCommand('vscode.openFolder'),
  );
  return true;
}
