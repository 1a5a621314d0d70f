import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ENGINE_VARIABLE, locateEngine } from './locate.js';

let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
  for (const name of ['bundled.js', 'set.js', 'named.js']) await writeFile(at(name), '');
});
afterAll(() => rm(folder, { recursive: true }));

const locate = (setting?: string, named?: string, bundled = at('bundled.js')) =>
  locateEngine({ setting, bundled }, named === undefined ? {} : { [ENGINE_VARIABLE]: named });

it('takes the variable before the setting, and the setting before the bundled one', () => {
  expect(locate()).toEqual({ path: at('bundled.js'), bundled: true });
  expect(locate('')).toEqual({ path: at('bundled.js'), bundled: true });
  expect(locate(at('set.js'))).toEqual({ path: at('set.js'), bundled: false });
  expect(locate(at('set.js'), at('named.js'))).toEqual({ path: at('named.js'), bundled: false });
});

it('says what names an engine that is not there', () => {
  expect(() => locate(at('gone.js'))).toThrow(/^The engine that the settings name is not there: .*gone\.js$/);
  expect(() => locate('engine.js')).toThrow('The engine that the settings name is not there: engine.js');
  expect(() => locate(undefined, at('gone.js'))).toThrow(
    `The engine that ${ENGINE_VARIABLE} names is not there`,
  );
  expect(() => locate(undefined, undefined, at('gone.js'))).toThrow('install the extension again');
});
