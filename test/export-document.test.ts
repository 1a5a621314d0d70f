/** docs/EXPORT.md says what the formats do; `npm run export-table` writes its tables anew. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format } from 'prettier';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { usePrograms } from '../engine/execution/testing.js';
import { exporters } from '../engine/exporters/registry.js';
import { exportTables } from './export-table.js';
import { temporaryFolder } from './fixtures.js';

const DOCUMENT = join(import.meta.dirname, '../docs/EXPORT.md');
const TABLES = '## Language models';
const programs = usePrograms();
let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());

/** Distances in order, and the text without them. */
const apart = (text: string) => ({
  text: text.replace(/≤ [\d.]+ %/g, '≤ N %').replace(/ {2,}|-{3,}/g, ' '),
  bounds: [...text.matchAll(/≤ ([\d.]+) %/g)].map(([, bound]) => Number(bound)),
});

it('has what every format makes of sets of every method', async () => {
  const written = await readFile(DOCUMENT, 'utf8');
  const [before] = written.split(TABLES) as [string];
  const style = { parser: 'markdown', printWidth: 110, singleQuote: true } as const;
  const made = await format(before + (await exportTables(programs, folder)), style);
  if (process.env.EXPORT_TABLE === 'write') {
    await writeFile(DOCUMENT, made);
    return;
  }
  const [are, should] = [apart(written), apart(made)];
  expect(are.text).toBe(should.text);
  // The last digits of a calibration are the machine's: a bound may be the next one.
  should.bounds.forEach((bound, i) => expect(bound / are.bounds[i]!).toBeLessThanOrEqual(2.5));
  // Sets of all methods are made for it.
}, 900_000);

it('says of every format what it is called', async () => {
  const text = await readFile(DOCUMENT, 'utf8');
  for (const { name } of exporters) expect(text).toContain(`\`${name}\``);
});
