import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { expect, test } from 'vitest';
import { openChoices } from './choices.js';
import { fileOf, folderOf, jsonLines } from './testing.js';

const open = async (...rows: readonly object[]) => openChoices(await fileOf('a.jsonl', jsonLines(...rows)));
const pair = (context: string, continuation: string) => ({
  context,
  continuation,
  characters: continuation.trimStart().length,
});

test('reads contexts and choices, answered by index or letter', async () => {
  const task = await open(
    { context: 'The sky is', choices: ['blue', ' green'], answer: 1 },
    { context: 'Two\n', choices: ['a', 'b', 'c'], answer: 'c' },
    { context: '', choices: ['x', 'y'], answer: '0' },
  );
  expect(task).toMatchObject({ name: 'a.jsonl', layout: 'choices' });
  expect(task.items).toEqual([
    { pairs: [pair('The sky is', ' blue'), pair('The sky is', ' green')], answer: 1 },
    { pairs: ['a', 'b', 'c'].map((text) => pair('Two\n', text)), answer: 2 },
    { pairs: [pair('', 'x'), pair('', 'y')], answer: 0 },
  ]);
  expect(await task.fingerprint()).toMatch(/^[0-9a-f]{64}$/);
});

test('reads PIQA', async () => {
  const { layout, items } = await open({ goal: 'open a jar', sol1: 'twist', sol2: 'shout', label: 0 });
  const context = 'Question: open a jar\nAnswer:';
  expect(layout).toBe('piqa');
  expect(items).toEqual([{ pairs: [pair(context, ' twist'), pair(context, ' shout')], answer: 0 }]);
});

test('reads PIQA as first published, its labels in a file of their own', async () => {
  const row = { goal: 'open a jar', sol1: 'twist', sol2: 'shout' };
  const files = (labels: string) => ({ 'dev.jsonl': jsonLines(row, row), 'dev-labels.lst': labels });
  const open = async (labels: string) => openChoices(join(await folderOf(files(labels)), 'dev.jsonl'));
  const task = await open('1\r\n0\r\n');
  expect(task.items.map(({ answer }) => answer)).toEqual([1, 0]);
  expect(await task.fingerprint()).not.toBe(await (await open('0\n0\n')).fingerprint());
  await expect(open('1\n')).rejects.toThrow('dev.jsonl line 2: "label" holds no answer');
  await expect(open('1\n2\n')).rejects.toThrow('dev.jsonl line 2: "label" must be one of 0 to 1, found "2".');
  await expect(open('1\n0\n1')).rejects.toThrow(
    'dev.jsonl has 2 rows, dev-labels.lst 3 labels; as many are needed.',
  );
  await expect(openChoices(await fileOf('dev.jsonl', jsonLines(row)))).rejects.toThrow(
    'dev.jsonl: it has no "label", and there is no dev-labels.lst beside it.',
  );
});

test('puts a space before the choices of public tasks, whatever they begin with', async () => {
  const { items } = await open({ goal: 'g', sol1: ' twist', sol2: '🙂!', label: 0 });
  expect(items[0]!.pairs.map(({ continuation, characters }) => [continuation, characters])).toEqual([
    ['  twist', 6],
    [' 🙂!', 2],
  ]);
});

test('reads ARC as first published, choices inside the question', async () => {
  const choices = ['x', 'y', 'z'].map((text, i) => ({ text, label: 'ABC'[i] }));
  const { layout, items } = await open({ id: 'q', question: { stem: 'Why?', choices }, answerKey: 'C' });
  expect(layout).toBe('arc');
  expect(items[0]).toEqual({
    pairs: ['x', 'y', 'z'].map((text) => pair('Question: Why?\nAnswer:', ` ${text}`)),
    answer: 2,
  });
  const broken = (question: object) => open({ question, answerKey: 'A' });
  await expect(broken({ stem: 'Why?' })).rejects.toThrow('"question" holds no list of "choices".');
  await expect(broken({ choices })).rejects.toThrow('"stem" must be a text, but is missing.');
  await expect(broken({ stem: 'Why?', choices: [{ label: 'A' }] })).rejects.toThrow(
    '"text" must be a text, but is missing.',
  );
});

