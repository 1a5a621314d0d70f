/** Exported files scored in what runs them, as a user does it. Runs the built command line. */
import { spawn } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSafetensors } from '../engine/formats/safetensors.js';
import type { EvaluateResult, EvaluationRow, ExportResult } from '../engine/protocol/protocol.js';
import { cliPath, runCli } from './cli-run.js';
import { temporaryFolder } from './fixtures.js';

const samples = join(import.meta.dirname, '../samples');
const LLAMA = {
  model: join(samples, 'llama-speeches'),
  data: join(samples, 'data/speeches/evaluation.txt'),
  set: 'llama-set',
};
const VIT = {
  model: join(samples, 'vit-fashion'),
  data: join(samples, 'data/fashion-mnist/evaluation-images-idx3-ubyte.gz'),
  set: 'vit-set',
};
type Sample = typeof LLAMA;
const CPU = ['--device', 'cpu', '--threads', '1'];
const PLAN = JSON.stringify({ default: 4, layers: { '**.down_proj': 8 } });

let folder: string;
let cleanUp: () => Promise<void>;
const at = (...names: string[]) => join(folder, ...names);

async function done<T>(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<T> {
  const { code, stdout, stderr } = await runCli([...args, ...CPU, '--json'], env);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as T;
}
const exported = ({ model, set }: Sample, format: string, out: string, ...bits: string[]) =>
  done<ExportResult>(['export', model, '--adapters', at(set), '--format', format, '--out', at(out), ...bits]);
const asked = ({ model, set, data }: Sample, names: readonly string[], ...more: string[]) => [
  ...['verify', ...names.map((name) => at(name)), '--model', model, '--adapters', at(set), '--data', data],
  ...more,
];
async function complaint(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<string> {
  const { code, stderr } = await runCli([...args, ...CPU], env);
  expect(code).toBe(1);
  return stderr.trim().split('\n').at(-1)!;
}
const row = (rows: readonly EvaluationRow[], label: string) => rows.find((one) => one.label === label)!;

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  for (const { model, set } of [LLAMA, VIT])
    await done([
      'calibrate',
      model,
      '--method',
      'rounding',
      '--mode',
      'weight-only',
      '--bits',
      '8,4',
      '--out',
      at(set),
    ]);
  await writeFile(at('mixed.precision.json'), PLAN);
  await exported(LLAMA, 'onnx', 'llama-onnx', '--plan', at('mixed.precision.json'));
  await exported(LLAMA, 'gguf', 'llama.gguf', '--bits', '4');
}, 120_000);
afterAll(() => cleanUp());

describe('of a language model', () => {
  it('files of a plan stand beside it, by their runtimes and sizes on disk, and are kept', async () => {
    const plan = ['--plan', at('mixed.precision.json')];
    const { bytes } = await exported(LLAMA, 'compressed-tensors', 'llama-ct', ...plan);
    await exported(LLAMA, 'elastic', 'llama-elastic');
    const names = ['llama-onnx', 'llama-ct', 'llama-elastic'];
    const { rows, saved } = await done<EvaluateResult>(
      asked(LLAMA, names, ...plan, '--limit', '4', '--save', 'verified'),
    );
    expect(rows.map(({ label, kind }) => [label, kind])).toEqual([
      ['full', 'full'],
      ['mixed', 'adapters'],
      ...names.map((name) => [name, 'exported']),
    ]);
    const own = row(rows, 'mixed');
    for (const name of names) {
      const one = row(rows, name);
      expect(one).toMatchObject({ bits: own.bits, samples: 4 });
      expect(Math.abs(one.kl! - own.kl!)).toBeLessThan(2e-3);
      expect(Math.abs(one.perplexity! / own.perplexity! - 1)).toBeLessThan(0.003);
      expect(one.against).toMatchObject([{ label: 'mixed', kind: 'adapters' }]);
    }
    expect(row(rows, 'llama-onnx').runtime).toMatch(/^ONNX Runtime \d/);
    // Rounds inputs of products to 8 bits: were it not run as it is written, it would be the set's to the digit.
    expect(row(rows, 'llama-onnx').kl).not.toBeCloseTo(own.kl!, 6);
    expect(row(rows, 'llama-ct')).toMatchObject({ runtime: 'read by this engine', bytes });
    expect(row(rows, 'llama-ct').kl).toBeCloseTo(own.kl!, 6);
    expect(row(rows, 'llama-elastic').kl! / own.kl!).toBeCloseTo(1, 1);
    const kept = JSON.parse(await readFile(saved!, 'utf8')) as { result: EvaluateResult };
    expect(kept.result.rows).toEqual(rows);
  });

  it('is scored on questions as on text', async () => {
    const item = {
      context: 'May God bless you, and may God bless the United',
      choices: ['running', 'States'],
      answer: 1,
    };
    await writeFile(at('questions.jsonl'), `${JSON.stringify(item)}\n`);
    const plan = ['--plan', at('mixed.precision.json')];
    const { task, rows } = await done<EvaluateResult>(
      asked({ ...LLAMA, data: at('questions.jsonl') }, ['llama-onnx'], ...plan),
    );
    expect(task).toBe('multiple-choice');
    expect(rows.map(({ accuracy }) => accuracy)).toEqual([1, 1, 1]);
  });

  it('changed bytes of a file show', async () => {
    await exported(LLAMA, 'gptq', 'changed', '--bits', '4');
    const stored = await openSafetensors(at('changed'));
    const { file, offset, byteLength } = stored.tensors.get('model.layers.1.mlp.up_proj.qweight')!;
    await stored.close();
    const bytes = await readFile(file);
    await writeFile(file, bytes.fill(0x5a, offset, offset + byteLength));
    const { rows } = await done<EvaluateResult>(asked(LLAMA, ['changed'], '--bits', '4', '--limit', '2'));
    expect(row(rows, 'changed').kl).toBeGreaterThan(2 * row(rows, LLAMA.set).kl!);
  });
});

