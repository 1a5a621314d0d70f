/** SmolLM2-135M from its files to a plan: tokens, perplexity, a calibration that is killed, all bit-widths, costs of layers. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Allocated } from '../../engine/cli/allocated.js';
import { table } from '../../engine/cli/format.js';
import { unixLines } from '../../engine/data/text/line-ends.js';
import { openTokenizer } from '../../engine/data/text/tokenizer.js';
import type { CalibrateResult, EvaluateResult, SensitivityResult } from '../../engine/protocol/protocol.js';
import { killAt, run, type Usage } from './command.js';

const { REAL_FOLDER: given = '', REAL_PYTHON: python = '' } = process.env;
const model = join(given, 'smollm2');
const calibration = join(given, 'text', 'calibrate.txt');
const evaluation = join(given, 'text', 'evaluate.txt');
/** Windows of text that are evaluated, and their tokens. */
const [WINDOWS, LENGTH] = [16, 256];
const PERPLEXITY = 22.98764;
/** Of the processor that a calibration may take, with two of them half an hour; and its memory, bytes. */
const [MOST_SECONDS, MOST_BYTES] = [3600, 2e9];
const BUDGET = 3.5;
const quick = ['--effort', 'quick', '--device', 'cpu', '--json'];

let folder: string;
const at = (...names: string[]) => join(folder, ...names);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elastic-precision-real-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const say = (what: string, usage?: Usage) =>
  process.stdout.write(
    `${what}${usage ? `; ${usage.seconds.toFixed(0)} CPU seconds, ${(usage.bytes / 1e9).toFixed(2)} GB` : ''}\n`,
  );
const evaluate = (...more: string[]) =>
  run<EvaluateResult>(
    ...[folder, 'evaluate', model, '--data', evaluation, '--limit', String(WINDOWS)],
    ...['--length', String(LENGTH), '--device', 'cpu', '--json', ...more],
  );
const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

it('has the tokens and the perplexity that transformers finds', async () => {
  const script = join(import.meta.dirname, 'reference.py');
  const { stdout } = await promisify(execFile)(python, [
    ...[script, model, evaluation, String(WINDOWS), String(LENGTH)],
  ]);
  const theirs = JSON.parse(stdout) as { tokens: number; sha256: string; perplexity: number };

  const tokenizer = await openTokenizer(model);
  const text = unixLines(await readFile(evaluation, 'utf8'));
  const [ids] = (await tokenizer.encode([text], { special: 'all' })) as [number[]];
  expect(ids.length).toBe(theirs.tokens);
  expect(sha256(new Uint8Array(Int32Array.from(ids).buffer))).toBe(theirs.sha256);

  const { result, usage } = await evaluate();
  const found = result.rows[0]!.perplexity!;
  // Of sums in float32, in another order.
  expect(Math.abs(found / theirs.perplexity - 1)).toBeLessThan(5e-5);
  expect(found).toBeCloseTo(PERPLEXITY, 4);
  say(`${ids.length} tokens, perplexity ${found.toFixed(5)} (${theirs.perplexity.toFixed(5)})`, usage);
});

it('ends with the same bytes where its calibration is killed', async () => {
  const small = (out: string) => [
    ...['calibrate', model, '--data', calibration, '--out', at(out), ...quick],
    ...['--bits', '4,3', '--samples', '8', '--length', '128'],
  ];
  const share = (line: string) => Number(/(\d+) %/.exec(line)?.[1] ?? -1);
  const { usage } = await run(folder, ...small('alone'));
  await killAt((line) => share(line) >= 20, ...small('killed'));
  await killAt((line) => share(line) >= 60, ...small('killed'), '--resume');
  await run(folder, ...small('killed'), '--resume');
  for (const name of ['adapter_model.safetensors', 'adapter_config.json'])
    expect(sha256(await readFile(at('killed', name))), name).toBe(sha256(await readFile(at('alone', name))));
  say('killed twice and resumed: the same bytes; alone', usage);
});

it('is calibrated at 2 to 8 bits within an hour of one processor and 2 GB', async () => {
  const { result, usage } = await run<CalibrateResult>(
    ...[folder, 'calibrate', model, '--data', calibration, '--out', at('set'), ...quick],
    ...['--bits', '2-8', '--samples', '64', '--length', String(LENGTH)],
  );
  expect(result.bits).toEqual([8, 7, 6, 5, 4, 3, 2]);
  say(`calibrated at ${result.bits.join(', ')} bits in ${result.seconds.toFixed(0)} s`, usage);
  expect(usage.bytes).toBeLessThan(MOST_BYTES);
  expect(usage.seconds).toBeLessThan(MOST_SECONDS);
});

it('is closer to the full model than rounding at every bit-width', async () => {
  const { result, usage } = await evaluate('--adapters', at('set'), '--baseline', 'rounding');
  const rows = [8, 7, 6, 5, 4, 3, 2].map((bits) => {
    const of = (kind: string) => result.rows.find((row) => row.kind === kind && row.bits === bits)!;
    const [own, rounded] = [of('adapters'), of('baseline')];
    return { bits, own: own.kl!, rounded: rounded.kl!, perplexity: own.perplexity! };
  });
  const cells = rows.map(({ bits, own, rounded, perplexity }) => [
    ...[String(bits), own.toFixed(5), rounded.toFixed(5), perplexity.toFixed(2)],
  ]);
  say(table(['bits', 'KL', 'KL of rounding', 'perplexity'], cells), usage);
  for (const { bits, own, rounded } of rows) expect(own, `${bits} bits`).toBeLessThan(rounded);
});

it('has a plan within a budget that measures better than the bit-width below it', async () => {
  const costs = await run<SensitivityResult>(
    ...[folder, 'sensitivity', model, '--adapters', at('set'), '--data', calibration],
    ...['--samples', '8', '--length', String(LENGTH), '--device', 'cpu', '--json'],
  );
  expect(costs.result.layers).toBe(210);
  say('costs of 210 layers', costs.usage);
  const plan = at('small.precision.json');
  const { result } = await run<Allocated>(
    ...[folder, 'allocate', at('set'), '--average-bits', String(BUDGET), '--out', plan, '--json'],
  );
  expect(result.averageBits).toBeLessThanOrEqual(BUDGET);
  const found = await evaluate('--adapters', at('set'), '--plan', plan, '--bits', '3,4');
  const klOf = (isOne: (bits: number) => boolean) =>
    found.result.rows.find(({ kind, bits }) => kind === 'adapters' && bits !== 'fp' && isOne(bits))!.kl!;
  const planned = klOf((bits) => !Number.isInteger(bits));
  const three = klOf((bits) => bits === 3);
  say(`${result.averageBits.toFixed(2)} bits by plan: KL ${planned.toFixed(4)}, at 3 ${three.toFixed(4)}`);
  expect(planned).toBeLessThan(three);
});
