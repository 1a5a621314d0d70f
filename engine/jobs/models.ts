/** Finds checkpoint folders and says what they are. */
import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { CancelledError, messageOf, UserError } from '../errors.js';
import { openCheckpoint } from '../models/checkpoint.js';
import { partsOf } from '../models/model.js';
import type { JobHooks, ModelReport, ModelsRequest } from './requests.js';

/** Folders deeper than this below the one named are not looked at. */
const MAX_DEPTH = 6;
const PASSED_OVER = new Set(['node_modules', '.git', '.venv', '__pycache__']);

export async function listModels(
  { folders }: ModelsRequest,
  hooks: JobHooks<'models'>,
): Promise<ModelReport[]> {
  const reports: ModelReport[] = [];
  for (const folder of folders)
    for (const found of await findCheckpoints(resolve(folder), hooks.signal))
      reports.push(await report(found));
  return reports;
}

/** Folders with a `config.json` and weights, sorted; links are not followed. */
async function findCheckpoints(root: string, signal: AbortSignal): Promise<string[]> {
  const info = await stat(root).catch(() => undefined);
  if (!info?.isDirectory()) throw new UserError(`${root} is not a folder.`);
  const found: string[] = [];
  const visit = async (folder: string, depth: number): Promise<void> => {
    if (signal.aborted) throw new CancelledError();
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
    const names = entries.filter((e) => !e.isDirectory()).map((e) => e.name);
    if (names.includes('config.json') && names.some((n) => n.includes('safetensors') || n.endsWith('.bin')))
      found.push(folder);
    if (depth === MAX_DEPTH) return;
    for (const entry of entries
      .filter((e) => e.isDirectory() && !PASSED_OVER.has(e.name))
      .sort((a, b) => (a.name < b.name ? -1 : 1)))
      await visit(join(folder, entry.name), depth + 1);
  };
  await visit(root, 0);
  return found;
}

async function report(path: string): Promise<ModelReport> {
  const name = basename(path);
  try {
    const checkpoint = await openCheckpoint(path);
    const { model, source, parameters } = checkpoint;
    const layers = partsOf(model).reduce((n, part) => n + checkpoint.listing(part).linears.length, 0);
    await checkpoint.close();
    return {
      path,
      name,
      supported: true,
      family: model.family,
      task: model.task,
      blocks: model.blocks.length,
      layers,
      parameters,
      bytes: source.byteLength,
    };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const onlyPickles =
      !existsSync(join(path, 'model.safetensors')) && !existsSync(join(path, 'model.safetensors.index.json'));
    const reason = onlyPickles
      ? `${name} has no safetensors weights; other formats can run code and are not read.`
      : messageOf(error);
    return { path, name, supported: false, reason };
  }
}
