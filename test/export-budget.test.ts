/** Plans for a size in an export format, of both samples: what is exported is within it, and takes what was said. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allocate, type SizeExports } from '../engine/cli/allocate.js';
import { usePrograms } from '../engine/execution/testing.js';
import { createRandom } from '../engine/data/random.js';
import { SENSITIVITY_FILE, writeSensitivity } from '../engine/formats/sensitivity.js';
import { readTensorsDigest } from '../engine/formats/set.js';
import { fingerprintsOf } from '../engine/formats/set-config.js';
import { runExport } from '../engine/jobs/runs/export.js';
import { listExports } from '../engine/jobs/runs/list-exports.js';
import { sizeExports } from '../engine/jobs/runs/size-exports.js';
import { openAdapterSet } from '../engine/methods/sets.js';
import { runCli } from './cli-run.js';
import { makeRoundingSet } from './exports.js';
import { temporaryFolder } from './fixtures.js';

const programs = usePrograms();
const SAMPLES = join(import.meta.dirname, '../samples');
const FORMATS = {
  'llama-speeches': ['gguf', 'onnx', 'compressed-tensors', 'gptq', 'awq'],
  'vit-fashion': ['onnx', 'safetensors'],
};
const layersIn = { 'llama-speeches': 42, 'vit-fashion': 36 };
const samples = Object.keys(FORMATS) as (keyof typeof FORMATS)[];
const cases = samples.flatMap((sample) => FORMATS[sample].map((format) => [sample, format] as const));
const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };

let folder: string;
let cleanUp: () => Promise<void>;
const at = (...names: string[]) => join(folder, ...names);
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  for (const sample of samples) {
    await makeRoundingSet(programs, join(SAMPLES, sample), at(sample));
    await writeCosts(at(sample));
  }
});
afterAll(() => cleanUp());

/** Costs that fall with bits, of each layer otherwise. */
async function writeCosts(adapters: string): Promise<void> {
  const set = await openAdapterSet(adapters);
  const { config } = set;
  await set.close();
  const random = createRandom(1, 'costs');
  const bits = [...config.offered].sort((a, b) => a - b);
  const layers = Object.keys(config.layers);
  const sha256 = '0'.repeat(64);
  await writeSensitivity(join(adapters, SENSITIVITY_FILE), {
    ...{ schema_version: 1, engine_version: '0', kind: 'measured', bits, layers },
    model: { family: 'any', name: 'any', fingerprint: fingerprintsOf(config)[0]! },
    tensors_sha256: await readTensorsDigest(adapters),
    calibration: { name: 'any', samples: 1, fingerprint: sha256 },
    costs: layers.map(() => {
      const own = random.next();
      return bits.map((b) => own * 4 ** -b);
    }),
  });
}

/** Of a file, or of all files of a folder. */
async function bytesAt(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  let sum = 0;
  for (const name of await readdir(path)) sum += await bytesAt(join(path, name));
  return sum;
}

const size: SizeExports = (request) => sizeExports(request);
const planFor = (sample: string, format: string, maxSize: number, out: string) =>
  allocate(
    at(sample),
    { maxSize, format, model: join(SAMPLES, sample), out: at(out), force: true },
    () => expect.fail(),
    size,
  );

describe.each(cases)('a plan of %s for a size as %s', (sample, format) => {
  it('is exported within it, in what was said', async () => {
    const name = `${sample}-${format}.precision.json`;
    const complaint = await planFor(sample, format, 1000, name).then(
      () => expect.fail(),
      (error: Error) => error.message,
    );
    expect(complaint).toMatch(/^No plan is within 1 kB; the smallest possible has .*B\.$/);
    const all = await planFor(sample, format, 1e9, name);
    const uniform = [2, 3, 4, 5, 6, 7, 8].map((bits) => Array<number>(layersIn[sample]).fill(bits));
    const request = { model: join(SAMPLES, sample), adapters: at(sample) };
    const sizes = await size({ ...request, format, plans: uniform });
    const held = sizes.flatMap((found) => ('bytes' in found ? [found.bytes] : []));
    const [least, most] = [Math.min(...held), Math.max(...held)];
    expect(all.bytes!).toBeLessThanOrEqual(most);
    const costs: number[] = [];
    for (const share of [0.1, 0.6]) {
      const budget = Math.floor(least + share * (most - least));
      const { bytes, cost } = await planFor(sample, format, budget, name);
      expect(bytes!).toBeLessThanOrEqual(budget);
      costs.push(cost);
    }
    expect(costs).toEqual([...costs].sort((a, b) => b - a));
    const { bytes } = await planFor(sample, format, least + 0.35 * (most - least), name);
    const out = at(`${sample}-${format}`);
    const plan = at(name);
    const listed = await listExports({ ...request, plan });
    const written = await runExport({ ...request, plan, format, out, device: 'cpu', threads: 1 }, quiet);
    expect(written.bytes).toBe(bytes);
    expect(await bytesAt(out)).toBe(bytes);
    expect(listed.find((each) => each.name === format)!.size).toEqual({ bytes, isExact: true });
  });
});

describe('on the command line', () => {
  const line = (...more: string[]) => [
    ...['allocate', at('llama-speeches'), '--max-size', '2MB', '--out', at('cli.precision.json'), '--force'],
    ...more,
  ];

  it('the size is said of a format, which needs the model', async () => {
    const model = ['--model', join(SAMPLES, 'llama-speeches')];
    const made = await runCli(line('--format', 'gguf', ...model));
    expect(made.stdout).toMatch(/^Wrote .*: \d\.\d{3} bits per weight, [\d.]+ MB exported as gguf, /);
    expect((await runCli(line('--format', 'gguf'))).stderr).toContain('name its folder with --model');
    expect(await runCli(line('--format', 'elastic', ...model))).toMatchObject({ code: 2 });
  });

  it('bits are those that the format holds', async () => {
    const request = { model: join(SAMPLES, 'llama-speeches'), adapters: at('llama-speeches') };
    const plans = [Array<number>(42).fill(4), Array<number>(42).fill(8)];
    const [four, eight] = await size({ ...request, format: 'awq', plans });
    expect(four).toHaveProperty('bytes');
    expect(eight).toMatchObject({ refusal: expect.stringContaining('which AWQ cannot hold') as string });
    await expect(size({ ...request, format: 'elastic', plans })).rejects.toThrow('holds all bit-widths');
  });
});
