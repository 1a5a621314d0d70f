/** Workspace folders for the tests, made anew and removed after. */
import { cp, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const samples = fileURLToPath(new URL('../../samples', import.meta.url));

export interface TestFolder {
  readonly path: string;
  remove(): Promise<void>;
}

/** An empty folder of this name, which may have spaces and letters of any script. */
export async function emptyFolder(name: string): Promise<TestFolder> {
  const parent = await mkdtemp(join(tmpdir(), 'elastic-precision-e2e-'));
  const path = join(parent, name);
  await mkdir(path);
  return { path, remove: () => rm(parent, { recursive: true, force: true, maxRetries: 5 }) };
}

/** A folder with copies of these samples. */
export async function sampleFolder(name: string, models: readonly string[]): Promise<TestFolder> {
  const folder = await emptyFolder(name);
  for (const model of models) await cp(join(samples, model), join(folder.path, model), { recursive: true });
  return folder;
}

/** Adds a copy of a checkpoint whose weights end in the middle. */
export async function addCorruptModel(folder: string, name: string): Promise<void> {
  const path = join(folder, name);
  await cp(join(samples, 'vit-fashion'), path, { recursive: true });
  const weights = join(path, 'model.safetensors');
  await truncate(weights, Math.floor((await readFile(weights)).length / 2));
}

/** Adds settings of the folder itself. */
export async function addSettings(
  folder: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<void> {
  await mkdir(join(folder, '.vscode'), { recursive: true });
  await writeFile(join(folder, '.vscode/settings.json'), JSON.stringify(settings));
}
