/** The extension's client with the built engine: what a person's editor does when the engine dies, and when it closes. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { JobRecord, StartJobParams } from '../engine/protocol/protocol.js';
import { createEngineClient, type EngineClient } from '../src/engine/client.js';
import type { StateChange } from '../src/engine/lifecycle.js';
import { checkVersion, spawnEngine } from '../src/engine/process.js';
import { childrenOf, enginePath, isRunning, until } from './engine-process.js';
import { temporaryFolder, writeRandomModel, writeRandomPictures } from './fixtures.js';

let folder: string;
let cleanUp: () => Promise<void>;
const at = (...names: string[]) => join(folder, ...names);
const clients: EngineClient[] = [];

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(at('model'));
  await writeRandomPictures(at('pictures'), 64);
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.stop();
});
afterAll(() => cleanUp());

function open(storage: string) {
  const pids: number[] = [];
  const changes: StateChange[] = [];
  const jobs = new Map<string, JobRecord>();
  const quiet = () => undefined;
  const client = createEngineClient({
    locate: () => ({ path: enginePath, bundled: true }),
    storage: at('storage', storage),
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    spawn: (path, printed) => {
      const engine = spawnEngine(path, printed);
      pids.push(engine.pid!);
      return engine;
    },
  });
  clients.push(client);
  client.onDidChangeState((change) => changes.push(change));
  client.onNotification('jobs/changed', ({ job }) => jobs.set(job.id, job));
  return { client, pids, changes, jobs };
}

const calibration = (out: string): StartJobParams => ({
  kind: 'calibrate',
  request: {
    ...{ model: at('model'), data: at('pictures', 'train-images-idx3-ubyte'), out: at(out) },
    ...{ bits: [2, 4, 8], samples: 64, device: 'cpu', threads: 1 },
    options: { rank: 2, epochs: 4, batch: 16 },
  },
});
const hashOf = async (out: string) =>
  createHash('sha256')
    .update(await readFile(at(out, 'adapter_model.safetensors')))
    .digest('hex');

describe.skipIf(process.platform !== 'linux')('an engine that is killed', () => {
  it('in the middle of a job is started again; the job is interrupted, and resumed to the same bytes', async () => {
    const { client, pids, changes, jobs } = open('killed');
    const { job: whole } = await client.request('jobs/start', calibration('whole'));
    await until(() => jobs.get(whole.id)?.state === 'finished');

    const { job } = await client.request('jobs/start', calibration('killed'));
    await until(() => existsSync(at('killed.partial', 'block-0.safetensors')));
    process.kill(pids[0]!, 'SIGKILL');
    await until(() => client.state === 'starting');
    expect(changes.at(-1)!.message).toBe('The engine ended unexpectedly (SIGKILL).');
    // Waits for the next one.
    const { jobs: found } = await client.request('jobs/list', {});
    expect(pids).toHaveLength(2);
    expect(found.find(({ id }) => id === job.id)).toMatchObject({ state: 'interrupted', resumable: true });
    expect(found.find(({ id }) => id === whole.id)).toMatchObject({ state: 'finished' });
    await client.request('jobs/resume', { id: job.id });
    await until(() => jobs.get(job.id)?.state === 'finished');
    expect(await hashOf('killed')).toBe(await hashOf('whole'));
  });

  it('by the extension that ends takes its job with it', async () => {
    const { client, pids } = open('ended');
    const { job } = await client.request('jobs/start', calibration('ended'));
    await until(() => existsSync(at('ended.partial', 'identity.json')));
    const children = childrenOf(pids[0]!);
    expect(children.length).toBeGreaterThan(0);
    await client.stop();
    expect(isRunning(pids[0]!)).toBe(false);
    await until(() => !children.some(isRunning));
    const { client: next } = open('ended');
    expect((await next.request('jobs/list', {})).jobs).toMatchObject([{ id: job.id, state: 'interrupted' }]);
  });
});

it('asks another engine for its version', async () => {
  await checkVersion(enginePath);
  await expect(checkVersion(at('pictures', 'train-images-idx3-ubyte'))).rejects.toThrow(
    /is not an engine: it does not say its version/,
  );
});
