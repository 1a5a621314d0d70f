/** Where to look for models and adapter sets. Knows no editor. */
import { stat } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';

export interface FolderSettings {
  /** Absolute. */
  readonly workspace: readonly string[];
  /** As they stand in the setting: absolute, from `~/`, or relative to the first workspace folder. */
  readonly configured: readonly string[];
  readonly huggingFaceCache: boolean;
}

export interface Surroundings {
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Absolute paths without repetition, workspace folders first. A relative one without a workspace is left out. */
export function foldersToSearch(
  { workspace, configured, huggingFaceCache }: FolderSettings,
  { home, env }: Surroundings,
): string[] {
  const folders = [
    ...workspace,
    ...configured.flatMap((folder) => absolute(folder.trim(), workspace[0], home) ?? []),
    ...(huggingFaceCache ? [cacheFolder(home, env)] : []),
  ];
  return [...new Set(folders.map((folder) => resolve(folder)))];
}

function absolute(folder: string, workspace: string | undefined, home: string): string | undefined {
  if (folder === '') return undefined;
  if (folder === '~' || /^~[/\\]/.test(folder)) return join(home, folder.slice(1));
  if (isAbsolute(folder)) return folder;
  return workspace === undefined ? undefined : join(workspace, folder);
}

function cacheFolder(home: string, env: Surroundings['env']): string {
  const named = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE;
  if (named) return named;
  const base = env.HF_HOME || join(env.XDG_CACHE_HOME || join(home, '.cache'), 'huggingface');
  return join(base, 'hub');
}

/** The folders that are there, in their order, and those that are not. */
export async function existingFolders(
  folders: readonly string[],
): Promise<{ readonly found: readonly string[]; readonly missing: readonly string[] }> {
  const there = await Promise.all(
    folders.map((folder) =>
      stat(folder).then(
        (info) => info.isDirectory(),
        () => false,
      ),
    ),
  );
  return { found: folders.filter((_, i) => there[i]), missing: folders.filter((_, i) => !there[i]) };
}
