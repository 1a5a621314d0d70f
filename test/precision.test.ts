/** Mixed precision over the wire: sensitivity, allocation and sessions, on a small random model. */
import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import type { ResponseError } from 'vscode-jsonrpc/node';
import { CancellationTokenSource } from 'vscode-jsonrpc/node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readSensitivity, type Sensitivity } from '../engine/formats/sensitivity.js';
import { decodeBits } from '../engine/plans/bits.js';
import { totalsOf } from '../engine/plans/totals.js';
import { ErrorCode, type PrecisionTable, type SensitivityRequest } from '../engine/protocol/protocol.js';
import { runCli } from './cli-run.js';
import { childrenOf, isRunning, startEngine, until, type Engine } from './engine-process.js';
import { temporaryFolder, writeRandomModel, writeRandomPictures } from './fixtures.js';

let folder: string;
let cleanUp: () => Promise<void>;
let pictures: string;
let request: SensitivityRequest;
/** What an undisturbed measurement wrote. */
let measured: string;
let table: PrecisionTable;
const at = (...names: string[]) => join(folder, ...names);
let engines: Engine[] = [];

async function open(storage: string): Promise<Engine> {
  const engine = startEngine();
  engines.push(engine);
  await engine.initialize(at('storage', storage));
  return engine;
}

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(at('model'));
  pictures = await writeRandomPictures(at('pictures'), 64);
  await runCli([
    ...['calibrate', at('model'), '--data', pictures, '--out', at('set'), '--bits', '2,4,8'],
    ...['--samples', '16', '--epochs', '1', '--batch', '8', '--device', 'cpu'],
  ]);
  request = {
    model: at('model'),
    adapters: at('set'),
    data: pictures,
    samples: 16,
    batch: 8,
    device: 'cpu',
    exact: true,
  };
  const engine = await open('first');
  const { job } = await engine.request('jobs/start', { kind: 'sensitivity', request });
  const done = await engine.reaches(job.id, 'finished', 'failed');
  expect(done).toMatchObject({ state: 'finished', result: { layers: 12, bits: [2, 4, 8], samples: 16 } });
  measured = await readFile(at('set', 'sensitivity.json'), 'utf8');
  table = await engine.request('precision/describe', { model: at('model'), adapters: at('set') });
});
afterEach(async () => {
  await Promise.all(engines.map((engine) => engine.kill()));
  engines = [];
});
afterAll(() => cleanUp());

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error as ResponseError<void>,
  );

describe('sensitivity', () => {
  it('is in the table, and is stale once the set is another', async () => {
    expect(table.bits).toEqual([2, 4, 8]);
    expect(table.layers).toHaveLength(12);
    expect(table.sensitivity).toMatchObject({
      kind: 'measured',
      samples: 16,
      path: at('set', 'sensitivity.json'),
    });
    expect(table.sensitivity!.stale).toBeUndefined();
    for (const [i, costs] of table.sensitivity!.costs.entries()) {
      expect(costs[0]).toBeGreaterThan(costs[2]!);
      const { shape, bytes, weights } = table.layers[i]!;
      expect(weights).toBe(shape[0] * shape[1]);
      // Integers, and a scale and a zero point a row, at 8 bits.
      expect(bytes[2]).toBe(weights + 3 * shape[0]);
    }
    const engine = await open('stale');
    const other = { ...(JSON.parse(measured) as object), tensors_sha256: '0'.repeat(64) };
    await writeFile(at('set', 'sensitivity.json'), JSON.stringify(other));
    try {
      const { sensitivity } = await engine.request('precision/describe', {
        model: at('model'),
        adapters: at('set'),
      });
      expect(sensitivity!.stale).toBe('The adapter set was calibrated again since this was measured.');
    } finally {
      await writeFile(at('set', 'sensitivity.json'), measured);
    }
  });

  it('is estimated where nobody asks for more, by about as much', async () => {
    const engine = await open('estimated');
    const out = at('estimated.json');
    const estimate = { ...request, out, exact: false };
    const { job } = await engine.request('jobs/start', { kind: 'sensitivity', request: estimate });
    expect(await engine.reaches(job.id, 'finished', 'failed')).toMatchObject({
      state: 'finished',
      result: { kind: 'estimated' },
    });
    const [found, exact] = [await readSensitivity(out), await readSensitivity(at('set', 'sensitivity.json'))];
    expect([found.kind, exact.kind]).toEqual(['estimated', 'measured']);
    expect(found.layers).toEqual(exact.layers);
    // The dearest layers are the same; there is nothing to tell of them that differ by chance.
    for (const [b] of found.bits.entries()) {
      const total = (costs: Sensitivity['costs']) => costs.reduce((sum, row) => sum + row[b]!, 0);
      const dearest = found.costs.reduce((best, row, l) => (row[b]! > found.costs[best]![b]! ? l : best), 0);
      const rank = exact.costs.filter((row) => row[b]! > exact.costs[dearest]![b]!).length;
      expect(rank).toBeLessThan(3);
      expect(Math.abs(Math.log(total(found.costs) / total(exact.costs)))).toBeLessThan(0.7);
    }
  });

  it('killed and resumed has the same bytes', async () => {
    const out = at('again.json');
    const engine = await open('killed');
    const { job } = await engine.request('jobs/start', { kind: 'sensitivity', request: { ...request, out } });
    await until(() => existsSync(`${out}.partial`));
    await engine.kill();
    expect(existsSync(out)).toBe(false);
    const next = await open('killed');
    expect(await next.reaches(job.id, 'interrupted')).toMatchObject({ resumable: true });
    await next.request('jobs/resume', { id: job.id });
    await next.reaches(job.id, 'finished');
    expect(await readFile(out, 'utf8')).toBe(measured);
    expect(existsSync(`${out}.partial`)).toBe(false);
  });

  it('does not go on from what was measured on something else', async () => {
    const out = at('other.json');
    await writeFile(`${out}.partial`, JSON.stringify({ identity: { bits: [2] }, costs: [] }));
    const run = await runCli([
      ...['sensitivity', at('model'), '--adapters', at('set'), '--data', pictures],
      ...['--out', out, '--resume', '--device', 'cpu'],
    ]);
    expect(run.code).toBe(1);
    expect(run.stderr).toContain('was measured on something else');
    await rm(`${out}.partial`);
  });
});