test('reads ARC, whatever its labels', async () => {
  const row = (label: string[], answerKey: string) => ({
    id: 'x',
    question: 'Why?',
    choices: { text: ['a', 'b', 'c'], label },
    answerKey,
  });
  const { layout, items } = await open(row(['A', 'B', 'C'], 'B'), row(['1', '2', '3'], '3'));
  expect(layout).toBe('arc');
  expect(items.map(({ answer }) => answer)).toEqual([1, 2]);
  expect(items[0]!.pairs[2]).toEqual(pair('Question: Why?\nAnswer:', ' c'));
});

test('reads HellaSwag, without the marks of its sources', async () => {
  const row = {
    activity_label: 'Baking',
    ctx_a: '[header] How to bake [title] Mix. [step] Stir  it.',
    ctx_b: 'the Cook',
    ctx: 'unused',
    endings: ['eats [substeps] all.', 'sleeps.'],
    label: '1',
  };
  const { layout, items } = await open(row, { ctx: 'A man runs', endings: ['far.', 'away.'], label: 0 });
  expect(layout).toBe('hellaswag');
  const context = 'Baking: How to bake. Mix. Stir it. The cook';
  expect(items[0]).toEqual({ pairs: [pair(context, ' eats all.'), pair(context, ' sleeps.')], answer: 1 });
  expect(items[1]!.pairs[0]).toEqual(pair('A man runs', ' far.'));
});

test('reads WinoGrande: contexts differ, what follows is shared', async () => {
  const { layout, items } = await open({
    sentence: 'Ann thanked Bea because _ had helped.',
    option1: 'Ann',
    option2: 'Bea',
    answer: '2',
  });
  expect(layout).toBe('winogrande');
  expect(items).toEqual([
    {
      pairs: [
        pair('Ann thanked Bea because Ann', ' had helped.'),
        pair('Ann thanked Bea because Bea', ' had helped.'),
      ],
      answer: 1,
    },
  ]);
});

const listOf = (name: string) => [
  { name, converted_type: 'LIST' as const, num_children: 1, repetition_type: 'OPTIONAL' as const },
  { name: 'list', num_children: 1, repetition_type: 'REPEATED' as const },
  {
    name: 'element',
    type: 'BYTE_ARRAY' as const,
    converted_type: 'UTF8' as const,
    repetition_type: 'OPTIONAL' as const,
  },
];
const leaf = (name: string, type: 'BYTE_ARRAY' | 'INT64') => ({
  name,
  type,
  repetition_type: 'OPTIONAL' as const,
  ...(type === 'BYTE_ARRAY' && { converted_type: 'UTF8' as const }),
});

test('reads lists and integers of Parquet', async () => {
  const arc = parquetWriteBuffer({
    columnData: [
      { name: 'question', data: ['Why?', 'How?', 'Who?'] },
      {
        name: 'choices',
        data: ['xyz', 'uv', 'abcd'].map((text) => ({
          text: [...text],
          label: [...'ABCD'].slice(0, text.length),
        })),
      },
      { name: 'answerKey', data: ['C', 'A', 'D'] },
    ],
    schema: [
      { name: 'schema', num_children: 3 },
      leaf('question', 'BYTE_ARRAY'),
      { name: 'choices', num_children: 2, repetition_type: 'OPTIONAL' },
      ...listOf('text'),
      ...listOf('label'),
      leaf('answerKey', 'BYTE_ARRAY'),
    ],
    rowGroupSize: 2,
  });
  const { items } = await openChoices(await fileOf('a.parquet', Buffer.from(arc)));
  expect(items.map(({ pairs, answer }) => pairs[answer]!.continuation)).toEqual([' z', ' u', ' d']);

  const hellaswag = parquetWriteBuffer({
    columnData: [
      { name: 'ctx', data: ['A man', 'A cat'] },
      {
        name: 'endings',
        data: [
          ['sits.', 'runs.'],
          ['purrs.', 'barks.'],
        ],
      },
      { name: 'label', data: [1n, 0n] },
    ],
    schema: [
      { name: 'schema', num_children: 3 },
      leaf('ctx', 'BYTE_ARRAY'),
      ...listOf('endings'),
      leaf('label', 'INT64'),
    ],
  });
  const task = await openChoices(await fileOf('b.parquet', Buffer.from(hellaswag)));
  expect(task.items.map(({ pairs, answer }) => pairs[answer]!.continuation)).toEqual([' runs.', ' purrs.']);
});

