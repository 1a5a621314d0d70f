/**
 * The figures that docs/FIGURES.md promises, on the samples and with the defaults. Slow, several minutes on two cores,
 * because nothing smaller shows them: whole calibrations of pictures and of text, and their evaluations. `npm run test:unit` leaves it out.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EvaluateResult } from '../engine/protocol/protocol.js';
import { runCli } from './cli-run.js';
import { temporaryFolder } from './fixtures.js';

const samples = join(import.meta.dirname, '../samples');
const MINUTES = 60_000;

let folder: string;
let cleanUp: () => Promise<void>;
let rows: EvaluateResult['rows'];

beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());

async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCli([...args, '--device', 'cpu', '--json']);
  expect(code, stderr).toBe(0);
  return stdout;
}

const evaluate = async (...args: string[]) =>
  (JSON.parse(await run('evaluate', ...args)) as EvaluateResult).rows;
const row = (label: string, bits: number | 'fp') => rows.find((r) => r.label === label && r.bits === bits)!;

describe('pictures, calibrated once with the defaults', () => {
  const model = join(samples, 'vit-fashion');
  const pictures = (kind: string) => join(samples, `data/fashion-mnist/${kind}-images-idx3-ubyte.gz`);
  const BITS = [8, 6, 4, 3, 2];

  beforeAll(async () => {
    const out = join(folder, 'pictures', 'elastic');
    await run('calibrate', model, '--data', pictures('calibration'), '--out', out, '--groups', '6,8/3,4/2');
    rows = await evaluate(model, '--data', pictures('evaluation'), '--limit', '2000', '--adapters', out, '--baseline', 'rtn', '--baseline-data', pictures('calibration')); // prettier-ignore
  }, 15 * MINUTES);

  it('starts from the full-precision accuracy of its training', () => {
    expect(row('full', 'fp').top1).toBeCloseTo(0.889, 3);
  });

  it('keeps at 2 and 3 bits what an independent implementation of the method keeps', () => {
    expect(row('elastic', 2).top1).toBeGreaterThanOrEqual(0.805);
    expect(row('elastic', 2).kl).toBeLessThanOrEqual(0.17);
    expect(row('elastic', 3).top1).toBeGreaterThanOrEqual(0.87);
    expect(row('elastic', 3).kl).toBeLessThanOrEqual(0.032);
  });

  it('knows how much of an accuracy is chance: most where most answers differ from full precision', () => {
    expect(row('full', 'fp')).not.toHaveProperty('scoreError');
    const errors = [row('elastic', 8), row('elastic', 2), row('rounding', 2)].map((r) => r.scoreError!);
    expect(errors).toEqual([...errors].sort((a, b) => a - b));
    expect(errors[2]! / Math.sqrt(1 / 2000)).toBeLessThan(1);
    expect(errors[1]).toBeGreaterThan(0);
  });

  it.each([4, 6, 8])('is within 0.6 points of full precision at %i bits', (bits) => {
    expect(row('elastic', bits).top1! - row('full', 'fp').top1!).toBeGreaterThanOrEqual(-0.006);
  });

  it.each(BITS)('is no worse than rounding at %i bits', (bits) => {
    const [elastic, rounding] = [row('elastic', bits), row('rounding', bits)];
    expect(elastic.top1! - rounding.top1!).toBeGreaterThanOrEqual(-0.003);
    // A hundredth of rounding's own divergence is what two ways of adding in float32 already differ by.
    expect(elastic.kl! / rounding.kl!).toBeLessThanOrEqual(1.01);
  });
});

describe('text, weights alone, calibrated once with the defaults', () => {
  const model = join(samples, 'llama-speeches');
  const text = (kind: string) => join(samples, `data/speeches/${kind}.txt`);
  const BITS = [8, 7, 6, 5, 4, 3, 2];

  beforeAll(async () => {
    const out = join(folder, 'text', 'elastic');
    await run('calibrate', model, '--data', text('calibration'), '--out', out);
    const evaluated = [model, '--data', text('evaluation'), '--limit', '200', '--adapters', out];
    rows = await evaluate(...evaluated, '--baseline', 'rtn');
    const few = await evaluate(...evaluated, '--bits', '4,3,2', '--baseline', 'gptq', '--baseline-data', text('calibration')); // prettier-ignore
    rows = [...rows, ...few.filter(({ method }) => method === 'gptq')];
  }, 15 * MINUTES);

  it('starts from the full-precision perplexity of its training', () => {
    expect(row('full', 'fp').perplexity).toBeCloseTo(38.63, 2);
  });

  it('is calibrated by the direct method', () => {
    expect(row('elastic', 4).method).toBe('direct');
  });

  it.each([
    [4, 0.0084],
    [3, 0.034],
    [2, 0.165],
  ])('is at %i bits within %d nats of full precision', (bits, most) => {
    expect(row('elastic', bits).kl).toBeLessThanOrEqual(most);
  });

  it.each(BITS)(
    'is closer to full precision than rounding is at %i bits, and never worse by perplexity',
    (bits) => {
      const { score, scoreError, kl, klError } = row('elastic', bits).against![0]!;
      expect(kl! / klError!).toBeLessThan(-3);
      expect(score! / scoreError!).toBeLessThan(3);
      if (bits < 6) expect(score! / scoreError!).toBeLessThan(-3);
    },
  );

  it.each([
    [4, 0.7],
    [3, 0.65],
    [2, 0.4],
  ])('is better than GPTQ at %i bits', (bits, most) => {
    const [elastic, gptq] = [row('elastic', bits), row('gptq', bits)];
    expect(elastic.perplexity!).toBeLessThan(gptq.perplexity!);
    expect(elastic.kl!).toBeLessThan(most * gptq.kl!);
  });
});
