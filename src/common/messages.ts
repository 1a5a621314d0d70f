/** What people are told and asked outside of views. The one way to the editor's messages, which see links in plain text. */
import { plain, plainLines } from './plain.js';
import { vscode } from './vscode.js';

/** Each resolves to the action chosen, undefined where the message is closed. */
export const inform = (message: string, ...actions: string[]): Thenable<string | undefined> =>
  vscode.window.showInformationMessage(plain(message), ...actions);

export const warn = (message: string, ...actions: string[]): Thenable<string | undefined> =>
  vscode.window.showWarningMessage(plain(message), ...actions);

export const alarm = (message: string, ...actions: string[]): Thenable<string | undefined> =>
  vscode.window.showErrorMessage(plain(message), ...actions);

/** A question that must be answered. */
export const confirm = (
  question: string,
  detail: string | undefined,
  ...actions: string[]
): Thenable<string | undefined> => {
  const options = { modal: true, ...(detail !== undefined && { detail: plainLines(detail) }) };
  return vscode.window.showWarningMessage(plain(question), options, ...actions);
};

export interface LineQuestion {
  readonly title: string;
  readonly prompt: string;
  readonly value: string;
  /** What is wrong with a text; undefined where nothing is. */
  readonly problem: (text: string) => string | undefined;
}

export const askLine = ({ title, prompt, value, problem }: LineQuestion): Thenable<string | undefined> =>
  vscode.window.showInputBox({
    title: plain(title),
    prompt: plain(prompt),
    value,
    validateInput: (text) => {
      const found = problem(text);
      return found === undefined ? undefined : plain(found);
    },
  });
