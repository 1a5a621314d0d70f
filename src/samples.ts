/** The trained models and data that come with the extension. */
import { access, cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SupportedModel } from '../engine/protocol/protocol.js';

type Task = SupportedModel['task'];

const DATA: Readonly<Record<string, { readonly calibration: string; readonly evaluation: string }>> = {
  'image-classification': {
    calibration: 'data/fashion-mnist/calibration-images-idx3-ubyte.gz',
    evaluation: 'data/fashion-mnist/evaluation-images-idx3-ubyte.gz',
  },
  'text-generation': {
    calibration: 'data/speeches/calibration.txt',
    evaluation: 'data/speeches/evaluation.txt',
  },
};

const COPIED = ['vit-fashion', 'llama-speeches', 'data'];
export const SAMPLES_FOLDER = 'elastic-precision-samples';

/**
 * Absolute path of a sample's data; undefined for a task that no sample is for. What lies in one of `folders`, where it was
 * copied to, stays: the extension's own is gone with its next update, and with it what jobs and sets name.
 * @param root the extension's folder
 */
export async function sampleData(
  root: string,
  task: Task,
  purpose: 'calibration' | 'evaluation',
  folders: readonly string[],
): Promise<string | undefined> {
  const path = DATA[task]?.[purpose];
  if (path === undefined) return undefined;
  for (const folder of folders) {
    const copied = join(folder, SAMPLES_FOLDER, path);
    if (await exists(copied)) return copied;
  }
  return join(root, 'samples', path);
}

/**
 * Copies the samples into `folder/elastic-precision-samples` and resolves to that folder. What is there already stays as
 * it is.
 */
export async function copySamples(root: string, folder: string): Promise<string> {
  const target = join(folder, SAMPLES_FOLDER);
  await mkdir(target, { recursive: true });
  for (const name of COPIED)
    await cp(join(root, 'samples', name), join(target, name), { recursive: true, force: false });
  return target;
}

export const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