describe('allocation', () => {
  it('finds plans for every budget, within limits', async () => {
    const engine = await open('allocation');
    const params = { model: at('model'), adapters: at('set') };
    const fixed = table.layers[3]!.name;
    const { offered, points, exact } = await engine.request('precision/allocate', {
      ...params,
      budget: 'bytes',
      constraints: [{ layer: fixed, fixed: 8 }],
    });
    expect(exact).toBe(true);
    expect(offered).toEqual(table.bits);
    for (const { size, cost, bits } of points) {
      const widths = decodeBits(bits, offered);
      const index = widths.map((width) => table.bits.indexOf(width));
      expect(widths[3]).toBe(8);
      expect(table.layers.reduce((sum, l, i) => sum + l.bytes[index[i]!]!, 0)).toBe(size);
      expect(index.reduce((sum, b, i) => sum + table.sensitivity!.costs[i]![b]!, 0)).toBeCloseTo(cost, 9);
    }
    const error = await failure(
      engine.request('precision/allocate', { ...params, budget: 'bytes', constraints: [{ layer: 'none' }] }),
    );
    expect(error).toMatchObject({ code: ErrorCode.userError, message: 'There is no layer "none".' });
  });

  it('finds the plan that measures best, never worse than a uniform one', async () => {
    const engine = await open('measured');
    const params = { model: at('model'), adapters: at('set'), data: pictures, device: 'cpu' as const };
    const weights = table.layers.reduce((sum, layer) => sum + layer.weights, 0);
    const asked = { ...params, budget: 'average-bits' as const, within: 5 * weights };
    const found = await engine.request('precision/measure', asked);
    const widths = decodeBits(found.bits, found.offered);
    const used = table.layers.reduce((sum, layer, i) => sum + layer.weights * widths[i]!, 0);
    expect(used).toBeLessThanOrEqual(5 * weights);
    expect(found).toMatchObject({ uniform: { bits: 4 }, samples: 64 });
    expect(found.cost).toBeLessThanOrEqual(found.uniform!.cost);
    expect(found.cost).toBeLessThanOrEqual(found.predictedBest);
    const none = await failure(engine.request('precision/measure', { ...asked, within: weights }));
    expect(none).toMatchObject({ code: ErrorCode.userError, message: 'No plan is within this budget.' });
  });

  it('on the command line writes a plan that can be evaluated', async () => {
    const plan = at('small.precision.json');
    const small = await runCli(['allocate', at('set'), '--average-bits', '1', '--out', plan]);
    expect(small).toMatchObject({ code: 1 });
    expect(small.stderr).toContain('the smallest possible has 2 bits on average');
    const made = await runCli([
      ...['allocate', at('set'), '--average-bits', '3.5', '--fix', '**.query=8', '--out', plan, '--json'],
    ]);
    const allocated = JSON.parse(made.stdout) as object;
    expect(allocated).toMatchObject({ averageBits: 3.5, exact: true });
    expect(allocated).not.toHaveProperty('bytes');
    const evaluate = [
      ...['evaluate', at('model'), '--data', pictures, '--adapters', at('set'), '--device', 'cpu', '--json'],
    ];
    const { stdout } = await runCli([...evaluate, '--plan', plan]);
    const { rows } = JSON.parse(stdout) as { rows: object[] };
    expect(rows).toMatchObject([{ kind: 'full' }, { label: 'small', kind: 'adapters', bits: 3.5 }]);
    // One size everywhere: of the table, the plan, the evaluation, and the budget that the allocator names.
    const sizeAt = (bits: number) =>
      totalsOf(
        table,
        table.layers.map(() => bits),
      ).bytes;
    const uniform = await runCli([...evaluate, '--bits', '2,4,8']);
    const sized = (JSON.parse(uniform.stdout) as { rows: { bits: number; bytes: number }[] }).rows;
    expect(sized.map(({ bytes }) => bytes)).toEqual([table.fullBytes, ...[8, 4, 2].map(sizeAt)]);
    const within = (size: string) =>
      runCli([
        'allocate',
        at('set'),
        '--model',
        at('model'),
        '--max-size',
        size,
        '--out',
        plan,
        '--force',
        '--json',
      ]);
    const refused = await within('1kB');
    const smallest = /the smallest possible has (.+)\.$/m.exec(refused.stderr)![1]!;
    const { bytes, switchableBytes } = JSON.parse((await within(smallest)).stdout) as Record<string, number>;
    expect(bytes).toBe(sizeAt(2));
    expect(switchableBytes).toBe(table.switchableBytes);
    await writeFile(plan, '{ "default": 4, "layers": { "no.such": 2 } }');
    const wrong = await runCli([...evaluate, '--plan', plan]);
    expect(wrong.stderr).toContain('There is no layer "no.such".');
  });
});

