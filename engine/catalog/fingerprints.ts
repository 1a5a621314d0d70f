/** Fingerprints of models, computed again only when their files have changed. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { openCheckpoint } from '../models/checkpoint.js';

/** The fingerprint of the checkpoint in a folder; undefined where it is not supported. */
export type FingerprintOf = (folder: string) => Promise<string | undefined>;

/** A memory of fingerprints, by the names, sizes and times of change of a model's files. */
export function fingerprintCache(): FingerprintOf {
  const known = new Map<
    string,
    { readonly stamp: string; readonly fingerprint: Promise<string | undefined> }
  >();
  return async (folder) => {
    const stamp = await stampOf(folder);
    const cached = known.get(folder);
    if (cached?.stamp === stamp) return cached.fingerprint;
    const fingerprint = compute(folder);
    known.set(folder, { stamp, fingerprint });
    // A failure of the drive is not kept.
    fingerprint.catch(() => known.delete(folder));
    return fingerprint;
  };
}

async function compute(folder: string): Promise<string | undefined> {
  try {
    const checkpoint = await openCheckpoint(folder);
    try {
      return await checkpoint.fingerprint();
    } finally {
      await checkpoint.close();
    }
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

async function stampOf(folder: string): Promise<string> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => /\.json$|safetensors/.test(name));
  const stamps = names.sort().map(async (name) => {
    const info = await stat(join(folder, name)).catch(() => undefined);
    return `${name} ${info?.size ?? ''} ${info?.mtimeMs ?? ''}`;
  });
  return (await Promise.all(stamps)).join('\n');
}