test('lists the columns of an unknown layout', async () => {
  await expect(open({ question: 'a', answers: [] })).rejects.toThrow(
    'a.jsonl: columns of no known multiple choice task (piqa, arc, hellaswag, winogrande, choices); it has "question", "answers".',
  );
  await expect(open({ endings: ['a', 'b'], label: 0 })).rejects.toThrow('no known multiple choice task');
  await expect(openChoices(await fileOf('a.txt', 'a'))).rejects.toThrow('from JSON lines or Parquet');
});

test('names the row that is wrong', async () => {
  const good = { context: 'a', choices: ['b', 'c'], answer: 0 };
  const cases: [object, string][] = [
    [{ answer: 2 }, '"answer" must be one of 0 to 1, found 2.'],
    [{ answer: -1 }, '"answer" must be one of 0 to 1, found -1.'],
    [{ answer: 0.5 }, '"answer" must be one of 0 to 1, found 0.5.'],
    [{ answer: 'C' }, '"answer" must be one of A to B, found "C".'],
    [{ answer: 'AB' }, '"answer" must be one of 0 to 1, found "AB".'],
    [{ answer: [0] }, '"answer" must be a text or a number, found [0].'],
    [{ answer: '' }, '"answer" holds no answer; take a split that has answers.'],
    [{ choices: ['b'] }, '1 choices; at least 2 are needed.'],
    [{ choices: ['b', ' '] }, 'choice 1 is empty.'],
    [{ choices: ['b', 1] }, '"choices" must be a list of texts, found ["b",1].'],
    [{ context: null }, '"context" must be a text, found null.'],
    [{ context: undefined }, '"context" must be a text, but is missing.'],
  ];
  for (const [change, message] of cases)
    await expect(open(good, { ...good, ...change })).rejects.toThrow(`a.jsonl line 2: ${message}`);
  const broken = `${jsonLines(good)}{"context": `;
  await expect(openChoices(await fileOf('a.jsonl', broken))).rejects.toThrow('a.jsonl line 2: the JSON ends');
});

test('names the row that breaks a public layout', async () => {
  const arc = { question: 'q', choices: { text: ['a', 'b'], label: ['A', 'B'] }, answerKey: 'A' };
  const wino = { sentence: 'a _ b', option1: 'x', option2: 'y', answer: '1' };
  const cases: [object, string][] = [
    [{ ...arc, answerKey: 'E' }, '"answerKey" must be one of A, B, found "E".'],
    [{ ...arc, choices: ['a', 'b'] }, '"choices.text" must be a list of texts, but is missing.'],
    [{ ...arc, choices: { text: ['a', 'b'], label: ['A'] } }, '"choices" has 2 texts and 1 labels'],
    [{ ...wino, answer: '3' }, '"answer" must be one of 1, 2, found "3".'],
    [{ ...wino, answer: '' }, '"answer" holds no answer'],
    [{ ...wino, sentence: 'none' }, '"sentence" has no blank, "_".'],
    [{ goal: 'g', sol1: 'a', sol2: 'b', label: -1 }, '"label" must be one of 0 to 1, found -1.'],
    [{ ctx: 'c', endings: ['a', 'b'], label: '' }, '"label" holds no answer'],
  ];
  for (const [row, message] of cases) await expect(open(row)).rejects.toThrow(`a.jsonl line 1: ${message}`);
});