describe('a session', () => {
  const picture = async () => {
    const pixels = Buffer.from(Array.from({ length: 64 }, (_, i) => (i * 37) % 256));
    const png = sharp(pixels, { raw: { width: 8, height: 8, channels: 1 } }).png();
    return (await png.toBuffer()).toString('base64');
  };

  it('is switched, asked and measured', async () => {
    const engine = await open('session');
    const params = { model: at('model'), adapters: at('set'), device: 'cpu' as const };
    const { session, seconds } = await engine.request('session/open', params);
    expect(seconds).toBeGreaterThan(0);
    const input = { picture: await picture() };
    const ask = () => engine.request('session/predict', { session, input });
    const use = (bits: readonly number[]) => engine.request('session/use', { session, bits });
    const all = (bits: number) => Array<number>(12).fill(bits);

    const before = await ask();
    expect('classes' in before.plan && before.plan.classes).toHaveLength(5);
    expect(await use(all(2))).toMatchObject({ changed: 12 });
    const low = await ask();
    expect(low.full).toEqual(before.full);
    expect(low.plan).not.toEqual(before.plan);
    expect(await use([8, ...all(2).slice(1)])).toMatchObject({ changed: 1 });
    expect(await use(all(8))).toMatchObject({ changed: 11 });
    expect((await ask()).plan).toEqual(before.plan);

    const progress: number[] = [];
    engine.on('session/progress', ({ done, total }) => progress.push(done / total));
    const { row, full } = await engine.request('session/evaluate', { session, data: pictures });
    expect(row).toMatchObject({ bits: 8, samples: 64 });
    expect(full).toMatchObject({ bits: 'fp', samples: 64, kl: 0 });
    expect(progress.at(-1)).toBeCloseTo(1, 2);

    expect(await failure(use([8]))).toMatchObject({ code: ErrorCode.userError });
    expect((await failure(use(all(2.3))))?.message).toContain('no 2.3-bit setting');
    expect(await failure(use(all(9)))).toMatchObject({ code: ErrorCode.invalidParams });
    const text = engine.request('session/predict', { session, input: { text: 'to be' } });
    expect((await failure(text))?.message).toContain('classifies pictures');
    const stop = new CancellationTokenSource();
    const cancelled = engine.request('session/evaluate', { session, data: pictures }, stop.token);
    stop.cancel();
    expect(await failure(cancelled)).toMatchObject({ code: ErrorCode.requestCancelled });
    await engine.request('session/close', { session });
    expect(await failure(ask())).toMatchObject({ code: ErrorCode.userError });
  });

  it('that crashes is reported, and ends with the engine', async () => {
    const engine = await open('crash');
    const params = { model: at('model'), adapters: at('set'), device: 'cpu' as const };
    const { session } = await engine.request('session/open', params);
    const closed = new Promise((resolve) => engine.on('session/closed', resolve));
    for (const pid of childrenOf(engine.child.pid!)) process.kill(pid, 'SIGKILL');
    expect(await closed).toMatchObject({ session, reason: expect.stringContaining('SIGKILL') as string });
    await engine.request('session/open', params);
    const [child] = childrenOf(engine.child.pid!);
    await engine.kill();
    await until(() => !isRunning(child!));
  });
});
