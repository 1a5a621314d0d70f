import { existsSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { complaint, useTemporaryFolder } from '../formats/testing.js';
import { lock, requireUnlocked, whileLocked } from './lock.js';

const at = useTemporaryFolder();

it('keeps a second writer out at once, and leaves nothing behind', async () => {
  const first = await lock(at('sets', 'a'));
  const line = await complaint(() => lock(at('sets', 'a')));
  expect(line).toContain(`${at('sets', 'a')} is being written by process ${process.pid};`);
  expect(await complaint(() => requireUnlocked(at('sets', 'a')))).toBe(line);
  await (await lock(at('sets', 'b'))).release();
  await first.release();
  await requireUnlocked(at('sets', 'a'));
  expect(await readdir(at())).toEqual([]);
});

it('of many that begin at once, one is let in', async () => {
  const locks = await Promise.allSettled(Array.from({ length: 5 }, () => lock(at('a'))));
  expect(locks.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  for (const each of locks) if (each.status === 'fulfilled') await each.value.release();
});

it('that a killed process has left keeps nobody out', async () => {
  await writeFile(
    at('.a.lock.0'),
    `0123456789abcdef here 1 ${at('elastic-precision-0123456789abcdef.sock')}`,
  );
  // Of another machine nothing can be known.
  expect(await complaint(() => lock(at('a')))).toMatch(
    /by process 1 on here; if that has ended, delete .*lock\.\*/,
  );
  const [, host] = (await heldText()).split(' ');
  await writeFile(
    at('.a.lock.0'),
    `0123456789abcdef ${host!} 1 ${at('elastic-precision-0123456789abcdef.sock')}`,
  );
  await whileLocked(at('a'), () => Promise.resolve());
  expect(await readdir(at())).toEqual([]);
});

it('keeps what was put into the folder that it made', async () => {
  await whileLocked(at('sets', 'a'), () => writeFile(at('sets', 'a'), ''));
  expect(existsSync(at('sets', 'a'))).toBe(true);
});

it('survives that its folder is deleted meanwhile', async () => {
  const held = await lock(at('sets', 'a'));
  await rm(at('sets'), { recursive: true });
  await held.release();
  expect(await readdir(at())).toEqual([]);
});

/** What a claim of this process says. */
async function heldText(): Promise<string> {
  const held = await lock(at('b'));
  try {
    return await readFile(at('.b.lock.0'), 'utf8');
  } finally {
    await held.release();
  }
}
