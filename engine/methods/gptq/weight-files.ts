/** Quantized weights of one model at one bit-width, a temporary safetensors file a block. */
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openSafetensors, writeSafetensors } from '../../formats/safetensors.js';
import type { Part } from '../../models/model.js';
import type { IntegerWeight } from '../../quantized/weight.js';

export interface WeightFiles {
  /** @param weights by the layer's local name */
  write(part: Part, weights: ReadonlyMap<string, IntegerWeight>): Promise<void>;
  has(part: Part): boolean;
  read(part: Part): Promise<Map<string, IntegerWeight>>;
  /** Deletes the files. */
  remove(): Promise<void>;
}

/** @param folder made if need be, where temporaries of killed processes are cleared away by `removeStaleTemporaries` */
export function openWeightFiles(folder: string, { groupSize }: { readonly groupSize: number }): WeightFiles {
  const paths = new Map<string, string>();
  return {
    write: async (part, weights) => {
      const path = join(
        folder,
        `.gptq-${paths.size}.${process.pid}-${randomBytes(4).toString('hex')}.partial`,
      );
      paths.set(part.prefix, path);
      const entries = [...weights].flatMap(([name, { shape, integers, scale, zero }]) => [
        { name: `${name}.integers`, dtype: 'U8' as const, shape, data: integers },
        { name: `${name}.scale`, dtype: 'F32' as const, shape: [scale.length], data: scale },
        { name: `${name}.zero`, dtype: 'F32' as const, shape: [zero.length], data: zero },
      ]);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeSafetensors(path, entries);
    },
    has: (part) => paths.has(part.prefix),
    read: async (part) => {
      const source = await openSafetensors(paths.get(part.prefix)!);
      try {
        const weights = new Map<string, IntegerWeight>();
        for (const [key, { shape }] of source.tensors) {
          if (!key.endsWith('.integers')) continue;
          const name = key.slice(0, -'.integers'.length);
          weights.set(name, {
            shape: shape as [number, number],
            integers: await source.readBytes(key),
            scale: await source.read(`${name}.scale`),
            zero: await source.read(`${name}.zero`),
            groupSize,
          });
        }
        return weights;
      } finally {
        await source.close();
      }
    },
    remove: async () => {
      for (const path of paths.values()) await rm(path, { force: true });
    },
  };
}
