import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { expect, test } from 'vitest';
import { openText } from './source.js';
import { documentsOf, fileOf, folderOf, jsonLines } from './testing.js';

const invalid = Buffer.from([0x61, 0xff, 0x62]);

const parquet = (...columnData: Parameters<typeof parquetWriteBuffer>[0]['columnData']) =>
  Buffer.from(parquetWriteBuffer({ columnData, rowGroupSize: 2 }));

const texts = (data: (string | null)[], name = 'text') =>
  parquet({ name: 'id', data: data.map((_, i) => i), type: 'INT32' }, { name, data, type: 'STRING' });

test('reads plain text, line ends as LF, one document a file, in the order of the names', async () => {
  const folder = await folderOf({
    'b.txt': 'second\r\n\r',
    'a.md': '\ufefffirst é',
    'c.txt': invalid,
    'README.md': 'about',
    'x.png': 'x',
  });
  const source = await openText(folder);
  expect(await documentsOf(source)).toEqual(['first é', 'second\n\n']);
  expect(await documentsOf(source)).toHaveLength(2);
  expect(source).toMatchObject({ kind: 'text', skipped: [{ name: 'c.txt' }] });
  expect(source.skipped[0]!.reason).toContain('not valid UTF-8');
});

test('says why no text can be read', async () => {
  const source = await openText(await fileOf('a.txt', invalid));
  await expect(documentsOf(source)).rejects.toThrow('No text could be read from a.txt; a.txt: not valid');
  await expect(openText(await fileOf('a.txt', ''))).rejects.toThrow('a.txt: the file is empty.');
  await expect(openText(await fileOf('a.jsonl', '\n \n'))).rejects.toThrow('a.jsonl: holds no rows.');
  await expect(openText(await fileOf('a.parquet', texts([])))).rejects.toThrow('a.parquet: holds no rows.');
  await expect(openText(await fileOf('a.png', 'x'))).rejects.toThrow(
    'is not a text; supported are plain text',
  );
  await expect(openText(await fileOf('a.json.gz', 'x'))).rejects.toThrow('is compressed; unpack it first');
  await expect(openText(await folderOf({ 'x.png': '' }))).rejects.toThrow('holds no text');
  await expect(openText('nowhere')).rejects.toThrow('Cannot read nowhere');
  const plain = await fileOf('a.txt', 'a');
  await expect(openText(plain, { column: 'text' })).rejects.toThrow('plain text has no columns');
});

test('reads JSON lines, whatever their ends and however long', async () => {
  const long = 'long '.repeat(40_000);
  const lines = `{"id": 1, "text": "a\\u00e9"}\r\n\n{"text": "${long}"}\n{"text": ""}\n{"text": null}\n{"id": 5}\n{"text": 6}\n{"text": "é"}`;
  const source = await openText(await fileOf('a.jsonl', `\ufeff${lines}`));
  expect(await documentsOf(source)).toEqual(['aé', long, '', 'é']);
  expect(source).toMatchObject({ kind: 'jsonl', column: 'text' });
  expect(source.skipped).toEqual([
    { name: 'a.jsonl line 5', reason: 'the row has nothing in "text".' },
    { name: 'a.jsonl line 6', reason: 'the row has nothing in "text".' },
    { name: 'a.jsonl line 7', reason: '"text" must be a text, found 6.' },
  ]);
});

test('names the damaged line', async () => {
  const good = '{"text": "a"}\n';
  const cases: [string | Uint8Array, string][] = [
    [`${good}{"text": "b"\n`, 'a.jsonl line 2: the JSON ends too early'],
    [`${good}\n"b"\n`, 'a.jsonl line 3: must be a JSON object'],
    [Buffer.concat([Buffer.from(good), invalid]), 'a.jsonl line 2: not valid UTF-8 text.'],
  ];
  for (const [content, message] of cases) {
    const source = await openText(await fileOf('a.jsonl', content));
    await expect(documentsOf(source)).rejects.toThrow(message);
  }
  await expect(openText(await fileOf('a.json', '[\n{"text": "a"}]'))).rejects.toThrow('begins a JSON list');
});

