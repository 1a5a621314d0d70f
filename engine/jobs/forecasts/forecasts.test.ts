import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { outlineOf, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../../test/fixtures.js';
import { sentencePiece } from '../../data/text/testing.js';
import { UserError } from '../../errors.js';
import { openSafetensors } from '../../formats/safetensors.js';
import { useTemporaryFolder } from '../../formats/testing.js';
import { methods } from '../../methods/registry.js';
import { resolveRequest } from '../../methods/request.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { CalibrateRequest } from '../../protocol/protocol.js';
import type { Forecast } from '../requests.js';
import { runCalibrate } from '../runs/calibrate.js';
import { calibrationAmounts } from './calibration.js';
import { forecastOf } from './forecast.js';
import { evaluationAmounts, exportAmounts, sensitivityAmounts } from './others.js';

const at = useTemporaryFolder();
const device = { kind: 'cpu', available: true, name: 'x', gflops: 50, gelements: 1, overhead: 1e-6 } as const;
const text = outlineOf('text', TINY_LLAMA) as Checkpoint;
const pictures = outlineOf('pictures', TINY_VIT) as Checkpoint;
const hooks = {
  signal: new AbortController().signal,
  status: () => undefined,
  note: () => undefined,
};

describe('an evaluation', () => {
  const evaluated = { samples: 8, rows: 3, sets: 1, device: 'cpu', baselines: [] } as const;
  it.each([text, pictures])('grows with samples and rows alike: $name', (checkpoint) => {
    const of = (change: object) => evaluationAmounts(checkpoint, { ...evaluated, ...change }).work.flops;
    expect(of({ samples: 16 })).toBeCloseTo(2 * of({}), 6);
    expect(of({ rows: 6 })).toBeCloseTo(2 * of({}), 6);
  });

  it('takes its baselines too', () => {
    const resolved = resolveRequest(text, { model: '', method: 'gptq', samples: 4 });
    const amounts = evaluationAmounts(text, { ...evaluated, baselines: [resolved] });
    const own = calibrationAmounts(text, resolved, 4);
    expect(amounts.work.flops).toBe(evaluationAmounts(text, evaluated).work.flops + own.work.flops);
    expect(amounts.disk).toBe(own.disk);
  });
});

it('a measurement of sensitivities takes more than their estimate, and both grow with samples', () => {
  const of = (exact: boolean, samples: number) =>
    sensitivityAmounts(text, { samples, batch: 2, offered: 7, exact }).work.flops;
  expect(of(true, 8)).toBeGreaterThan(2 * of(false, 8));
  for (const exact of [true, false]) expect(of(exact, 16)).toBeCloseTo(2 * of(exact, 8), 6);
});

it('what memory has no room for is on disk, beside progress and set', () => {
  const resolved = resolveRequest(text, { model: '', method: 'direct', samples: 64 });
  const [roomy, tight] = [Infinity, 0].map((cache) => calibrationAmounts(text, resolved, 64, cache)) as [
    ReturnType<typeof calibrationAmounts>,
    ReturnType<typeof calibrationAmounts>,
  ];
  expect(tight.disk - roomy.disk).toBe(roomy.bytes - tight.bytes);
  expect(roomy.disk).toBe(2 * resolved.method.cost(text, resolved.settings, 64).stored);
  expect(exportAmounts(text, 1234).disk).toBe(1234);
});

it('a faster device takes less time', () => {
  const amounts = calibrationAmounts(text, resolveRequest(text, { model: '', samples: 64 }), 64);
  const slow = { ...device, gflops: 5, gelements: 0.1, overhead: 1e-5 };
  expect(forecastOf(amounts, slow).seconds - 3).toBeGreaterThan(
    5 * (forecastOf(amounts, device).seconds - 3),
  );
});

/** Few steps: what is written is at issue. */
const OPTIONS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  quept: { epochs: 1, batch: 4, guard: 'off' },
  direct: { effort: 'quick' },
  sliderquant: { epochs: 1, stages: 1 },
};

describe('a calibration', () => {
  async function requestOf(method: string): Promise<CalibrateRequest> {
    const model = at('model');
    await writeRandomModel(model, { ...TINY_LLAMA, num_hidden_layers: 1, hidden_size: 32, vocab_size: 300 });
    await writeFile(join(model, 'tokenizer.json'), JSON.stringify(sentencePiece({ merges: [] })));
    await writeFile(at('text.txt'), 'All the world is a stage. '.repeat(20));
    const shared = { model, method, bits: [4], options: OPTIONS[method] ?? {} };
    const { samples } = resolveRequest(text, shared).settings;
    const reads = samples > 0 && { data: at('text.txt'), samples: 8, length: 8 };
    return { ...shared, ...reads, out: at('set'), device: 'cpu' };
  }

  it.each(methods.map(({ name }) => name))('by %s writes about as much as is said before', async (name) => {
    const request = await requestOf(name);
    const forecasts: Forecast[] = [];
    const announce = (forecast: Forecast) => Promise.resolve(void forecasts.push(forecast));
    const phases: string[] = [];
    const status = ({ phase }: { phase: string }) => void phases.push(phase);
    await runCalibrate(request, { ...hooks, status, announce });
    // No epoch beyond the last, while what was learned is still held against its start.
    for (const [, n, of] of phases.join('\n').matchAll(/epoch (\d+)\/(\d+)/g))
      expect(Number(n)).toBeLessThanOrEqual(Number(of));
    const set = await openSafetensors(join(request.out, 'adapter_model.safetensors'));
    const written = [...set.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    await set.close();
    const { disk } = forecasts[0]!;
    expect(disk).toBeLessThan(2.2 * written + 100);
    expect(disk).toBeGreaterThan(1.8 * written - 1000);
  });

  it('that may not begin leaves nothing, and one that goes on asks nobody', async () => {
    const request = await requestOf('gptq');
    const announce = vi.fn(() => Promise.reject(new UserError('Not begun.')));
    await expect(runCalibrate(request, { ...hooks, announce })).rejects.toThrow('Not begun.');
    expect((await readdir(at())).sort()).toEqual(['model', 'text.txt']);
    await runCalibrate({ ...request, resume: true }, { ...hooks, announce });
    expect(announce).toHaveBeenCalledOnce();
  });
});
