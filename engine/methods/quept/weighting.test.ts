import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../../test/fixtures.js';
import { meanDivergence } from '../../execution/logit-divergence.js';
import { openSampleCache, samplesIn } from '../../execution/sample-store.js';
import { usePrograms } from '../../execution/testing.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { calibrate } from '../calibrate.js';
import { resolveRequest } from '../request.js';

const programs = usePrograms();
const [SAMPLES, TOKENS] = [12, 6];
const ids = BigInt64Array.from({ length: SAMPLES * TOKENS }, (_, i) => BigInt((i * 7 + (i % 5)) % 11));

let folder: string;
let cleanUp: () => Promise<void>;
let checkpoint: Checkpoint;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(join(folder, 'model'), TINY_LLAMA);
  checkpoint = await openCheckpoint(join(folder, 'model'), { tokens: TOKENS });
  await run('loss', { weighting: 'loss' });
});
afterAll(async () => {
  await checkpoint.close();
  await cleanUp();
});

async function run(
  name: string,
  options: Readonly<Record<string, unknown>>,
  { resume = false, stop = () => false }: { resume?: boolean; stop?: (phase: string) => boolean } = {},
): Promise<void> {
  const own = { epochs: 2, batch: 2, rank: 1, ...options };
  const request = { model: checkpoint.folder, method: 'quept', bits: [4, 2], options: own };
  const stopped = new AbortController();
  let before = 0;
  await calibrate(
    programs,
    {
      ...{ checkpoint, ...resolveRequest(checkpoint, request), out: join(folder, name), resume },
      set: { inputs: samplesIn(ids, SAMPLES), name: 'samples', fingerprint: '0'.repeat(64) },
      ...{ cache: await openSampleCache(Infinity), distance: meanDivergence, engineVersion: '0' },
    },
    {
      signal: stopped.signal,
      status: ({ done, phase }) => {
        expect(done).toBeGreaterThanOrEqual(before);
        before = done;
        if (stop(phase)) stopped.abort();
      },
      note: (line) => expect.fail(line),
    },
  );
}

const bytesOf = (name: string) => readFile(join(folder, name, 'adapter_model.safetensors'), 'hex');
const optionsOf = async (name: string) =>
  (
    JSON.parse(await readFile(join(folder, name, 'adapter_config.json'), 'utf8')) as {
      method: { hyperparameters: object };
    }
  ).method.hyperparameters;

it('learns other adapters, and its set says so', async () => {
  await run('plain', {});
  expect(await bytesOf('loss')).not.toBe(await bytesOf('plain'));
  expect(await optionsOf('loss')).toMatchObject({ weighting: 'loss' });
  expect(await optionsOf('plain')).not.toHaveProperty('weighting');
});

it.each([
  [
    'adapters that are drawn, without a search and smoothing',
    { adapterStart: 'random', clipStart: 'paper', smooth: 'off' },
  ],
  ['starts alone', { rateLora: 0, rateClip: 0 }],
])('has an effect on %s', async (name, options) => {
  for (const weighting of ['plain', 'loss']) await run(`${weighting}, ${name}`, { ...options, weighting });
  expect(await bytesOf(`loss, ${name}`)).not.toBe(await bytesOf(`plain, ${name}`));
});

it.each([
  ['while gradients pass', (phase: string) => phase === 'gradients'],
  ['in the second block', (phase: string) => phase === 'block 2/2, epoch 2/2'],
])('interrupted %s and resumed, has the same bytes', async (when, stop) => {
  const name = `killed ${when}`;
  await expect(run(name, { weighting: 'loss' }, { stop })).rejects.toThrow('Cancelled.');
  await run(name, { weighting: 'loss' }, { resume: true });
  expect(await bytesOf(name)).toBe(await bytesOf('loss'));
});
