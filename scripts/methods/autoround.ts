/**
 * AutoRound (Cheng et al. 2024) for comparison, by its authors' library: a run for each bit-width, in groups of 128 columns. It
 * needs a Python with what `test/peers/autoround.py` says, which `PYTHON` names.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { QuantizedSource } from '../../engine/execution/source.js';
import { openSafetensors } from '../../engine/formats/safetensors.js';
import type { Checkpoint } from '../../engine/models/checkpoint.js';
import { blocksOf, type LanguageModel } from '../../engine/models/model.js';
import { formOf } from '../../engine/quantized/form.js';
import type { GridWeight } from '../../engine/quantized/weight.js';

const GROUP_SIZE = 128;

export interface AutoRoundSettings {
  readonly bits: readonly number[];
  /** Of the calibration text: [windows, tokens]. */
  readonly ids: Int32Array;
  readonly threads?: number | undefined;
}

/** A source for each bit-width, and what Python took. */
export async function calibrateAutoRound(
  checkpoint: Checkpoint<LanguageModel>,
  { bits, ids, threads = 1 }: AutoRoundSettings,
): Promise<{ readonly sources: ReadonlyMap<number, QuantizedSource>; readonly cpu: number }> {
  const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
  try {
    const tokens = join(folder, 'ids');
    await writeFile(tokens, new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
    const script = new URL('../test/peers/autoround.py', pathToFileURL(process.argv[1]!));
    const windows = ids.length / checkpoint.model.tokens;
    const printed = await run(process.env.PYTHON ?? 'python3', [
      ...[fileURLToPath(script), checkpoint.folder, tokens],
      ...[String(windows), bits.join(','), folder, String(threads)],
    ]);
    const sources = new Map<number, QuantizedSource>();
    for (const width of bits) sources.set(width, await sourceOf(checkpoint, folder, width));
    return { sources, cpu: Number(printed.trim().split('\n').at(-1)) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function sourceOf(checkpoint: Checkpoint, folder: string, bits: number): Promise<QuantizedSource> {
  const file = await openSafetensors(join(folder, `${bits}.safetensors`));
  const weights = new Map<string, GridWeight>();
  for (const part of blocksOf(checkpoint.model))
    for (const linear of checkpoint.listing(part).linears) {
      const name = part.prefix + linear.name;
      weights.set(name, {
        kind: 'grid',
        shape: [linear.out, linear.in],
        bits,
        codes: await file.readBytes(`${name}.codes`),
        groupSize: GROUP_SIZE,
        scale: await file.read(`${name}.scale`),
        zero: await file.read(`${name}.zero`),
      });
    }
  await file.close();
  return {
    offered: [bits],
    checkpoint,
    cache: undefined,
    fixedBits: () => undefined,
    form: (layer) => formOf(weights.get(layer)!),
    weight: (layer) => Promise.resolve(weights.get(layer)!),
    activation: () => Promise.resolve(undefined),
  };
}

/** What it prints. Its messages go where ours do. */
async function run(command: string, parameters: readonly string[]): Promise<string> {
  const child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (printed += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0)
    throw new Error(`${command} ended with ${code}; see test/peers/autoround.py for what it needs.`);
  return printed;
}
