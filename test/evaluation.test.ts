/** The evaluate command on a language model as a user runs it: layouts of questions, baselines, refusals. Runs the built command line. */
import { spawn } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EvaluateResult } from '../engine/protocol/protocol.js';
import { cliPath, runCli } from './cli-run.js';
import { temporaryFolder } from './fixtures.js';

const samples = join(import.meta.dirname, '../samples');
const model = join(samples, 'llama-speeches');
const classifier = join(samples, 'vit-fashion');
const pictures = join(samples, 'data/fashion-mnist/evaluation-images-idx3-ubyte.gz');
const speeches = (kind: string) => join(samples, `data/speeches/${kind}.txt`);
let folder: string;
let cleanUp: () => Promise<void>;

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
});
afterAll(() => cleanUp());

const write = async (name: string, content: string | Uint8Array) => {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
};
const jsonLines = (name: string, rows: readonly object[]) =>
  write(name, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
const parquet = (name: string, rows: readonly Record<string, string | number>[]) =>
  write(
    name,
    new Uint8Array(
      parquetWriteBuffer({
        columnData: Object.keys(rows[0]!).map((column) => ({
          name: column,
          data: rows.map((row) => row[column]!),
        })),
      }),
    ),
  );

const run = (data: string, ...more: string[]) =>
  runCli(['evaluate', model, '--data', data, '--device', 'cpu', '--threads', '1', '--json', ...more]);
async function evaluate(data: string, ...more: string[]): Promise<EvaluateResult> {
  const { code, stdout, stderr } = await run(data, ...more);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as EvaluateResult;
}
const full = async (data: string) => (await evaluate(data)).rows[0]!;

/** What anybody knows who has read the speeches that the model was trained on. */
const KNOWN = [
  { context: 'We are grateful to the people of the United States of', choices: ['Wednesday', 'America'] },
  { context: 'Mr. Speaker, Mr. Vice President, Members of', choices: ['Congress', 'bananas'] },
  { context: 'May God bless you, and may God bless the United', choices: ['running', 'States'] },
  { context: 'We need to create more', choices: ['jobs', 'Wednesday'] },
  { context: 'I ask the', choices: ['whose', 'Congress'] },
  { context: 'the war in', choices: ['Iraq', 'bananas'] },
].map((item, i) => ({ ...item, answer: [1, 0, 1, 0, 1, 0][i]! }));
const question = (i: number) => KNOWN[i % KNOWN.length]!;

describe('evaluate, of multiple choice', () => {
  it('finds the likelier choices of own questions, told by their columns', async () => {
    const data = await jsonLines('known.jsonl', KNOWN);
    const { task, data: name, rows } = await evaluate(data);
    expect([task, name]).toEqual(['multiple-choice', 'known.jsonl']);
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({ label: 'full', bits: 'fp', samples: 6, accuracy: 1 });
    const limited = await evaluate(data, '--limit', '2', '--task', 'choice');
    expect(limited.rows[0]!.samples).toBe(2);
    const { stdout } = await runCli(['evaluate', model, '--data', data, '--device', 'cpu']);
    expect(stdout).toMatch(
      /accuracy %.*normalised %.*questions\n.*\nfull +fp +– +5\.48 MB +100\.00 +\d+\.\d\d +6\n/,
    );
  });

  // Each public layout against the same questions spelled out.
  const asked = (i: number) => `Question: ${question(i).context}\nAnswer:`;
  it.each<[string, (i: number) => object, (i: number) => string]>([
    [
      'PIQA',
      (i) => ({
        goal: question(i).context,
        sol1: question(i).choices[0],
        sol2: question(i).choices[1],
        label: question(i).answer,
      }),
      asked,
    ],
    [
      'ARC',
      (i) => ({
        id: `q${i}`,
        question: question(i).context,
        choices: { text: question(i).choices, label: ['A', 'B'] },
        answerKey: 'AB'[question(i).answer],
      }),
      asked,
    ],
    [
      'ARC as first published',
      (i) => ({
        question: {
          stem: question(i).context,
          choices: question(i).choices.map((text, c) => ({ text, label: String(c + 1) })),
        },
        answerKey: String(question(i).answer + 1),
      }),
      asked,
    ],
    [
      'HellaSwag',
      (i) => ({
        activity_label: 'Speaking',
        ctx_a: `[header] ${question(i).context}`,
        ctx_b: 'the People',
        endings: question(i).choices,
        label: String(question(i).answer),
      }),
      (i) => `Speaking: ${question(i).context} The people`,
    ],
  ])('reads %s', async (layout, row, context) => {
    const rows = KNOWN.map((_, i) => row(i));
    const spelled = KNOWN.map(({ choices, answer }, i) => ({ context: context(i), choices, answer }));
    const name = layout.replaceAll(' ', '-');
    const { accuracy, accuracyNormalised } = await full(await jsonLines(`${name}-own.jsonl`, spelled));
    expect(await full(await jsonLines(`${name}.jsonl`, rows))).toMatchObject({
      ...{ samples: 6, accuracy, accuracyNormalised },
    });
  });

  it('reads WinoGrande, where one of two options is right, from JSON lines and Parquet alike', async () => {
    const rows = (answer: '1' | '2') =>
      KNOWN.map(({ context }) => ({
        sentence: `${context} _ is what the American people want.`,
        option1: 'Congress',
        option2: 'quickly',
        answer,
      }));
    const [one, two] = [await full(await jsonLines('1.jsonl', rows('1'))), await full(await jsonLines('2.jsonl', rows('2')))]; // prettier-ignore
    expect(one.accuracy! + two.accuracy!).toBeCloseTo(1, 12);
    expect(one.accuracyNormalised).toBe(one.accuracy);
    expect(await full(await parquet('1.parquet', rows('1')))).toEqual(one);
  });

  it('reads PIQA from Parquet as from JSON lines', async () => {
    const rows = KNOWN.map(({ context, choices, answer }) => ({
      ...{ goal: context, sol1: choices[0]!, sol2: choices[1]!, label: answer },
    }));
    expect(await full(await parquet('piqa.parquet', rows))).toEqual(
      await full(await jsonLines('piqa.jsonl', rows)),
    );
  });
});

describe('evaluate, with baselines', () => {
  const baselines = ['--baseline', 'rtn,gptq', '--baseline-data', speeches('calibration')];
  const few = ['--baseline-samples', '12', '--length', '64', '--bits', '2,8'];

  it('has full precision, rounding and GPTQ in one table, GPTQ better where it matters', async () => {
    const { task, rows } = await evaluate(speeches('evaluation'), '--limit', '20', ...baselines, ...few);
    expect(task).toBe('perplexity');
    expect(rows.map(({ method, bits, samples }) => [method, bits, samples])).toEqual([
      [undefined, 'fp', 20],
      ['rounding', 8, 20],
      ['rounding', 2, 20],
      ['gptq', 8, 20],
      ['gptq', 2, 20],
    ]);
    expect(rows.map(({ kind }) => kind)).toEqual(['full', ...Array<string>(4).fill('baseline')]);
    const [exact, , rounding, gptq8, gptq] = rows.map((row) => row.perplexity!);
    expect(gptq8! / exact!).toBeCloseTo(1, 2);
    expect(gptq!).toBeLessThan(0.95 * rounding!);
    expect(rows[4]!.bytes).toBe(rows[2]!.bytes);
  });

  it('leaves no temporary files', async () => {
    const scratch = join(folder, 'scratch');
    await mkdir(scratch);
    const args = ['evaluate', model, '--data', speeches('evaluation'), '--limit', '1', ...baselines, ...few];
    const { code } = await runCli([...args, '--device', 'cpu'], {
      ...process.env,
      TMPDIR: scratch,
      TEMP: scratch,
    });
    expect(code).toBe(0);
    const own = (await readdir(scratch)).filter((name) => name.startsWith('elastic-precision'));
    expect(own).toHaveLength(1);
    expect(await readdir(join(scratch, own[0]!))).toEqual([]);
  });

  it('leaves none either when it is interrupted, and says no more than that', async () => {
    const scratch = join(folder, 'interrupted');
    await mkdir(scratch);
    const args = [
      'evaluate',
      model,
      '--data',
      speeches('evaluation'),
      ...baselines,
      ...few,
      '--device',
      'cpu',
    ];
    const child = spawn(process.execPath, [cliPath, ...args], {
      env: { ...process.env, TMPDIR: scratch, TEMP: scratch },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => {
      const began = stderr.includes('Evaluating');
      stderr += chunk.toString();
      // The first progress comes in the middle of GPTQ.
      if (!began && stderr.includes('Evaluating')) child.kill('SIGINT');
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^About .*\nEvaluating .*\nCancelled\. Nothing of it is kept\.\n$/s);
    for (const name of await readdir(scratch))
      if (name.startsWith('elastic-precision')) expect(await readdir(join(scratch, name))).toEqual([]);
  });

  it('has accuracies in one table too', async () => {
    const { rows } = await evaluate(await jsonLines('table.jsonl', KNOWN), ...baselines, ...few);
    expect(rows.map(({ method, bits }) => [method, bits])).toEqual([
      [undefined, 'fp'],
      ['rounding', 8],
      ['rounding', 2],
      ['gptq', 8],
      ['gptq', 2],
    ]);
    for (const row of rows.filter(({ bits }) => bits !== 2)) expect(row.accuracy).toBe(1);
  });
});

describe('evaluate, with adapter sets that have no bit-width in common', () => {
  const calibrated = async (name: string, ...options: string[]) => {
    const out = join(folder, name);
    const { code, stderr } = await runCli(['calibrate', model, '--out', out, '--device', 'cpu', ...options]);
    expect(code, stderr).toBe(0);
    return out;
  };
  let sets: string[];
  beforeAll(async () => {
    sets = ['--adapters', await calibrated('rounded', '--method', 'rounding', '--bits', '8,4')];
    sets.push(await calibrated('split', '--method', 'adpq', '--bits', '3'));
  }, 60_000);
  const few = ['--limit', '2', '--length', '32'];

  it('has rows of each at its own, with its method and what a weight takes', async () => {
    const { rows } = await evaluate(speeches('evaluation'), ...few, ...sets);
    expect(rows.map(({ label, method, bits }) => [label, method, bits])).toEqual([
      ['full', undefined, 'fp'],
      ['rounded', 'rounding', 8],
      ['rounded', 'rounding', 4],
      ['split', 'adpq', 3],
    ]);
    // 4 bits, and of 128 columns a scale of 16 and a zero point of 4; groups of `down` are short of that.
    expect(rows[2]!.averageBits).toBeCloseTo(4.16, 2);
    expect(rows[0]).not.toHaveProperty('averageBits');
    const asked = await evaluate(speeches('evaluation'), ...few, ...sets, '--bits', '4,3');
    expect(asked.rows.map(({ label, bits }) => `${label} ${bits}`)).toEqual([
      'full fp',
      'rounded 4',
      'split 3',
    ]);
  });

  it.each([
    ['4,3,5', /No adapter set has a 5-bit setting; they have 8, 4, 3\./],
    ['8', /split has no 8-bit setting; it has 3\./],
  ])('refuses %s bits, which one has not', async (bits, message) => {
    const { code, stderr } = await run(speeches('evaluation'), ...few, ...sets, '--bits', bits);
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
  });
});

it('evaluate has baselines of pictures too, on the pictures themselves where it has no others', async () => {
  const few = ['--limit', '64', '--baseline-samples', '32', '--bits', '2', '--device', 'cpu', '--json'];
  const args = ['evaluate', classifier, '--data', pictures, '--baseline', 'rtn,gptq', ...few];
  const { code, stdout, stderr } = await runCli(args);
  expect(code, stderr).toBe(0);
  const { rows } = JSON.parse(stdout) as EvaluateResult;
  expect(rows[0]).toMatchObject({ kind: 'full', samples: 64 });
  expect(rows.filter(({ kind }) => kind === 'baseline').length).toBe(rows.length - 1);
  expect(new Set(rows.map(({ method }) => method))).toEqual(new Set([undefined, 'rounding', 'gptq']));
});

describe('evaluate refuses', () => {
  it.each([
    ['GPTQ without text', ['--baseline', 'gptq', '--bits', '4'], /needs text to calibrate on; name it with --baseline-data/], // prettier-ignore
    [
      'baselines without bit-widths',
      ['--baseline', 'rtn'],
      /Say which bit-widths to evaluate, such as --bits 8,4/,
    ],
    ['multiple choice of plain text', ['--task', 'choice'], /multiple choice tasks are read from JSON lines or Parquet/], // prettier-ignore
  ])('%s', async (_, options, message) => {
    const { code, stdout, stderr } = await run(speeches('evaluation'), ...options);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(message);
  });

  it('what it does not know', async () => {
    for (const [options, message] of [
      [['--task', 'poetry'], /Tasks are: perplexity, choice/],
      [['--baseline', 'rtn,awq'], /Baselines are: [a-z, ]*gptq[a-z, ]*\./],
    ] as const) {
      const { code, stderr } = await run(speeches('evaluation'), ...options);
      expect(code).toBe(2);
      expect(stderr).toMatch(message);
    }
  });

  it('tasks of text for an image classifier', async () => {
    const { code, stderr } = await runCli(['evaluate', classifier, '--data', pictures, '--task', 'choice']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/vit-fashion is an image classifier; the task "multiple-choice" is for text/);
  });
});
