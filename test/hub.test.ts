/** A model from a hub to a calibrated set by the built command line and engine, killed on the way. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { writeSafetensors } from '../engine/formats/safetensors.js';
import { repositoryFrom, startHub, TOKEN, type TestHub } from '../engine/hub/testing.js';
import type { GetJob, HubModel } from '../engine/protocol/protocol.js';
import { cliPath, runCli } from './cli-run.js';
import { startEngine } from './engine-process.js';
import { temporaryFolder, TINY_VIT, writeRandomModel, writeRandomPictures } from './fixtures.js';

let folder: string;
let cleanUp: () => Promise<void>;
let pictures: string;
let hub: TestHub;
/** Each test has a cache of its own. */
let cache: string;
let count = 0;
const at = (...names: string[]) => join(folder, ...names);
const own = () => ({ ...process.env, HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, HF_HOME: at('home') });
const cli = (...args: string[]) => runCli(args, own());

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  // Wide enough that a download of its weights takes a while.
  await writeRandomModel(at('tiny'), { ...TINY_VIT, hidden_size: 128, intermediate_size: 512 });
  await writeFile(at('tiny', 'pytorch_model.bin'), 'a pickle');
  pictures = await writeRandomPictures(at('pictures'), 16);
});
beforeEach(async () => {
  cache = at(`cache-${++count}`);
  hub = await startHub();
  hub.add('org/tiny', repositoryFrom(at('tiny'), { licence: 'mit' }));
});
afterEach(() => hub.close());
afterAll(() => cleanUp());

