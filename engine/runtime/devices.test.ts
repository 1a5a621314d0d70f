import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chooseDevice, listDevices, tryInProcess } from './devices.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
});
afterAll(() => rm(folder, { recursive: true }));

it('lists every device with a measured rate or a reason', async () => {
  const reports = await listDevices();
  expect(reports.map(({ kind }) => kind)).toEqual(['cpu', 'webgpu', 'cuda']);
  for (const report of reports)
    if (report.available) {
      expect(report.name).not.toBe('');
      for (const rate of [report.gflops, report.gelements, 1e-3 / report.overhead])
        expect(rate).toBeGreaterThan(0.01);
    } else expect(report.reason).toMatch(/^[^\n]+$/);
  expect(reports[0]!.available).toBe(true);
});

it('chooses what was asked for, or says why not', async () => {
  expect(await chooseDevice('cpu')).toBe('cpu');
  const [, , cuda] = await listDevices();
  if (!cuda!.available)
    await expect(chooseDevice('cuda')).rejects.toThrow(`The device "cuda" is not available: ${cuda!.reason}`);
});

describe('a trial in a process of its own', () => {
  const trial = async (name: string, code: string, seconds?: number) => {
    const entry = join(folder, `${name}.mjs`);
    await writeFile(entry, code);
    return tryInProcess(entry, 'webgpu', seconds);
  };

  it('passes on what was measured', async () => {
    expect(await trial('fine', 'console.log(JSON.stringify({ gflops: process.argv[2].length }))')).toEqual({
      gflops: 6,
    });
  });

  it('survives a driver that aborts, hangs or exits', async () => {
    expect(await trial('abort', 'process.abort()')).toEqual({
      reason: 'Its driver ended the process that tried it (SIGABRT).',
    });
    expect(await trial('exit', 'process.exit(3)')).toEqual({
      reason: 'Its driver ended the process that tried it (exit code 3).',
    });
    expect(await trial('hang', 'setInterval(() => {}, 1000)', 0.5)).toEqual({
      reason: 'Trying it took longer than 0.5 s.',
    });
  });

  it.each([
    [
      'libvulkan.so.1: cannot open shared object file',
      /^The Vulkan loader \(libvulkan\.so\.1\) is not installed\.$/,
    ],
    ['', /^No graphics adapter with a driver for (Vulkan|Metal|Direct3D 12) was found\.$/],
  ])('explains a missing adapter (printed: %j)', async (printed, reason) => {
    const report = { reason: 'webgpu_context.cc:136 Failed to get a WebGPU adapter: No supported adapters' };
    const code = `console.error(${JSON.stringify(`Warning: Couldn't load Vulkan: ${printed}`)}); console.log(${JSON.stringify(JSON.stringify(report))})`;
    expect(await trial(`adapter-${printed.length}`, code)).toEqual({
      reason: expect.stringMatching(reason) as string,
    });
  });
});
