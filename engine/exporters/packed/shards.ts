/** Tensors in files of so many bytes. */
import type { SafetensorsLayout } from '../../formats/safetensors-write.js';
import { byteLengthOf, DTYPE_BYTES } from '../../formats/safetensors-header.js';
import { WEIGHTS } from '../merged.js';
import { made, type ModelFile } from '../model-files.js';

export interface Shard<T extends SafetensorsLayout> {
  readonly file: string;
  readonly entries: readonly T[];
}

const bytesOf = ({ shape, dtype }: SafetensorsLayout) => byteLengthOf(shape, DTYPE_BYTES.get(dtype)!)!;

/** In order; a tensor that is larger than `most` has a file of its own. */
export function shardsOf<T extends SafetensorsLayout>(entries: readonly T[], most: number): Shard<T>[] {
  const shards: T[][] = [[]];
  let bytes = 0;
  for (const entry of entries) {
    const own = bytesOf(entry);
    if (bytes > 0 && bytes + own > most) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(entry);
    bytes += own;
  }
  const count = String(shards.length).padStart(5, '0');
  const fileOf = (i: number) =>
    shards.length === 1 ? WEIGHTS : `model-${String(i + 1).padStart(5, '0')}-of-${count}.safetensors`;
  return shards.map((own, i) => ({ file: fileOf(i), entries: own }));
}

/** The index that readers find tensors by; none where there is one file. */
export function indexOf(shards: readonly Shard<SafetensorsLayout>[]): ModelFile[] {
  if (shards.length === 1) return [];
  const index = {
    metadata: {
      total_size: shards.flatMap(({ entries }) => entries).reduce((sum, e) => sum + bytesOf(e), 0),
    },
    weight_map: Object.fromEntries(
      shards.flatMap(({ file, entries }) => entries.map(({ name }) => [name, file])),
    ),
  };
  return [made(`${WEIGHTS}.index.json`, new TextEncoder().encode(JSON.stringify(index, undefined, 2)))];
}