test('the later of two equal keys counts, as where Python reads the line', async () => {
  const source = await openText(await fileOf('a.jsonl', '{"text": "b", "text": "c"}\n'));
  expect(await documentsOf(source)).toEqual(['c']);
});

test('finds the column of texts, or lists the columns that there are', async () => {
  const rows = jsonLines({ n: 1, document: 'd', content: 'c' });
  const path = await fileOf('a.jsonl', rows);
  expect(await documentsOf(await openText(path))).toEqual(['c']);
  expect(await documentsOf(await openText(path, { column: 'document' }))).toEqual(['d']);
  await expect(openText(path, { column: 'body' })).rejects.toThrow(
    'a.jsonl: no column of texts named "body"; it has "n", "document", "content".',
  );
  await expect(openText(path, { column: 'n' })).rejects.toThrow('the column "n" holds no texts');
  await expect(openText(await fileOf('a.parquet', texts(['a'], 'body')))).rejects.toThrow(
    'no column of texts named "text" or "content" or "document"; it has "id", "body".',
  );
  const wrong = parquet({ name: 'text', data: [1, 2], type: 'INT32' });
  await expect(openText(await fileOf('a.parquet', wrong))).rejects.toThrow(
    'the column "text" holds no texts',
  );
});

test('reads Parquet row group by row group, file by file', async () => {
  const folder = await folderOf({
    'train-00001-of-00002.parquet': texts(['d', '']),
    'train-00000-of-00002.parquet': texts(['a', null, 'cé']),
    'README.md': 'about',
  });
  const source = await openText(folder);
  expect(await documentsOf(source)).toEqual(['a', 'cé', 'd', '']);
  expect(source.skipped).toEqual([
    { name: 'train-00000-of-00002.parquet row 1', reason: 'the row has nothing in "text".' },
  ]);
  expect(await openText(join(folder, 'train'))).toMatchObject({ name: 'train', kind: 'parquet' });
});

test('takes bytes of a Parquet column as UTF-8, strictly', async () => {
  const bytes = [Buffer.from('é'), invalid];
  for (const [type, converted] of [['BYTE_ARRAY'], ['BYTE_ARRAY', 'UTF8']] as const) {
    const file = parquetWriteBuffer({
      columnData: [{ name: 'text', data: bytes }],
      schema: [
        { name: 'schema', num_children: 1 },
        {
          name: 'text',
          type,
          repetition_type: 'REQUIRED',
          ...(converted && { converted_type: converted }),
        },
      ],
    });
    const source = await openText(await fileOf('a.parquet', Buffer.from(file)));
    expect(await documentsOf(source)).toEqual(['é']);
    expect(source.skipped).toEqual([{ name: 'a.parquet row 1', reason: 'not valid UTF-8 text.' }]);
  }
});

test('asks which of several sets to take', async () => {
  const folder = await folderOf({ 'a.jsonl': '{}', 'b.txt': 'b', 'c.txt': 'c' });
  await expect(openText(folder)).rejects.toThrow(
    `several sets of texts; name one: ${join(folder, 'a.jsonl')}, ${join(folder, 'b.txt')}.`,
  );
});

test('a fingerprint knows content, names and column, not the place', async () => {
  const rows = jsonLines({ text: 'a', content: 'b' });
  const path = await fileOf('a.jsonl', rows);
  const first = await (await openText(path)).fingerprint();
  expect(await (await openText(await fileOf('a.jsonl', rows))).fingerprint()).toBe(first);
  const moved = path.replace('a.jsonl', 'b.jsonl');
  const others = [
    await openText(path, { column: 'content' }),
    await openText(await fileOf('a.jsonl', rows.replace('"b"', '"c"'))),
  ];
  const hashes = [first, ...(await Promise.all(others.map((other) => other.fingerprint())))];
  await rename(path, moved);
  hashes.push(await (await openText(moved)).fingerprint());
  expect(new Set(hashes).size).toBe(4);
  expect(first).toMatch(/^[0-9a-f]{64}$/);
});
