/** The settings (`elasticPrecision.*`), read where they are needed, so that a change counts at once. */
import { homedir } from 'node:os';
import { vscode } from './common/vscode.js';
import type { DeviceChoice } from '../engine/protocol/protocol.js';
import { existingFolders, foldersToSearch } from './models/folders.js';

const SECTION = 'elasticPrecision';

export interface Settings {
  readonly device: DeviceChoice;
  /** 0: one per physical core. */
  readonly threads: number;
  /** Gigabytes for the activations of a calibration set; 0: half of what is free. */
  readonly cacheMemory: number;
  /** Of another engine's `engine.js`; undefined for the one that comes with the extension. */
  readonly enginePath: string | undefined;
  readonly modelFolders: readonly string[];
  readonly huggingFaceCache: boolean;
}

export function readSettings(): Settings {
  return {
    device: read<DeviceChoice>('device', 'auto'),
    threads: read('engine.threads', 0),
    cacheMemory: read('engine.cacheMemory', 0),
    enginePath: read('engine.path', '').trim() || undefined,
    modelFolders: read<string[]>('models.folders', []).filter((folder) => typeof folder === 'string'),
    huggingFaceCache: read('models.huggingFaceCache', false),
  };
}

/** Names what an untrusted workspace must not choose; the manifest restricts the same ones. */
const RESTRICTED: ReadonlySet<string> = new Set(['engine.path', 'models.folders', 'models.huggingFaceCache']);
/** Chosen by the user alone, whatever the workspace. */
const USER_ONLY: ReadonlySet<string> = new Set(['engine.path']);

function read<T>(key: string, otherwise: T): T {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const own = USER_ONLY.has(key) || (RESTRICTED.has(key) && !vscode.workspace.isTrusted);
  if (!own) return configuration.get<T>(key, otherwise);
  const found = configuration.inspect<T>(key);
  return found?.globalValue ?? found?.defaultValue ?? otherwise;
}

export const writeDevice = (device: DeviceChoice) =>
  vscode.workspace.getConfiguration(SECTION).update('device', device, vscode.ConfigurationTarget.Global);

/** For all of the user's folders: what is downloaded belongs to none of them. */
export async function listHuggingFaceCache(): Promise<void> {
  if (readSettings().huggingFaceCache) return;
  await vscode.workspace
    .getConfiguration(SECTION)
    .update('models.huggingFaceCache', true, vscode.ConfigurationTarget.Global);
}

/** Adds a folder to those of the workspace where one is open, else to the user's. */
export async function addModelFolder(folder: string): Promise<void> {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const found = configuration.inspect<string[]>('models.folders');
  const inWorkspace = vscode.workspace.workspaceFolders !== undefined;
  const before = (inWorkspace ? found?.workspaceValue : found?.globalValue) ?? [];
  if (before.includes(folder)) return;
  const target = inWorkspace ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global;
  await configuration.update('models.folders', [...before, folder], target);
}

export const workspaceFolders = (): string[] =>
  (vscode.workspace.workspaceFolders ?? [])
    .filter(({ uri }) => uri.scheme === 'file')
    .map(({ uri }) => uri.fsPath);

/** Absolute folders to search for models and adapter sets, all of them there. */
export async function searchedFolders(log: vscode.LogOutputChannel): Promise<readonly string[]> {
  const { modelFolders, huggingFaceCache } = readSettings();
  const folders = foldersToSearch(
    { workspace: workspaceFolders(), configured: modelFolders, huggingFaceCache },
    { home: homedir(), env: process.env },
  );
  const { found, missing } = await existingFolders(folders);
  for (const folder of missing) log.warn(`Not searched, as it is not a folder: ${folder}`);
  return found;
}

/** Calls back once one of the settings has changed. */
export const onDidChangeSettings = (keys: readonly string[], changed: () => void): vscode.Disposable =>
  vscode.workspace.onDidChangeConfiguration((event) => {
    if (keys.some((key) => event.affectsConfiguration(`${SECTION}.${key}`))) changed();
  });
