/** What to call a model, and its blocks and layers, in a list. */
import { basename, dirname } from 'node:path';
import type { ModelReport } from '../../engine/protocol/protocol.js';

/** The folder's name; in the Hugging Face cache, where that is a revision, `organisation/model`. */
export function modelName({ path, name }: Pick<ModelReport, 'path' | 'name'>): string {
  const snapshots = dirname(path);
  if (basename(snapshots) !== 'snapshots') return name;
  const repository = /^models--(.+)$/.exec(basename(dirname(snapshots)))?.[1];
  return repository?.replace('--', '/') ?? name;
}

/** A layer's name without its block's, such as `attention.query`. */
export function nameWithin(block: string, layer: string): string {
  return layer.startsWith(`${block}.`) ? layer.slice(block.length + 1) : layer;
}
