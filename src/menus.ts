/**
 * Context keys that menus, welcome views and the walkthrough depend on. The editor ticks a step when an expression turns
 * true that was false when it first read the walkthrough; so each step has others, which wait for the page to be open.
 */
import { vscode } from './common/vscode.js';
import type { Context } from './context.js';

export function followForMenus(context: Context): vscode.Disposable {
  const { engine, models, adapters, jobs, trees } = context;
  const known = new Map<string, unknown>();
  const set = (key: string, value: unknown) => {
    if (known.get(key) === value) return;
    known.set(key, value);
    void vscode.commands.executeCommand('setContext', `elasticPrecision.${key}`, value);
  };
  set('engine', engine.state);

  const subscriptions = [
    engine.onDidChangeState(({ state }) => {
      set('engine', state);
      if (state === 'failed') Object.values(trees).forEach((tree) => tree.refresh());
    }),
    models.onDidChange(() =>
      set(
        'hasModels',
        models.known().some(({ supported }) => supported),
      ),
    ),
    models.onDidSearch((search) => {
      const location = { viewId: 'elasticPrecision.models' };
      void vscode.window.withProgress({ location }, () => search.catch(() => undefined));
    }),
    adapters.onDidRead((owners) => {
      set(
        'hasAdapterSets',
        owners.some(({ sets }) => sets.length > 0),
      );
      const evaluated = owners.some(
        (owner) => owner.evaluations.length > 0 || owner.sets.some((s) => s.evaluations.length > 0),
      );
      set('hasEvaluations', evaluated);
    }),
    jobs.onDidChange(() => {
      const all = jobs.known();
      set(
        'hasCalibrations',
        all.some(({ kind }) => kind === 'calibrate'),
      );
      set(
        'hasExports',
        all.some(({ kind }) => kind === 'export'),
      );
      set(
        'hasFinishedJobs',
        all.some(({ state }) => state === 'finished' || state === 'cancelled' || state === 'failed'),
      );
    }),
  ];
  return { dispose: () => subscriptions.forEach((subscription) => subscription.dispose()) };
}

/** Opens the walkthrough. Where the command does, its page is the active editor before the editor reads the steps. */
export async function getStarted({ extension }: Context): Promise<void> {
  await vscode.commands.executeCommand('workbench.action.openWalkthrough', `${extension.extension.id}#start`);
  await vscode.commands.executeCommand('setContext', 'elasticPrecision.gettingStarted', true);
}
