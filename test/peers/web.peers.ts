/** Exported ONNX models in ONNX Runtime's build for browsers, in WebAssembly: logits and perplexity beside the engine's. */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect } from 'vitest';
import { expectAlike, isInstalled, peer } from './peer.js';
import { openBench, probabilitiesOf, sampleOf, type Bench, type Subject } from './samples.js';

const exec = promisify(execFile);
/** The packages of transformers.js, among them the build that it runs in. */
const WEB = join(dirname(process.env.PEERS_PYTHON ?? ''), '../web');
/** As in exports-run.peers.ts. */
const [KL, PERPLEXITY] = [2e-3, 0.003];

let bench: Bench;
beforeAll(async () => {
  if (isInstalled) bench = await openBench();
}, 300_000);
afterAll(async () => {
  if (isInstalled) await bench.close();
});

const CASES: readonly (readonly [Subject, number, string])[] = [
  ['llama-speeches', 2, 'onnx'],
  ['llama-speeches', 4, 'onnx'],
  ['llama-speeches', 8, 'onnx'],
  ['llama-speeches', 4, 'onnx-embedding8'],
  ['llama-speeches, activations too', 4, 'onnx'],
  ['llama-speeches, activations too', 8, 'onnx'],
  ['vit-fashion', 4, 'onnx'],
  ['vit-fashion', 8, 'onnx'],
  ['vit-fashion, activations too', 4, 'onnx'],
  ['vit-fashion, activations too', 8, 'onnx'],
];

for (const [subject, bits, format] of CASES)
  peer(`${subject}, as ${format} at ${bits} bits computes in WebAssembly what the set does`, async () => {
    const folder = join(await bench.exported(subject, bits, format), 'onnx');
    const [name] = (await readdir(folder)).filter((each) => /^model.*\.onnx$/.test(each));
    const { path: inputs, shape, compared } = bench.inputs[sampleOf(subject)];
    const out = bench.at('web.logits');
    const asked = { packages: WEB, path: join(folder, name!), inputs, shape, compared, out };
    const script = join(import.meta.dirname, 'onnxruntime-web.mjs');
    const { stdout } = await exec(process.execPath, [script, JSON.stringify(asked)]);
    const { loss } = JSON.parse(stdout) as { readonly loss: number | null };
    const own = await bench.ours(subject, bits);
    const logits = new Float32Array(Uint8Array.from(await readFile(out)).buffer);
    const line = expectAlike(own.logits, probabilitiesOf(logits, own.rows), KL);
    const change = own.loss === undefined ? 0 : Math.exp(loss! - own.loss) - 1;
    process.stderr.write(
      `${expect.getState().currentTestName}: ${line}, perplexity ${(100 * change).toFixed(3)} % off\n`,
    );
    expect(Math.abs(change)).toBeLessThanOrEqual(PERPLEXITY);
  });
