import { describe, expect, it } from 'vitest';
import { complaint } from '../../formats/testing.js';
import type {
  CalibrateRequest,
  EvaluateRequest,
  ExportRequest,
  GetRequest,
} from '../../protocol/protocol.js';
import { parseEstimate } from './calibrate.js';
import { parseKind, parseRequest } from './registry.js';

const calibrate: Required<CalibrateRequest> = {
  ...{
    model: '/m',
    data: '/d',
    out: '/o',
    resume: true,
    force: true,
    device: 'cpu',
    threads: 2,
    mode: 'weight-only',
  },
  ...{ length: 128, recipe: 'paper', bits: [8, 4], samples: 8, seed: 0, cacheMemory: 0, method: 'quept' },
  options: {
    ...{ groups: [[7, 8], [4]], rank: [16, 32], epochs: 2, batch: 4, loss: 'mse', merge: 'drawn', keep: 0.5 },
    ...{ clipStart: 'search', smooth: 'on', guard: 'off', rotation: 'on', kvBits: 4 },
    ...{ rateLora: 0.1, rateClip: 0.1, rateScale: 0 },
  },
};
const withOption = (option: object) => ({ ...calibrate, options: { ...calibrate.options, ...option } });
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
  ...{ task: 'perplexity', baseline: ['rounding', 'gptq'], baselineData: '/b', baselineSamples: 3 },
  ...{ cacheMemory: 9, save: 'name' },
  exports: [
    { path: '/e.gguf', bits: 4 },
    { path: '/e', plan: '/plan.json', tie: true },
  ],
};

const parseCalibrate = (value: unknown) => parseRequest('calibrate', value, 'request');
const parseEvaluate = (value: unknown) => parseRequest('evaluate', value, 'request');

it('a kind is one that there is', async () => {
  expect(parseKind('evaluate', 'params')).toBe('evaluate');
  for (const name of ['dance', 'toString', undefined, null, 3])
    expect(await complaint(() => parseKind(name, 'params'))).toMatch(
      /^params: "kind" must be one of "calibrate", "evaluate", "sensitivity", "export", "get", found /,
    );
});

describe('a request of a job', () => {
  it('is taken with every key it can have', () => {
    expect(parseCalibrate(structuredClone(calibrate))).toEqual(calibrate);
    const { data: _, out: _out, resume: _resume, force: _force, ...settings } = calibrate;
    expect(parseEstimate(structuredClone(settings))).toEqual(settings);
  });

  it('to calibrate may leave everything to the method, its data too', () => {
    const bare = { model: '/m', out: '/o' };
    expect(parseCalibrate(bare)).toEqual(bare);
  });

  it.each<[Record<string, unknown>, string]>([
    [{ data: '/d', out: '/o' }, 'model'],
    [{ ...calibrate, model: 'relative' }, 'model'],
    [{ ...calibrate, out: '/a\0b' }, 'out'],
    [{ ...calibrate, bits: [] }, 'bits'],
    [{ ...calibrate, bits: [9] }, 'bits'],
    [{ ...calibrate, method: 'magic' }, 'There is no calibration method "magic"'],
    [{ ...calibrate, options: [] }, 'options'],
    [withOption({ groups: [[8], []] }), 'groups'],
    [withOption({ rank: -1 }), 'rank'],
    [withOption({ epochs: 1.5 }), 'request: options of quept: "epochs"'],
    [withOption({ keep: 2 }), 'keep'],
    [withOption({ surprise: 1 }), 'options of quept: there is no "surprise"'],
    [{ ...calibrate, device: 'tpu' }, 'device'],
    [{ ...calibrate, resume: 'yes' }, 'resume'],
    [{ ...calibrate, surprise: 1 }, 'surprise'],
  ])('to calibrate, %j, is refused, and the key named', async (request, key) => {
    expect(await complaint(() => parseCalibrate(request))).toContain(key);
    if (key === 'out' || key === 'resume') return;
    const { out: _out, resume: _resume, force: _force, ...settings } = request;
    expect(await complaint(() => parseEstimate(settings))).toContain(key.replace('request: ', ''));
  });

  it.each<[Record<string, unknown>, string]>([
    [{ ...evaluate, adapters: '/a' }, 'adapters'],
    [{ ...evaluate, baseline: [3] }, 'baseline'],
    [{ ...evaluate, baseline: 'gptq' }, 'baseline'],
    [{ ...evaluate, limit: 0 }, 'limit'],
    [{ ...evaluate, task: 'poetry' }, 'task'],
    [{ ...evaluate, save: '../outside' }, 'choose another'],
  ])('to evaluate, %j, is refused', async (request, reason) => {
    expect(parseEvaluate(structuredClone(evaluate))).toEqual(evaluate);
    expect(await complaint(() => parseEvaluate(request))).toContain(reason);
  });

  it('to export has one choice of bits, and a format that there is', async () => {
    const request: ExportRequest = {
      ...{ model: '/m', adapters: '/a', bits: 2.5, format: 'safetensors', out: '/o' },
      ...{ device: 'cpu', threads: 1 },
    };
    const parse = (value: unknown) => parseRequest('export', value, 'request');
    expect(parse(structuredClone(request))).toEqual(request);
    const { bits: _bits, ...open } = request;
    expect(parse({ ...open, plan: '/p' })).toEqual({ ...open, plan: '/p' });
    const either = 'request: it must have either "bits" or "plan".';
    expect(await complaint(() => parse(open))).toBe(either);
    expect(await complaint(() => parse({ ...request, plan: '/p' }))).toBe(either);
    expect(await complaint(() => parse({ ...request, format: 'paper' }))).toContain(
      'no export format "paper"',
    );
    expect(await complaint(() => parse({ ...request, bits: 9 }))).toContain('bits');
    expect(await complaint(() => parse({ ...request, out: 'here' }))).toContain('out');
  });

  it('to get a model names it, a version and a commit, and no place', async () => {
    const request: Required<GetRequest> = { model: 'org/name', revision: 'v1', commit: 'a'.repeat(40) };
    const parse = (value: unknown) => parseRequest('get', value, 'request');
    expect(parse(structuredClone(request))).toEqual(request);
    expect(parse({ model: 'org/name' })).toEqual({ model: 'org/name' });
    for (const [change, key] of [
      [{ model: '../../evil' }, 'model'],
      [{ model: 'org/name@main' }, 'model'],
      [{ revision: '../x' }, 'revision'],
      [{ commit: 'main' }, 'commit'],
      [{ endpoint: 'http://127.0.0.1' }, 'endpoint'],
      [{ cache: '/c' }, 'cache'],
    ] as const)
      expect(await complaint(() => parse({ ...request, ...change }))).toMatch(
        new RegExp(`^request: .*"${key}"`),
      );
  });
});
