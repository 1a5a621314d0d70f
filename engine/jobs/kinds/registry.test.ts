import { describe, expect, it } from 'vitest';
import { complaint } from '../../formats/testing.js';
import type { CalibrateRequest, EvaluateRequest } from '../../protocol/protocol.js';
import { parseEstimate } from './calibrate.js';
import { parseKind, parseRequest } from './registry.js';

const calibrate: Required<CalibrateRequest> = {
  ...{ model: '/m', data: '/d', out: '/o', resume: true, device: 'cpu', threads: 2, mode: 'weight-only' },
  ...{ length: 128, recipe: 'paper', bits: [8, 4], groups: [[7, 8], [4]], rank: [16, 32], samples: 8 },
  ...{ epochs: 2, batch: 4, seed: 0, loss: 'mse', merge: 'drawn', keep: 0.5, clipStart: 'search' },
  ...{ smooth: 'on', guard: 'off', cacheMemory: 0, rotation: 'on', kvBits: 4 },
  ...{ rateLora: 0.1, rateClip: 0.1, rateScale: 0 },
};
const evaluate: Required<EvaluateRequest> = {
  ...{
    model: '/m',
    data: '/d',
    device: 'auto',
    threads: 1,
    adapters: ['/a'],
    bits: [2],
    limit: 5,
    plans: ['/plan.json'],
    length: 8,
  },
  ...{ task: 'perplexity', baseline: ['rtn', 'gptq'], baselineData: '/b', baselineSamples: 3 },
  ...{ cacheMemory: 9, save: 'name' },
};

const parseCalibrate = (value: unknown) => parseRequest('calibrate', value, 'request');
const parseEvaluate = (value: unknown) => parseRequest('evaluate', value, 'request');

it('a kind is one that there is', async () => {
  expect(parseKind('evaluate', 'params')).toBe('evaluate');
  for (const name of ['dance', 'toString', undefined, null, 3])
    expect(await complaint(() => parseKind(name, 'params'))).toMatch(
      /^params: "kind" must be one of "calibrate", "evaluate", "sensitivity", found /,
    );
});

describe('a request of a job', () => {
  it('is taken with every key it can have', () => {
    expect(parseCalibrate(structuredClone(calibrate))).toEqual(calibrate);
    const { data: _, out: _out, resume: _resume, ...settings } = calibrate;
    expect(parseEstimate(structuredClone(settings))).toEqual(settings);
  });

  it.each<[Record<string, unknown>, string]>([
    [{ data: '/d', out: '/o' }, 'model'],
    [{ ...calibrate, model: 'relative' }, 'model'],
    [{ ...calibrate, out: '/a\0b' }, 'out'],
    [{ ...calibrate, bits: [] }, 'bits'],
    [{ ...calibrate, bits: [9] }, 'bits'],
    [{ ...calibrate, groups: [[8], []] }, 'groups'],
    [{ ...calibrate, rank: -1 }, 'rank'],
    [{ ...calibrate, epochs: 1.5 }, 'epochs'],
    [{ ...calibrate, keep: 2 }, 'keep'],
    [{ ...calibrate, device: 'tpu' }, 'device'],
    [{ ...calibrate, resume: 'yes' }, 'resume'],
    [{ ...calibrate, surprise: 1 }, 'surprise'],
  ])('to calibrate, %j, is refused, and the key named', async (request, key) => {
    expect(await complaint(() => parseCalibrate(request))).toContain(key);
  });

  it.each<[Record<string, unknown>, string]>([
    [{ ...evaluate, adapters: '/a' }, 'adapters'],
    [{ ...evaluate, baseline: ['awq'] }, 'baseline'],
    [{ ...evaluate, limit: 0 }, 'limit'],
    [{ ...evaluate, task: 'poetry' }, 'task'],
    [{ ...evaluate, save: '../outside' }, 'choose another'],
  ])('to evaluate, %j, is refused', async (request, reason) => {
    expect(parseEvaluate(structuredClone(evaluate))).toEqual(evaluate);
    expect(await complaint(() => parseEvaluate(request))).toContain(reason);
  });
});
