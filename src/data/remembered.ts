/** Data sets that were chosen for models of a task, offered again the next time. */
import { vscode } from '../common/vscode.js';
import type { SupportedModel } from '../../engine/protocol/protocol.js';
import { alone, BACK } from '../common/ask.js';
import { chooseDataset } from './choose.js';

/** What a person does with data outside of a calibration, which remembers its own. */
type Use = 'evaluate' | 'sensitivity' | 'baseline';
type Extension = Pick<vscode.ExtensionContext, 'extensionUri' | 'workspaceState'>;

const REMEMBERED_PATHS = 5;
const memory = (use: Use, task: SupportedModel['task']) => `${use}.data.${task}`;

/** Paths that were used for such models, the latest first. */
const recentData = (
  { workspaceState }: Extension,
  use: Use,
  task: SupportedModel['task'],
): readonly string[] => workspaceState.get<string[]>(memory(use, task), []);

/** The evaluation set that was used last for such models. */
export const lastEvaluationData = (extension: Extension, task: SupportedModel['task']): string | undefined =>
  recentData(extension, 'evaluate', task)[0];

/** Lets the person choose an evaluation set for a model, and remembers it. */
export const chooseEvaluationData = (
  extension: Extension,
  { task }: SupportedModel,
): Promise<string | undefined> =>
  chooseRemembered(extension, 'evaluate', {
    task,
    purpose: 'evaluation',
    title: vscode.l10n.t('Evaluation Set'),
    placeholder: vscode.l10n.t('Evaluation set: data that calibration has not seen'),
  });

/** Lets the person choose what a comparison is calibrated on, and remembers it. */
export const chooseBaselineData = (
  extension: Extension,
  { task }: SupportedModel,
): Promise<string | undefined> =>
  chooseRemembered(extension, 'baseline', {
    task,
    purpose: 'calibration',
    title: vscode.l10n.t('Calibration Set of the Comparison'),
    placeholder: vscode.l10n.t('Data to calibrate on: the same as the adapter sets were calibrated on'),
  });

/** Lets the person choose what a set's sensitivity is measured on, and remembers it. @param set the set's name */
export const chooseSensitivityData = (
  extension: Extension,
  { task }: SupportedModel,
  set: string,
): Promise<string | undefined> =>
  chooseRemembered(extension, 'sensitivity', {
    task,
    purpose: 'calibration',
    title: vscode.l10n.t('Sensitivity of {0}', set),
    placeholder: vscode.l10n.t('Data to measure on: the calibration set, or more data like it'),
  });

interface Question {
  readonly task: SupportedModel['task'];
  readonly purpose: 'calibration' | 'evaluation';
  readonly title: string;
  readonly placeholder: string;
}

async function chooseRemembered(
  extension: Extension,
  use: Use,
  { task, purpose, title, placeholder }: Question,
): Promise<string | undefined> {
  const recent = recentData(extension, use, task);
  const root = extension.extensionUri.fsPath;
  const path = await chooseDataset(alone(title), { task, purpose, placeholder, recent, root });
  if (path === undefined || path === BACK) return undefined;
  const others = recent.filter((other) => other !== path);
  await extension.workspaceState.update(memory(use, task), [path, ...others].slice(0, REMEMBERED_PATHS));
  return path;
}
