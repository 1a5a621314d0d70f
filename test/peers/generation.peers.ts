/** What exported language models say, the likeliest token each time, and the commands that exports end with. */
import { execFile } from 'node:child_process';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { withLlama } from './llama-cpp.js';
import { bestOf, isInstalled, peer, TIE } from './peer.js';
import { openBench, type Bench } from './samples.js';
import { openReference, type Reference } from './suite.js';

const exec = promisify(execFile);
/** The packages of transformers.js. */
const WEB = join(dirname(process.env.PEERS_PYTHON ?? ''), '../web');
const NEW = 32;

let bench: Bench;
let reference: Reference<{ ids: readonly number[] }>;
let prompt: readonly number[];
beforeAll(async () => {
  if (!isInstalled) return;
  bench = await openBench();
  reference = openReference('exports.py');
  prompt = bench.texts[0]!.slice(0, 16);
}, 300_000);
afterAll(async () => {
  if (!isInstalled) return;
  reference.close();
  await bench.close();
});

const bestOfLast = (logits: Float32Array, rows: number) =>
  bestOf(logits.subarray(((rows - 1) * logits.length) / rows));

/** The engine's own continuation, which runs the whole text for every token. */
async function ours(bits: number): Promise<readonly number[]> {
  const ids = [...prompt];
  while (ids.length < prompt.length + NEW) ids.push(bestOfLast(await bench.logitsOf(bits, ids), ids.length));
  return ids.slice(prompt.length);
}

const DTYPES: Readonly<Record<number, string>> = { 4: 'q4', 8: 'q8' };

const others: Readonly<Record<string, (bits: number) => Promise<readonly number[]>>> = {
  'llama.cpp': async (bits) =>
    withLlama(await bench.exported('llama-speeches', bits, 'gguf'), async (evaluate) => {
      const ids = [...prompt];
      while (ids.length < prompt.length + NEW) ids.push(bestOf((await evaluate(ids)).at(-1)!));
      return ids.slice(prompt.length);
    }),
  'transformers.js': async (bits) => {
    const path = await bench.exported('llama-speeches', bits, 'onnx');
    const script = join(import.meta.dirname, 'transformers-js.mjs');
    const words = [WEB, dirname(path), basename(path), DTYPES[bits]!, JSON.stringify(prompt), String(NEW)];
    const { stdout } = await exec(process.execPath, [script, ...words]);
    return JSON.parse(stdout) as number[];
  },
  'onnxruntime-genai': async (bits) => {
    const path = await bench.exported('llama-speeches', bits, 'onnx');
    return (await reference.ask({ reader: 'genai', path, ids: prompt, count: NEW })).ids;
  },
};

describe.each([4, 8])('at %i bits', (bits) => {
  for (const [name, generate] of Object.entries(others))
    peer(`${name} says what the set does`, async () => {
      const [own, theirs] = [await ours(bits), await generate(bits)];
      const place = own.findIndex((id, i) => id !== theirs[i]);
      if (place === -1) {
        process.stderr.write(`${name} at ${bits} bits: the same ${own.length} tokens\n`);
        expect(theirs).toHaveLength(NEW);
        return;
      }
      const rows = prompt.length + place;
      const logits = await bench.logitsOf(bits, [...prompt, ...own.slice(0, place)]);
      const last = logits.subarray(((rows - 1) * logits.length) / rows);
      const margin = last[own[place]!]! - last[theirs[place]!]!;
      process.stderr.write(`${name} at ${bits} bits: token ${place} differs, by ${margin.toFixed(4)}\n`);
      expect(margin).toBeLessThan(TIE);
    });
});

peer('the command that an export to ONNX ends with runs it', async () => {
  const { serve } = await bench.exportedResult('llama-speeches', 4, 'onnx');
  const { stdout } = await exec('sh', ['-c', serve!.replace(/TEXT$/, "'My fellow Americans'")], { cwd: WEB });
  expect(stdout).toMatch(/generated_text: .My fellow Americans/);
});
