/** What is read of a checkpoint otherwise than one may think is said by every job of it, before any work. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runCalibrate } from '../engine/jobs/runs/calibrate.js';
import { runEvaluate } from '../engine/jobs/runs/evaluate.js';
import { runExport } from '../engine/jobs/runs/export.js';
import { runSensitivity } from '../engine/jobs/runs/sensitivity.js';
import { temporaryFolder, TINY_VIT, writeRandomModel, writeRandomPictures } from './fixtures.js';

let folder: string;
let cleanUp: () => Promise<void>;
const at = (name: string) => join(folder, name);
let data: string;

/** A model of two blocks, one of which its configuration leaves out. */
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(at('model'), TINY_VIT);
  await writeFile(at('model/config.json'), JSON.stringify({ ...TINY_VIT, num_hidden_layers: 1 }));
  data = await writeRandomPictures(at('pictures'), 8);
});
afterAll(() => cleanUp());

const SAID = 'model: 16 tensors are not read, since config.json describes no layer that has them';

it('tensors that nothing reads are named by calibrate, sensitivity, evaluate and export', async () => {
  const place = { model: at('model'), device: 'cpu' as const, threads: 1 };
  const set = at('set');
  const mode = 'weight-only' as const;
  const jobs: ((hooks: ReturnType<typeof hearing>) => Promise<unknown>)[] = [
    (hooks) => runCalibrate({ ...place, mode, method: 'rounding', bits: [8, 4], out: set }, hooks),
    (hooks) => runSensitivity({ ...place, adapters: set, data, samples: 4 }, hooks),
    (hooks) => runEvaluate({ ...place, adapters: [set], data, limit: 4 }, hooks),
    (hooks) => runExport({ ...place, adapters: set, bits: 4, format: 'safetensors', out: at('out') }, hooks),
  ];
  for (const run of jobs) {
    const hooks = hearing();
    await run(hooks);
    expect(hooks.said[0]).toContain(SAID);
  }
});

/** What a job says, its estimate too, which comes right before its work. */
function hearing() {
  const said: string[] = [];
  const note = (line: string) => void said.push(line);
  return {
    said,
    signal: new AbortController().signal,
    status: () => undefined,
    note,
    announce: () => Promise.resolve(note('an estimate')),
  };
}
