/**
 * The engine through WebGPU against the same on the CPU. Needs no graphics adapter: Debian's Chromium brings SwiftShader,
 * a Vulkan driver in software. Slow, and as exact as any.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { readPlacements, type Placement } from '../engine/runtime/placement.js';
import type { Outcome } from './webgpu-run.js';

const DRIVER = '/usr/lib/chromium/vk_swiftshader_icd.json';
const HOW_TO = 'No software Vulkan driver: run scripts/install-webgpu.sh (Debian) first.';
const here = dirname(fileURLToPath(import.meta.url));
const cache = join(here, '../node_modules/.cache');

const installed = existsSync(DRIVER);
if (!installed && process.env.CI) it('has a Vulkan driver', () => expect.fail(HOW_TO));
if (!installed && !process.env.CI) it.skip(HOW_TO);

describe.runIf(installed)('a calibration through WebGPU', () => {
  let cpu: Outcome;
  let webgpu: Outcome;
  let placements: Placement[];

  beforeAll(async () => {
    const { output, log } = await runScript('webgpu-run.ts');
    ({ cpu, webgpu } = JSON.parse(output) as { cpu: Outcome; webgpu: Outcome });
    placements = readPlacements(log).filter(({ counts }) => counts.has('WebGpuExecutionProvider'));
  }, 300_000);

  /*
   * Both devices compute in float32 and add in different orders, which moves values by about 1e-6 of their size. Where a
   * value lies that close to the middle between two steps of a quantizer, the devices round it apart: rare, but then a
   * few results differ by a part of a step. So most elements must agree closely, and all within what one such flip does.
   */
  it('loses as much as on the CPU in every group and epoch, and less each epoch', () => {
    expect(webgpu.losses).toHaveLength(3);
    webgpu.losses.flat().forEach((loss, i) => expect(loss / cpu.losses.flat()[i]! - 1).toBeCloseTo(0, 3));
    const total = webgpu.losses.map((groups) => groups.reduce((a, b) => a + b));
    expect(total[2]).toBeLessThan(total[0]!);
  });

  it('learns the same', () => {
    const flat = (tensors: Outcome['learned']) => Object.keys(cpu.learned).flatMap((name) => tensors[name]!);
    const moved = differences(flat(cpu.learned), flat(cpu.start));
    const apart = differences(flat(cpu.learned), flat(webgpu.learned));
    expect(moved.filter((d) => d > 1e-4).length / moved.length, 'share that training moved').toBeGreaterThan(
      0.5,
    );
    expect(apart.filter((d) => d > 1e-5).length / apart.length, 'share that differs').toBeLessThan(0.02);
    // Adam moves an element by about its rate a step; that times six steps, both ways.
    expect(Math.max(...apart), 'largest difference').toBeLessThan(2 * 6 * 1e-2);
  });

  it('gives the same quantized and merged stream', () => {
    const apart = differences(cpu.merged, webgpu.merged);
    expect(apart.filter((d) => d > 1e-4).length / apart.length, 'share that differs').toBeLessThan(0.05);
    // Half a step of the coarsest activation quantizer, through weights below one.
    expect(Math.max(...apart), 'largest difference').toBeLessThan(0.2);
  });

  it('places, shares, reads and outlives as on the CPU', () => {
    expect(webgpu.runtime).toEqual(cpu.runtime);
    expect(webgpu.runtime.types).toEqual([2, 7, 0, -2]);
    expect(webgpu.runtime.scalar).toEqual([0.5]);
  });

  it('runs every node on the device', async ({ annotate }) => {
    const kinds = new Set(placements.map(({ program }) => program.split(' ')[0]));
    expect([...kinds]).toEqual(expect.arrayContaining(['plain', 'weight', 'quantized', 'merge', 'step']));
    const onCpu = placements.flatMap(({ program, onCpu }) =>
      onCpu.map(({ op, name }) => `${op} (${name}) of ${program}`),
    );
    const count = placements.reduce((sum, { counts }) => sum + counts.get('WebGpuExecutionProvider')!, 0);
    await annotate(
      `${count} nodes on the device, ${onCpu.length} on the CPU${onCpu.map((node) => `\n  ${node}`).join('')}`,
    );
    expect(onCpu).toEqual([]);
  });
});

const differences = (a: readonly number[], b: readonly number[]) => a.map((x, i) => Math.abs(x - b[i]!));

/** Bundles a script beside this file and runs it with the software driver. */
async function runScript(name: string): Promise<{ output: string; log: string }> {
  const script = join(cache, `${name}.mjs`);
  await build({
    entryPoints: [join(here, name)],
    outfile: script,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'warning',
  });
  const folder = await mkdtemp(join(cache, 'webgpu-'));
  const libraries = [process.env.LD_LIBRARY_PATH, dirname(DRIVER)].filter(Boolean).join(':');
  const env = {
    ...process.env,
    VK_ICD_FILENAMES: DRIVER,
    XDG_RUNTIME_DIR: folder,
    LD_LIBRARY_PATH: libraries,
  };
  try {
    return await new Promise((resolve, reject) => {
      execFile(process.execPath, [script], { env, maxBuffer: 1 << 28 }, (error, stdout, stderr) => {
        if (error)
          reject(new Error(`${name} failed (${error.signal ?? error.code ?? ''}): ${stderr.slice(-2000)}`));
        else resolve({ output: stdout, log: stderr });
      });
    });
  } finally {
    await rm(folder, { recursive: true });
  }
}
