/** Tokenizers that hurt the library: the built engine says so in one line, is not harmed, and can be stopped. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cliPath, runCli } from './cli-run.js';
import { isRunning, until } from './engine-process.js';
import { temporaryFolder } from './fixtures.js';

const sample = join(import.meta.dirname, '../samples/llama-speeches');
let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
});
afterAll(() => cleanUp());

const cases: [string, object, RegExp][] = [
  [
    'a pattern that takes for ever',
    {
      pre_tokenizer: {
        type: 'Split',
        pattern: { Regex: '(a+)+$' },
        behavior: 'Isolated',
        invert: false,
      },
    },
    /^tokenizer\.json: encoding a text ended the tokenizer's process \(Onig: .*\)\.$/m,
  ],
  [
    'a text that grows at each step',
    {
      normalizer: {
        type: 'Sequence',
        normalizers: new Array(9).fill({
          type: 'Replace',
          pattern: { String: 'a' },
          content: 'a'.repeat(99),
        }),
      },
    },
    /^tokenizer\.json: encoding a text takes too much memory\.$/m,
  ],
];

/** The sample model with a tokenizer that differs in some parts; a folder. */
async function writeModel(name: string, change: object): Promise<string> {
  const model = join(folder, name);
  await mkdir(model);
  for (const file of ['config.json', 'model.safetensors']) await cp(join(sample, file), join(model, file));
  const json = JSON.parse(await readFile(join(sample, 'tokenizer.json'), 'utf8')) as object;
  await writeFile(join(model, 'tokenizer.json'), JSON.stringify({ ...json, ...change }));
  return model;
}

const evaluation = (model: string, text: string) => [
  ...['evaluate', model, '--data', text],
  ...['--length', '16', '--device', 'cpu'],
];

it.each(cases)('%s', async (name, change, message) => {
  const model = await writeModel(name, change);
  const text = join(folder, 'text.txt');
  await writeFile(text, `${'a'.repeat(60)}b `.repeat(50));
  const { code, stderr } = await runCli(evaluation(model, text));
  expect(code).toBe(1);
  expect(stderr).toMatch(message);
});

// Others do not say which processes there are.
it.skipIf(process.platform !== 'linux')('that would work for minutes ends with Ctrl-C', async () => {
  const vocab = { '[UNK]': 0, b: 1 };
  const model = await writeModel('one long word', {
    ...{ added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null },
    model: {
      ...{ type: 'WordPiece', vocab, unk_token: '[UNK]', continuing_subword_prefix: '##' },
      max_input_chars_per_word: 1e9,
    },
  });
  const text = join(folder, 'word.txt');
  // Each beginning of it is looked up.
  await writeFile(text, 'a'.repeat(1_500_000));
  const child = spawn(process.execPath, [cliPath, ...evaluation(model, text)]);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const closed = once(child, 'close');
  await until(() => busySeconds(tokenizerOf(child.pid!)) >= 2);
  const tokenizer = tokenizerOf(child.pid!)!;
  child.kill('SIGINT');
  expect(await closed).toEqual([1, null]);
  expect(stderr).toMatch(/^Cancelled\. Nothing of it is kept\.$/m);
  await until(() => !isRunning(tokenizer));
});

/** The process of a command's tokenizer, whichever of its threads started it. */
const tokenizerOf = (pid: number): number | undefined =>
  readdirSync(`/proc/${pid}/task`)
    .flatMap((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim().split(' '))
    .filter(Boolean)
    .map(Number)
    .find((child) => readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('tokenizer.js'));

/** Seconds of processor time, its own. */
function busySeconds(pid: number | undefined): number {
  if (pid === undefined) return 0;
  const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ').slice(11);
  return (Number(user) + Number(system)) / 100;
}