const repository = () => join(cache, 'models--org--tiny');
/** Bytes of weights that have come. */
async function bytesHere(): Promise<number> {
  const blobs = join(repository(), 'blobs');
  const names = existsSync(blobs) ? await readdir(blobs) : [];
  const name = names.find((one) => /^\w{64}\..*incomplete$/.test(one));
  return name === undefined ? 0 : (await stat(join(blobs, name)).catch(() => ({ size: 0 }))).size;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

it('says files, sizes, licence and what calibrating takes before a weight is downloaded', async () => {
  const { code, stdout } = await cli('get', 'org/tiny', '--list', '--json');
  expect(code).toBe(0);
  const model = JSON.parse(stdout) as HubModel;
  expect(model).toMatchObject({ model: 'org/tiny', revision: 'main', licence: 'mit', gated: false });
  expect(model.files.map(({ name }) => name)).toEqual([
    'config.json',
    'preprocessor_config.json',
    'model.safetensors',
  ]);
  expect(model.files.at(-1)).toEqual({
    name: 'model.safetensors',
    bytes: (await stat(at('tiny', 'model.safetensors'))).size,
    here: 0,
  });
  expect(model.description).toMatchObject({ family: 'vit', task: 'image-classification', blocks: 2 });
  // What the engine says of the same model in a folder.
  const { stdout: estimated } = await cli('estimate', at('tiny'), '--json');
  const known = JSON.parse(estimated) as { method: string; forecast: { bytes: number; disk: number } }[];
  const cost = (all: readonly { method: string; forecast: { bytes: number; disk: number } }[]) =>
    all.map(({ method, forecast }) => [method, Math.round(forecast.disk)]);
  expect(cost(model.description!.estimates)).toEqual(cost(known));
  const { stdout: text } = await cli('get', 'org/tiny', '--list');
  expect(text).toMatch(/org\/tiny, main at \w{12}, licence mit/);
  expect(text).toMatch(/to download; .* are free in /);
  expect(text).toMatch(/method +bits +samples +time/);
  expect(existsSync(repository())).toBe(false);
});

it('asks, and downloads nothing where nobody can answer', async () => {
  const { code, stderr } = await cli('get', 'org/tiny');
  expect(code).toBe(1);
  expect(stderr).toMatch(/no terminal to ask at: add --yes/);
  expect(existsSync(repository())).toBe(false);
});

it('is killed at any moment, goes on where it was, and the model is calibrated by its name', async () => {
  const whole = (await stat(at('tiny', 'model.safetensors'))).size;
  hub.fail('model.safetensors', { slow: 40, times: 99 });
  const before: number[] = [];
  for (let kill = 1; kill <= 3; kill++) {
    const child = spawn(process.execPath, [cliPath, 'get', 'org/tiny', '--yes'], {
      env: own(),
      stdio: 'ignore',
    });
    const ended = new Promise((done) => child.once('exit', done));
    await until(async () => (await bytesHere()) > (before.at(-1) ?? 0));
    child.kill('SIGKILL');
    await ended;
    before.push(await bytesHere());
    // No model to anybody meanwhile.
    const used = await cli('evaluate', 'org/tiny', '--data', pictures);
    expect(used.stderr).toMatch(/^There is no folder org\/tiny, .*: elastic-precision get org\/tiny\n$/);
  }
  expect(before[2]).toBeLessThan(whole);
  hub.fail('model.safetensors', {});
  hub.requests.length = 0;
  const { code, stdout } = await cli('get', 'org/tiny', '--yes', '--json');
  expect(code).toBe(0);
  const ranges = hub.requests.filter(({ server }) => server === 'store').map(({ range }) => range);
  expect(ranges).toEqual([expect.stringMatching(/^bytes=0-/), `bytes=${before[2]}-`]);
  const { out, bytes } = JSON.parse(stdout) as { out: string; bytes: number };
  expect(await readFile(join(out, 'model.safetensors'))).toSatisfy((found: Buffer) => found.length === whole);
  expect(bytes).toBeGreaterThan(whole);
  expect(await readdir(join(repository(), 'blobs'))).toHaveLength(3);
  const set = at('set');
  const calibrated = await cli(
    ...['calibrate', 'org/tiny', '--data', pictures, '--mode', 'weight-only', '--bits', '4,8', '--out', set],
  );
  expect(calibrated).toMatchObject({ code: 0 });
  const evaluated = await cli(
    ...['evaluate', 'org/tiny@main', '--data', pictures, '--adapters', set, '--json'],
  );
  expect(evaluated).toMatchObject({ code: 0 });
});

it('a model that is not supported is described, and not downloaded', async () => {
  await writeRandomModel(at('odd'));
  await writeFile(at('odd', 'config.json'), JSON.stringify({ model_type: 'mamba' }));
  await writeSafetensors(at('odd', 'model.safetensors'), []);
  hub.add('org/odd', repositoryFrom(at('odd')));
  expect((await cli('get', 'org/odd', '--list')).stdout).toMatch(/Not supported: .*mamba/);
  const { code, stderr } = await cli('get', 'org/odd', '--yes');
  expect([code, stderr.trim().split('\n').at(-1)]).toEqual([
    1,
    expect.stringMatching(/^org\/odd is not downloaded, as it is not supported: .*mamba/),
  ]);
});

it('is one line where the hub refuses', async () => {
  hub.add('org/gated', repositoryFrom(at('tiny'), { access: 'gated' }));
  const { code, stderr } = await cli('get', 'org/gated', '--yes');
  expect([code, stderr]).toEqual([
    1,
    expect.stringMatching(/^org\/gated is gated: accept its terms at [^\n]*\n$/),
  ]);
  const known = await runCli(['get', 'org/gated', '--yes'], { ...own(), HF_TOKEN: TOKEN });
  expect(known.code).toBe(0);
});

it('is a job of the engine, cancelled, resumed, and found in the cache', async () => {
  hub.fail('model.safetensors', { slow: 40, times: 99 });
  const engine = startEngine([], own());
  try {
    await engine.initialize(at('storage'));
    const looked = await engine.request('hub/look', { model: 'org/tiny' });
    expect(looked.description).toMatchObject({ family: 'vit' });
    const request = { model: 'org/tiny', commit: looked.commit };
    const { job } = await engine.request('jobs/start', { kind: 'get', request });
    await until(async () => (await bytesHere()) > 0);
    const { job: cancelled } = await engine.request('jobs/cancel', { id: job.id });
    expect(cancelled).toMatchObject({ state: 'cancelled', resumable: true, title: 'Get tiny' });
    expect(cancelled.progress).toBeGreaterThan(0);
    const left = await bytesHere();
    hub.fail('model.safetensors', {});
    hub.requests.length = 0;
    await engine.request('jobs/resume', { id: job.id });
    const finished = (await engine.reaches(job.id, 'finished', 'failed')) as GetJob;
    expect(finished).toMatchObject({ state: 'finished', result: { commit: looked.commit } });
    expect(hub.requests.filter(({ server }) => server === 'store')).toMatchObject([
      { range: `bytes=${left}-` },
    ]);
    const { models } = await engine.request('models/list', { folders: [cache] });
    expect(models).toMatchObject([{ supported: true, path: finished.result!.out }]);
  } finally {
    await engine.kill();
  }
});

it('takes no endpoint and no path from a request', async () => {
  const engine = startEngine([], own());
  try {
    await engine.initialize(at('storage-2'));
    for (const request of [
      { model: '../../evil' },
      { model: 'org/tiny@main' },
      { model: 'org/tiny', revision: '../x' },
      { model: 'org/tiny', commit: '../x' },
      { model: 'org/tiny', endpoint: 'http://127.0.0.1:1' },
    ])
      await expect(engine.request('jobs/start', { kind: 'get', request })).rejects.toThrow(/request/);
    expect(hub.requests).toEqual([]);
  } finally {
    await engine.kill();
  }
});