describe('with its export', () => {
  const oneGo = (out: string, format: string, ...more: string[]) => [
    ...['export', LLAMA.model, '--adapters', at(LLAMA.set), '--format', format, '--out', at(out)],
    ...more,
  ];

  it('a file is scored once it is written', async () => {
    const scored = ['--bits', '4', '--verify', LLAMA.data, '--limit', '2'];
    const { out, bytes, verified } = await done<ExportResult & { verified: EvaluateResult }>(
      oneGo('one-go', 'onnx-embedding8', ...scored),
    );
    expect(out).toBe(at('one-go'));
    expect(verified.rows.map(({ label }) => label)).toEqual(['full', LLAMA.set, 'one-go']);
    const one = row(verified.rows, 'one-go');
    expect(one).toMatchObject({ samples: 2, bytes });
    expect(one.runtime).toMatch(/^ONNX Runtime \d/);
    const { stdout, stderr } = await runCli([...oneGo('in-words', 'onnx', ...scored), ...CPU]);
    expect(stdout, stderr).toMatch(/^Wrote [^]*in-words[^]*KL[^]*in-words/m);
  });

  it.each([
    [['onnx', '--bits', '4', '--limit', '2'], /--limit is of --verify/],
    [['gguf-types', '--bits', '4', '--verify', 'data'], /gguf-types holds no weights to verify/],
    [['elastic', '--verify', 'data'], /name the bits to verify at/],
  ])('%j is bad usage, and nothing is written', async ([format, ...more], reason) => {
    const { code, stderr } = await runCli(oneGo('unmade', format!, ...more));
    expect([code, stderr]).toEqual([2, expect.stringMatching(reason)]);
    expect(await readdir(folder)).not.toContain('unmade');
  });
});

it('a picture classifier is scored in every runtime', async () => {
  const names = ['onnx', 'safetensors', 'compressed-tensors', 'elastic'];
  for (const format of names)
    await exported(VIT, format, `vit-${format}`, ...(format === 'elastic' ? [] : ['--bits', '4']));
  const files = names.map((name) => `vit-${name}`);
  const { rows } = await done<EvaluateResult>(asked(VIT, files, '--bits', '4', '--limit', '150'));
  const own = row(rows, VIT.set);
  for (const file of files) {
    const one = row(rows, file);
    expect(one.samples).toBe(150);
    expect(Math.abs(one.kl! - own.kl!)).toBeLessThan(1e-3);
    expect(Math.abs(one.top1! - own.top1!)).toBeLessThan(0.03);
  }
});

/** A stand-in for node-llama-cpp, whose module is `content`. */
async function library(name: string, content: string): Promise<NodeJS.ProcessEnv> {
  const place = at(name, 'node_modules/node-llama-cpp');
  await mkdir(join(place, 'dist'), { recursive: true });
  await writeFile(join(place, 'package.json'), JSON.stringify({ type: 'module', version: '0.0.1' }));
  await writeFile(join(place, 'dist/index.js'), content);
  return { ...process.env, ELASTIC_PRECISION_LLAMA_CPP: at(name) };
}
const verifyGguf = (...more: string[]) =>
  asked(LLAMA, ['llama.gguf'], '--bits', '4', '--limit', '2', ...more);

