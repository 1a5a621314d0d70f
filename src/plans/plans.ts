/** The plans that are open: each document's state, its table, and its running model, shared by all that show it. */
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { TextEdit } from '../../engine/plans/edit.js';
import { parsePlan } from '../../engine/plans/plan.js';
import type { PrecisionTable } from '../../engine/protocol/protocol.js';
import { messageOf } from '../common/errors.js';
import { readDocument, type PlanState } from './document.js';
import type { Tables } from './tables.js';

/** Folders of a plan, absolute: those that it names, and where it names a set alone, the model of that. */
export interface PlanPaths {
  readonly model: string | undefined;
  readonly adapters: string | undefined;
}

export interface OpenPlan {
  readonly state: PlanState;
  readonly paths: PlanPaths;
  readonly table: PrecisionTable | undefined;
  /** Why there is no table, where a model is named and the folder is trusted. */
  readonly failure: string | undefined;
}

export interface Plans extends vscode.Disposable {
  /** A plan's text or table has changed. */
  readonly onDidChange: vscode.Event<vscode.TextDocument>;
  /** The plan as it is, with the table that its text names; without one in a folder that is not trusted. */
  read(document: vscode.TextDocument): Promise<OpenPlan>;
  /** What was read last. */
  known(document: vscode.TextDocument): OpenPlan | undefined;
  /** Changes the text as it is when its turn comes, in one undo step. */
  edit(
    document: vscode.TextDocument,
    edits: (text: string, table: PrecisionTable | undefined) => readonly TextEdit[],
  ): Promise<void>;
}

export const isPlan = ({ uri }: { readonly uri: vscode.Uri }): boolean =>
  uri.path.endsWith('.precision.json');

/** A path of a plan's, from its folder. */
export function relativePath(plan: vscode.Uri, path: string): string | undefined {
  const way = relative(dirname(plan.fsPath), path);
  return isAbsolute(way) ? undefined : way.split(sep).join('/') || '.';
}

/** @param modelOf the model that an adapter set was calibrated for, where it is known */
export function createPlans(
  tables: Tables,
  modelOf: (adapters: string) => Promise<string | undefined>,
): Plans {
  const changed = new vscode.EventEmitter<vscode.TextDocument>();
  const open = new Map<string, OpenPlan>();
  const edits = new Map<string, Promise<void>>();
  const keyOf = (document: vscode.TextDocument) => document.uri.toString();

  async function read(document: vscode.TextDocument): Promise<OpenPlan> {
    const key = keyOf(document);
    const before = open.get(key);
    const text = document.getText();
    const { plan } = parsePlan(text);
    const named = plan
      ? pathsOf(document.uri, plan)
      : (before?.paths ?? { model: undefined, adapters: undefined });
    const paths =
      named.model === undefined && named.adapters !== undefined
        ? { ...named, model: await modelOf(named.adapters).catch(() => undefined) }
        : named;
    let failure: string | undefined;
    const asked = paths.model === undefined ? undefined : tables.get(paths.model, paths.adapters);
    const table = await asked?.catch((error: unknown) => {
      failure = messageOf(error);
      return undefined;
    });
    const now = { state: readDocument(text, table, before?.state), paths, table, failure };
    // The text may have gone on while the engine was asked; whoever changed it reads it again.
    if (document.getText() === text) open.set(key, now);
    return now;
  }

  const subscriptions = [
    changed,
    vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
      if (isPlan(document) && contentChanges.length > 0) changed.fire(document);
    }),
    vscode.workspace.onDidCloseTextDocument((document) => open.delete(keyOf(document))),
    tables.onDidChange(() => {
      for (const document of vscode.workspace.textDocuments) if (isPlan(document)) changed.fire(document);
    }),
  ];

  return {
    onDidChange: changed.event,
    read,
    known: (document) => open.get(keyOf(document)),
    edit: (document, editsOf) => {
      const key = keyOf(document);
      const turn = (edits.get(key) ?? Promise.resolve()).then(async () => {
        const { table } = open.get(key) ?? (await read(document));
        const change = new vscode.WorkspaceEdit();
        for (const { offset, length, text } of editsOf(document.getText(), table)) {
          const [from, to] = [document.positionAt(offset), document.positionAt(offset + length)];
          change.replace(document.uri, new vscode.Range(from, to), text);
        }
        if (change.size > 0) await vscode.workspace.applyEdit(change);
      });
      edits.set(
        key,
        turn.catch(() => undefined),
      );
      return turn;
    },
    dispose: () => subscriptions.forEach((subscription) => void subscription.dispose()),
  };
}

export function pathsOf(
  uri: vscode.Uri,
  plan: { readonly model?: string; readonly adapters?: string },
): PlanPaths {
  const from = (path: string | undefined) =>
    path === undefined || uri.scheme !== 'file' ? undefined : join(dirname(uri.fsPath), path);
  return { model: from(plan.model), adapters: from(plan.adapters) };
}

export const planName = ({ path }: vscode.Uri): string => basename(path).replace(/\.precision\.json$/, '');
