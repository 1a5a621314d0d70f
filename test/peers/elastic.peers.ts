/** Elastic files by the reader in Python that is published for others, beside our own. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { elasticExporter } from '../../engine/exporters/elastic/elastic.js';
import type { Rounding } from '../../engine/exporters/elastic/plan.js';
import { runExport } from '../../engine/jobs/runs/export.js';
import { openAdapterSet, openSource } from '../../engine/methods/sets.js';
import { openCheckpoint } from '../../engine/models/checkpoint.js';
import { toFloats } from '../../engine/quantized/weight.js';
import { openPrograms } from '../../engine/runtime/programs.js';
import { openRuntime } from '../../engine/runtime/session.js';
import { makeSmallSet } from '../exports.js';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../fixtures.js';
import { openReference, record, type Reference } from './suite.js';

const { PEERS_PYTHON: python } = process.env;
const BITS = [8, 7, 4, 3, 2];
const runtime = openRuntime('cpu', 1);
const programs = openPrograms(runtime);
let folder: string;
let cleanUp: () => Promise<void>;
let reference: Reference<{ readonly names: readonly string[] }>;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  if (python !== undefined) reference = openReference('elastic.py');
  await writeRandomModel(at('model'), TINY_LLAMA);
});
afterAll(async () => {
  if (python !== undefined) reference.close();
  await programs.release();
  await runtime.dispose();
  await cleanUp();
});

test.skipIf(python === undefined).each<[string, Readonly<Record<string, number>>, Rounding]>([
  ['direct', { groupSize: 8 }, 'where smaller'],
  ['rounding', {}, 'where smaller'],
  ['quept', { epochs: 1, batch: 2, rank: 2, halfZeros: 2 }, 'always'],
])(
  'a file of %s has the same values at every bit-width',
  async (method, options, rounding) => {
    const counts = { suite: 'elastic', passed: 0, failed: 1, skipped: 0 };
    try {
      await makeSmallSet(programs, at('model'), at(method), {
        method,
        mode: 'weight-only',
        bits: BITS,
        options,
      });
      const out = at(`${method}.elastic`);
      const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
      const request = { model: at('model'), adapters: at(method), format: 'elastic', out } as const;
      await runExport({ ...request, device: 'cpu', threads: 1 }, quiet, [elasticExporter(rounding)]);
      const checkpoint = await openCheckpoint(out);
      const set = await openAdapterSet(out);
      const source = openSource(programs, checkpoint, set);
      const layers = Object.keys(set.config.layers);
      for (const bits of BITS) {
        const file = at('values');
        const { names } = await reference.ask({ folder: out, bits, layers, out: file });
        expect([...names].sort()).toEqual([...checkpoint.source.tensors.keys()].sort());
        const { buffer } = Uint8Array.from(await readFile(file));
        const theirs = new Float32Array(buffer);
        let offset = 0;
        for (const layer of layers) {
          const ours = toFloats(await source.weight(layer, bits));
          expect(theirs.subarray(offset, offset + ours.length)).toEqual(ours);
          offset += ours.length;
        }
      }
      await set.close();
      await checkpoint.close();
      Object.assign(counts, { passed: 1, failed: 0 });
    } finally {
      record(counts);
    }
  },
  120_000,
);
