/** docs/FAMILIES.md says what families take; `npm run family-table` writes its tables anew. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format } from 'prettier';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { usePrograms } from '../engine/execution/testing.js';
import { familyTables } from './families-table.js';
import { temporaryFolder } from './fixtures.js';

const DOCUMENT = join(import.meta.dirname, '../docs/FAMILIES.md');
const TABLES = '## Picture classifiers';
const programs = usePrograms();
let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());

it('has what every family takes', async () => {
  const written = await readFile(DOCUMENT, 'utf8');
  const [before] = written.split(TABLES) as [string];
  const style = { parser: 'markdown', printWidth: 110, singleQuote: true } as const;
  const made = await format(before + (await familyTables(programs, folder)), style);
  if (process.env.FAMILY_TABLE === 'write') await writeFile(DOCUMENT, made);
  else expect(written).toBe(made);
});