describe('GGUF, in llama.cpp', () => {
  it('says how it is installed where it is not, before any work', async () => {
    const env = { ...process.env, ELASTIC_PRECISION_LLAMA_CPP: at('nowhere') };
    expect(await complaint(verifyGguf(), env)).toMatch(
      /^GGUF is verified in llama\.cpp, which is not installed; install it with: npm install --prefix \S+nowhere --ignore-scripts --omit=optional node-llama-cpp@\S+ @node-llama-cpp\/\S+$/,
    );
  });

  it('has the probabilities that it gives scored', async () => {
    const env = await library(
      'even',
      `const next = { probabilities: new Map(Array.from({ length: 2048 }, (_, i) => [i, 1 / 2048])) };
       let read = 0;
       const sequence = {
         clearHistory: async () => void (read = 0),
         controlledEvaluate: async (tokens) => {
           read += tokens.length;
           if (read > 127) throw new Error('It was asked for more than is scored.');
           return tokens.map(() => ({ next }));
         },
       };
       const createContext = async () => ({ getSequence: () => sequence });
       export const getLlama = async () => ({ loadModel: async () => ({ createContext }) });`,
    );
    const { rows } = await done<EvaluateResult>(verifyGguf(), env);
    const found = row(rows, 'llama.gguf');
    expect(found.runtime).toBe('llama.cpp (node-llama-cpp 0.0.1)');
    expect(found.perplexity! / 2048).toBeCloseTo(1, 4);
  });

  it('that crashes or fails ends in one line', async () => {
    const crashing = await library(
      'crashing',
      `console.error('no memory'); process.kill(process.pid, 'SIGKILL');`,
    );
    expect(await complaint(verifyGguf(), crashing)).toBe(
      'llama.cpp (node-llama-cpp 0.0.1) ended (SIGKILL) while it ran llama.gguf: no memory.',
    );
    const failing = await library(
      'failing',
      `export const getLlama = async () => { throw new Error('bad\\nluck'); };`,
    );
    expect(await complaint(verifyGguf(), failing)).toBe(
      'llama.cpp (node-llama-cpp 0.0.1) cannot run llama.gguf: bad',
    );
  });

  it('that hangs is ended by Ctrl-C', async () => {
    const env = await library(
      'hanging',
      `import { writeFileSync } from 'node:fs';
       writeFileSync(${JSON.stringify(at('pid'))}, String(process.pid));
       console.log('hangs');
       for (;;);`,
    );
    const child = spawn(process.execPath, [cliPath, ...verifyGguf(...CPU, '--yes')], { env });
    let printed = '';
    child.stderr.on('data', (text: Buffer) => (printed += text.toString()));
    await expect.poll(() => readFile(at('pid'), 'utf8').catch(() => ''), { timeout: 30_000 }).toMatch(/\d/);
    child.kill('SIGINT');
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect([code, printed.trim().split('\n').at(-1)]).toEqual([1, 'Cancelled. Nothing of it is kept.']);
    const pid = Number(await readFile(at('pid'), 'utf8'));
    await expect.poll(() => isRunning(pid)).toBe(false);
  });
});

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe('is refused, in one line', () => {
  const plan = () => ['--plan', at('mixed.precision.json'), '--limit', '1'];
  const refusal = (name: string, sample = LLAMA) => complaint(asked(sample, [name], ...plan()));

  it('what is no export', async () => {
    await writeFile(at('notes.txt'), 'GGU');
    expect(await refusal('notes.txt')).toMatch(/^notes.txt is no export that can be verified/);
    expect(await refusal('nowhere')).toMatch(/nowhere: no such file or folder/);
    await mkdir(at('empty/onnx'), { recursive: true });
    expect(await refusal('empty')).toMatch(/onnx holds no model; give the file itself\.$/);
  });

  it('what is of another model', async () => {
    expect(await complaint(asked(VIT, ['llama-onnx'], '--bits', '4'))).toMatch(
      /has 2048 outputs, and the model 10: it is an export of another one/,
    );
    expect(await complaint(asked(VIT, ['llama.gguf'], '--bits', '4'))).toMatch(/is GGUF, a language model/);
  });

  it('what is cut off, or names files elsewhere', async () => {
    await cp(at('llama.gguf'), at('cut.gguf'));
    await truncate(at('cut.gguf'), 100_000);
    expect(await refusal('cut.gguf')).toMatch(/^cut\.gguf: /);
    await cp(at('llama-onnx'), at('cut-onnx'), { recursive: true });
    const names = await readdir(at('cut-onnx/onnx'));
    const data = names.find((name) => name.endsWith('_data'))!;
    await truncate(at('cut-onnx/onnx', data), 4096);
    expect(await refusal('cut-onnx')).toMatch(/ends at byte \d+ of \S+, which has 4096\.$/);
    await cp(at('llama-onnx'), at('linked'), { recursive: true });
    await writeFile(at('elsewhere'), '');
    await rm(at('linked/onnx', data));
    await symlink(at('elsewhere'), at('linked/onnx', data));
    expect(await refusal('linked')).toMatch(/a link that leaves its folder\.$/);
  });

  it('bits that are not said, or that the set has not', async () => {
    const { code, stderr } = await runCli(asked(LLAMA, ['llama-onnx']));
    expect([code, stderr]).toEqual([2, expect.stringMatching(/either --bits or --plan/)]);
    expect(await complaint(asked(LLAMA, ['llama-onnx'], '--bits', '3'))).toMatch(/has no 3-bit setting/);
  });
});
