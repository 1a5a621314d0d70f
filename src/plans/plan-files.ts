/** The precision plans of the workspace, as files that need not be open. */
import { vscode } from '../common/vscode.js';
import { parsePlan } from '../../engine/plans/plan.js';
import { pathsOf, planName, type PlanPaths } from './plans.js';

export const PLANS = '**/*.precision.json';
const NOT_THERE = '**/node_modules/**';
/** Longer texts are no plans (docs/FORMATS.md). */
const MAX_BYTES = 8 << 20;

export interface PlanFile {
  readonly path: string;
  readonly name: string;
  readonly paths: PlanPaths;
}

export const findPlans = (): Thenable<vscode.Uri[]> => vscode.workspace.findFiles(PLANS, NOT_THERE);

/** All that can be read, by name; of the others their own editor says why. */
export async function readPlanFiles(): Promise<readonly PlanFile[]> {
  const found = await Promise.all((await findPlans()).map(planFile));
  return found.flatMap((file) => file ?? []).sort((a, b) => a.name.localeCompare(b.name));
}

async function planFile(uri: vscode.Uri): Promise<PlanFile | undefined> {
  const { fs } = vscode.workspace;
  try {
    if ((await fs.stat(uri)).size > MAX_BYTES) return undefined;
    const { plan } = parsePlan(new TextDecoder().decode(await fs.readFile(uri)));
    return plan && { path: uri.fsPath, name: planName(uri), paths: pathsOf(uri, plan) };
  } catch {
    return undefined;
  }
}

/** A plan has been made, saved or removed. */
export function onDidChangePlanFiles(listener: () => void): vscode.Disposable {
  const watcher = vscode.workspace.createFileSystemWatcher(PLANS);
  return vscode.Disposable.from(
    watcher,
    watcher.onDidCreate(listener),
    watcher.onDidChange(listener),
    watcher.onDidDelete(listener),
  );
}
