import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { useTemporaryFolder } from '../formats/testing.js';
import { announce, isAlive } from './presence.js';

const at = useTemporaryFolder();
afterEach(() => vi.unstubAllEnvs());

it('an engine is alive from when it announces itself until it ends', async () => {
  const [one, other] = [await announce(), await announce()];
  expect(one.id).toMatch(/^[0-9a-f]{16}$/);
  expect(await isAlive(one.id)).toBe(true);
  await one.close();
  expect(await isAlive(one.id)).toBe(false);
  expect(await isAlive(other.id)).toBe(true);
  await other.close();
  expect(await isAlive('0123456789abcdef')).toBe(false);
});

// Pipes of Windows leave no file.
it.skipIf(process.platform === 'win32')('one that was killed is not, and nothing of it is left', async () => {
  const address = join(tmpdir(), 'elastic-precision-00000000deadbeef.sock');
  const child = await listener(address);
  expect(await isAlive('00000000deadbeef')).toBe(true);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(existsSync(address)).toBe(true);
  expect(await isAlive('00000000deadbeef')).toBe(false);
  expect(existsSync(address)).toBe(false);
});

describe.skipIf(process.platform === 'win32')('the folder for temporary files', () => {
  it('is rid of what killed engines have left, and of nothing else', async () => {
    vi.stubEnv('TMPDIR', at());
    const dead = await listener(at('elastic-precision-00000000deadbeef.sock'));
    const deadBefore = await listener(at('elastic-precision-00000000deadbee5.999999999'));
    for (const child of [dead, deadBefore]) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await writeFile(at('elastic-precision-0123456789abcdef.sock'), 'a file');
    const [one, other] = [await announce(), await announce()];
    expect((await readdir(at())).sort()).toEqual(
      [
        `elastic-precision-0123456789abcdef.sock`,
        ...[one, other].map(({ id }) => `elastic-precision-${id}.sock`),
      ].sort(),
    );
    await one.close();
    await other.close();
    expect(await readdir(at())).toEqual(['elastic-precision-0123456789abcdef.sock']);
  });

  it.each([
    ['too long for a socket', (folder: string) => join(folder, 'd'.repeat(90))],
    ['a device', () => '/dev/null'],
    ['not there', (folder: string) => join(folder, 'none')],
  ])('may be %s: another is taken, where those with another TMPDIR find the engine', async (_, name) => {
    const folder = name(at());
    if (folder.includes('ddd')) await mkdir(folder);
    vi.stubEnv('TMPDIR', folder);
    const presence = await announce();
    vi.stubEnv('TMPDIR', at());
    expect(await isAlive(presence.id, presence.address)).toBe(true);
    await presence.close();
    expect(existsSync(presence.address)).toBe(false);
    expect(await isAlive(presence.id, presence.address)).toBe(false);
  });

  it('loses no file that is said to be a socket', async () => {
    await writeFile(at('thesis'), 'years of work');
    await writeFile(at('elastic-precision-0123456789abcdef.sock'), 'years of work');
    for (const address of [at('thesis'), at('elastic-precision-0123456789abcdef.sock'), 'thesis'])
      expect(await isAlive('0123456789abcdef', address)).toBe(false);
    expect((await readdir(at())).sort()).toEqual(['elastic-precision-0123456789abcdef.sock', 'thesis']);
  });
});

/** A process that listens there. */
async function listener(address: string) {
  const code = `require('net').createServer().listen(${JSON.stringify(address)}, () => console.log('ready'))`;
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}
