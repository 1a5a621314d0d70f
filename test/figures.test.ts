/**
 * The figures that the README promises, on the sample and with the defaults. Slow, several minutes on two cores, because
 * nothing smaller shows them: one whole calibration and its evaluation. `npm run test:unit` leaves it out.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EvaluateResult } from '../engine/jobs/requests.js';
import { runCli } from './cli-run.js';
import { temporaryFolder } from './fixtures.js';

const samples = join(import.meta.dirname, '../samples');
const model = join(samples, 'vit-fashion');
const pictures = (kind: string) => join(samples, `data/fashion-mnist/${kind}-images-idx3-ubyte.gz`);
const MINUTES = 60_000;

let cleanUp: () => Promise<void>;
let rows: EvaluateResult['rows'];

beforeAll(async () => {
  const temporary = await temporaryFolder();
  cleanUp = temporary.cleanUp;
  const out = join(temporary.folder, 'elastic');
  const calibrated = await runCli(['calibrate', model, '--data', pictures('calibration'), '--out', out, '--groups', '6,8/3,4/2', '--device', 'cpu']); // prettier-ignore
  expect(calibrated.code, calibrated.stderr).toBe(0);
  const evaluated = await runCli(['evaluate', model, '--data', pictures('evaluation'), '--limit', '2000', '--adapters', out, '--baseline', 'rtn', '--baseline-data', pictures('calibration'), '--device', 'cpu', '--json']); // prettier-ignore
  expect(evaluated.code, evaluated.stderr).toBe(0);
  ({ rows } = JSON.parse(evaluated.stdout) as EvaluateResult);
}, 15 * MINUTES);
afterAll(() => cleanUp());

const row = (label: string, bits: number | 'fp') => rows.find((r) => r.label === label && r.bits === bits)!;
const BITS = [8, 6, 4, 3, 2];

describe('the sample, calibrated once with the defaults', () => {
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
