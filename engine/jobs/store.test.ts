import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/fixtures.js';
import { HOST } from '../locks/claims.js';
import { newRecord, type StoredJob } from './record.js';
import { openJobStore, type JobStore } from './store.js';

let folder: string;
let cleanUp: () => Promise<void>;
let store: JobStore;
const ID = 'lq2x0000-00000001';
const ENGINE = { id: '0123456789abcdef', host: HOST, pid: process.pid };
const record = newRecord({ kind: 'evaluate', request: { model: '/models/vit', data: '/data' } }, ID, 5);

beforeEach(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  store = await openJobStore(join(folder, 'new', 'jobs'), ENGINE);
});
afterEach(() => cleanUp());

it('reads what was written, and nothing for what was not', async () => {
  await store.write(record);
  expect(await store.read(ID)).toEqual(record);
  expect(await store.ids()).toEqual([ID]);
  expect(await store.read('lq2x0000-00000002')).toBeUndefined();
  await store.remove(ID);
  expect(await store.ids()).toEqual([]);
});

it('of many writes at once the last one stays', async () => {
  const writes = Array.from({ length: 50 }, (_, i) => store.write({ ...record, progress: i / 50 }));
  await Promise.all(writes);
  expect((await store.read(ID))!.progress).toBe(49 / 50);
});

it('takes no other files for records', async () => {
  await store.write(record);
  const jobs = join(folder, 'new', 'jobs');
  for (const name of ['notes.json', `.${ID}.json.1-00000000.partial`, `${ID}.json.bak`, 'X-00000001.json'])
    await writeFile(join(jobs, name), '{}');
  expect(await store.ids()).toEqual([ID]);
});

it('keeps the newest of a long log, from the start of a line', async () => {
  expect(await store.readLog(ID)).toEqual({ text: '', truncated: false });
  store.appendLog(ID, 'first\n');
  store.appendLog(ID, 'second\n');
  expect(await store.readLog(ID)).toEqual({ text: 'first\nsecond\n', truncated: false });
  store.appendLog(ID, 'a/\u001b]0;x\u0007.png\n');
  expect((await store.readLog(ID)).text).toMatch('a/\\u001b]0;x\\u0007.png\n');
  for (let i = 0; i < 5000; i++) store.appendLog(ID, `line ${i} ${'·'.repeat(50)}\n`);
  const { text, truncated } = await store.readLog(ID);
  expect(truncated).toBe(true);
  expect(text.length).toBeLessThanOrEqual(256 << 10);
  for (const line of text.trimEnd().split('\n')) expect(line).toMatch(/^line \d+ ·{50}$/);
  expect(text).toMatch(/line 4999 ·+\n$/);
});

it('writes no endless log', async () => {
  for (let i = 0; i < 10; i++) store.appendLog(ID, 'x'.repeat(1 << 20));
  await store.readLog(ID);
  const log = await readFile(join(folder, 'new', 'jobs', `${ID}.log`), 'utf8');
  expect(log.length).toBeLessThan(6 << 20);
  expect(log).toMatch(/The rest is left out\.\n$/);
});

it('survives a write that fails', async () => {
  await store.write(record);
  const bad = { ...record, id: 'nowhere/at-all' } as StoredJob;
  await expect(store.write(bad)).rejects.toThrow();
  await store.write({ ...record, progress: 1 });
  expect((await store.read(ID))!.progress).toBe(1);
});

it('makes its folder again where it was deleted, and its jobs are still its own', async () => {
  await store.claim(ID);
  await store.write(record);
  await rm(join(folder, 'new'), { recursive: true });
  expect(await store.ids()).toEqual([]);
  await rm(join(folder, 'new'), { recursive: true });
  await store.write(record);
  expect(await store.read(ID)).toEqual(record);
  expect(await store.of(ID)).toBe('this');
  const changed = new Promise<string>((heard) => store.watch(heard));
  await store.write({ ...record, progress: 0.5 });
  expect(await changed).toBe(ID);
});
