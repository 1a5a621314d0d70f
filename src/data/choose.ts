/** Choosing a calibration or evaluation set: used before, bundled, or any file or folder. */
import { basename, dirname } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { SupportedModel } from '../../engine/protocol/protocol.js';
import { BACK, type Place } from '../common/ask.js';
import { pickOne, type Choice } from '../common/inputs.js';
import { exists, sampleData } from '../samples.js';
import { wordsOf } from '../tasks.js';

type Task = SupportedModel['task'];
export type Purpose = 'calibration' | 'evaluation';

export interface DatasetQuestion {
  readonly task: Task;
  readonly purpose: Purpose;
  readonly placeholder: string;
  /** Paths used before, the latest first. */
  readonly recent: readonly string[];
  /** Folder of the extension. */
  readonly root: string;
}

type Source = { readonly path: string } | 'folder' | 'file';

/** Asks until there is a path, the person goes back, or leaves. */
export async function chooseDataset(
  place: Place,
  question: DatasetQuestion,
): Promise<string | typeof BACK | undefined> {
  for (;;) {
    const source = await pickOne<Source>(place, {
      placeholder: question.placeholder,
      items: sources(question),
    });
    if (source === undefined || source === BACK) return source;
    if (typeof source === 'object') return source.path;
    const path = await browse(source, question);
    if (path !== undefined) return path;
  }
}

async function sources({ task, purpose, recent, root }: DatasetQuestion): Promise<Choice<Source>[]> {
  const folders = (vscode.workspace.workspaceFolders ?? []).map(({ uri }) => uri.fsPath);
  const sample = await sampleData(root, task, purpose, folders);
  const there = await Promise.all(recent.map(exists));
  const used = recent.filter((path, i) => there[i] && path !== sample);
  const kind = vscode.QuickPickItemKind.Separator;
  return [
    ...(used.length > 0 ? [{ label: vscode.l10n.t('Used before'), kind }] : []),
    ...used.map((path) => ({
      label: `$(history) ${basename(path)}`,
      description: dirname(path),
      value: { path },
    })),
    { label: vscode.l10n.t('Choose'), kind },
    {
      label: `$(folder) ${vscode.l10n.t('Folder…')}`,
      description: wordsOf(task).folders,
      value: 'folder',
    },
    {
      label: `$(file) ${vscode.l10n.t('File…')}`,
      description: wordsOf(task).files,
      value: 'file',
    },
    ...(sample === undefined
      ? []
      : [
          { label: vscode.l10n.t('Comes with the extension'), kind },
          {
            label: `$(beaker) ${wordsOf(task).samples[purpose]}`,
            description: vscode.l10n.t('for the sample model'),
            value: { path: sample },
          },
        ]),
  ];
}

async function browse(
  source: 'folder' | 'file',
  { placeholder, recent }: DatasetQuestion,
): Promise<string | undefined> {
  const near = recent[0] === undefined ? undefined : vscode.Uri.file(dirname(recent[0]));
  const defaultUri = near ?? vscode.workspace.workspaceFolders?.[0]?.uri;
  const chosen = await vscode.window.showOpenDialog({
    canSelectFolders: source === 'folder',
    canSelectFiles: source === 'file',
    title: placeholder,
    openLabel: vscode.l10n.t('Use'),
    ...(defaultUri && { defaultUri }),
  });
  return chosen?.[0]?.fsPath;
}
