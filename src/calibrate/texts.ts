import { vscode } from '../common/vscode.js';
import type { NameProblem } from './choices.js';

export const nameProblemText = (problem: NameProblem): string =>
  ({
    empty: vscode.l10n.t('Enter a name.'),
    characters: vscode.l10n.t('A name has none of / \\ : * ? " < > | and no space at its ends.'),
    reserved: vscode.l10n.t('This name has a meaning of its own; choose another.'),
    long: vscode.l10n.t('This name is too long.'),
    taken: vscode.l10n.t('There is one of that name already.'),
  })[problem];
