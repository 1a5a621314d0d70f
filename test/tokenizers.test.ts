/** Tokenizers that hurt the library: the built engine says so in one line, and is not harmed. */
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runCli } from './cli-run.js';
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

it.each(cases)('%s', async (name, change, message) => {
  const model = join(folder, name);
  await mkdir(model);
  for (const file of ['config.json', 'model.safetensors', 'tokenizer_config.json'])
    await cp(join(sample, file), join(model, file));
  const json = JSON.parse(await readFile(join(sample, 'tokenizer.json'), 'utf8')) as object;
  await writeFile(join(model, 'tokenizer.json'), JSON.stringify({ ...json, ...change }));
  const text = join(folder, 'text.txt');
  await writeFile(text, `${'a'.repeat(60)}b `.repeat(50));
  const { code, stderr } = await runCli([
    ...['evaluate', model, '--data', text],
    ...['--length', '16', '--device', 'cpu'],
  ]);
  expect(code).toBe(1);
  expect(stderr).toMatch(message);
});
