import { vscode } from '../common/vscode.js';
import { setNameProblem } from './choices.js';

/** What is wrong with the name of a new adapter set, for people; undefined where nothing is. */
export function nameProblemText(name: string, taken: readonly string[]): string | undefined {
  switch (setNameProblem(name, taken)) {
    case undefined:
      return undefined;
    case 'empty':
      return vscode.l10n.t('Enter a name.');
    case 'characters':
    case 'spaces':
      return vscode.l10n.t('A name cannot contain / \\ : * ? " < > | or begin or end with a space.');
    case 'dots':
    case 'partial':
    case 'reserved':
      return vscode.l10n.t('This name is reserved; choose another.');
    case 'long':
      return vscode.l10n.t('This name is too long.');
    case 'taken':
      return vscode.l10n.t('That name is taken.');
  }
}
