import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { announce, isAlive } from './liveness.js';

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
  const code = `require('net').createServer().listen(${JSON.stringify(address)}, () => console.log('ready'))`;
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  expect(await isAlive('00000000deadbeef')).toBe(true);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(existsSync(address)).toBe(true);
  expect(await isAlive('00000000deadbeef')).toBe(false);
  expect(existsSync(address)).toBe(false);
});
