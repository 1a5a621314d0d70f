/** Nothing that is run reports to anybody: the built programs leave no trace of a telemetry library. */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runCli } from './cli-run.js';
import { temporaryFolder, writeRandomModel, writeRandomPictures } from './fixtures.js';

let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
});
afterAll(() => cleanUp());

it('ONNX Runtime keeps no log and no cache of telemetry in the folder for temporary files', async () => {
  const [model, scratch] = [join(folder, 'model'), join(folder, 'scratch')];
  await writeRandomModel(model);
  const pictures = await writeRandomPictures(join(folder, 'pictures'), 8);
  await mkdir(scratch);
  const { ORT_DISABLE_TELEMETRY: _, ...rest } = process.env;
  const env = { ...rest, TMPDIR: scratch };
  // One runs in a thread, the other in processes of its own.
  const runs = [['evaluate', model, '--data', pictures, '--device', 'cpu', '--json'], ['devices']];
  for (const args of runs) expect(await runCli(args, env)).toMatchObject({ code: 0 });
  expect((await readdir(scratch)).filter((name) => /^mat-debug|\.ses$|\.db/.test(name))).toEqual([]);
});
