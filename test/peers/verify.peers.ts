/** `verify` of GGUF in llama.cpp itself, as a user runs it. Needs the built command line. */
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { EvaluateResult } from '../../engine/protocol/protocol.js';
import { runCli } from '../cli-run.js';
import { temporaryFolder } from '../fixtures.js';
import { isInstalled, peer } from './peer.js';
import { SAMPLES, SPEECHES } from './samples.js';

const CPU = ['--device', 'cpu', '--threads', '1', '--json'];
let folder: string;
let cleanUp: () => Promise<void>;
const at = (name: string) => join(folder, name);

async function done<T>(args: readonly string[]): Promise<T> {
  const env = {
    ...process.env,
    ELASTIC_PRECISION_LLAMA_CPP: join(dirname(process.env.PEERS_PYTHON!), '../node'),
  };
  const { code, stdout, stderr } = await runCli([...args, ...CPU], env);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as T;
}

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  if (isInstalled)
    await done(['calibrate', SPEECHES, '--method', 'rounding', '--bits', '8,4', '--out', at('set')]);
}, 120_000);
afterAll(() => cleanUp());

describe.each(['4', '8'])('at %s bits', (bits) => {
  peer('a GGUF file has the scores of the set that it came of', async () => {
    const file = at(`${bits}.gguf`);
    const set = ['--adapters', at('set'), '--bits', bits];
    await done(['export', SPEECHES, ...set, '--format', 'gguf', '--out', file]);
    const data = join(SAMPLES, 'data/speeches/evaluation.txt');
    const asked = ['verify', file, '--model', SPEECHES, ...set, '--data', data, '--limit', '32'];
    const { rows } = await done<EvaluateResult>(asked);
    const [, own, verified] = rows;
    expect(verified!.runtime).toMatch(/^llama\.cpp \(node-llama-cpp \d/);
    process.stderr.write(
      `verify at ${bits} bits: perplexity ${own!.perplexity!.toFixed(3)} and ${verified!.perplexity!.toFixed(3)}, KL ${own!.kl!.toExponential(2)} and ${verified!.kl!.toExponential(2)}\n`,
    );
    expect(Math.abs(verified!.perplexity! / own!.perplexity! - 1)).toBeLessThan(0.003);
    expect(Math.abs(verified!.kl! - own!.kl!)).toBeLessThan(2e-3);
  });
});
