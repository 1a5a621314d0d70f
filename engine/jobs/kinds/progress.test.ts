import { existsSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { useTemporaryFolder } from '../../formats/testing.js';
import { kindOf } from './registry.js';

const at = useTemporaryFolder();

it('an unfinished calibration is found, and deleted, where a link leads', async () => {
  await mkdir(at('real.partial'));
  await writeFile(at('real.partial', 'identity.json'), '{}');
  await mkdir(at('real'));
  await symlink('real', at('link'));
  const progress = kindOf('calibrate').progress!;
  const request = { model: at('model'), out: at('link') };
  expect(await progress.made(request)).toBe(true);
  await progress.discard(request);
  expect(await progress.made(request)).toBe(false);
  expect(existsSync(at('real.partial'))).toBe(false);
});

it('an unfinished measurement is found, and deleted, where a link leads', async () => {
  await writeFile(at('real.json.partial'), '{"costs":[[1]]}');
  await writeFile(at('real.json'), '{}');
  await symlink('real.json', at('link.json'));
  const progress = kindOf('sensitivity').progress!;
  const request = { model: at('model'), adapters: at('set'), data: at('data'), out: at('link.json') };
  expect(await progress.made(request)).toBe(true);
  await progress.discard(request);
  expect(await progress.made(request)).toBe(false);
  expect(existsSync(at('real.json.partial'))).toBe(false);
});

it('where nothing can be written, there is nothing to go on from', async () => {
  await symlink('nowhere', at('link'));
  expect(await kindOf('calibrate').progress!.made({ model: at('model'), out: at('link') })).toBe(false);
});
