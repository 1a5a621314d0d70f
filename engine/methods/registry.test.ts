import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { methods } from './registry.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** Names that mean something else, too: usual methods, baselines of evaluations, a format of exports. */
const ELSEWHERE = new Set(['quept', 'direct', 'gptq', 'rounding']);

const files = ['engine', 'src', 'webview', 'schemas']
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path)),
  )
  .map((path) => path.replaceAll('\\', '/'))
  .filter((path) => /\.(ts|mjs|css|json)$/.test(path) && !/\.test\.ts$/.test(path));

it.each(methods.map(({ name }) => name).filter((name) => !ELSEWHERE.has(name)))(
  'names %s in its own folder and in the registry alone',
  (name) => {
    // As a string or in a path; sources of a formula may be cited.
    const word = new RegExp(`['"\`/]${name}['"\`/]`);
    const own = `engine/methods/${name}/`;
    const naming = ['package.json', ...files].filter(
      (path) => !path.startsWith(own) && word.test(readFileSync(join(root, path), 'utf8')),
    );
    expect(naming).toEqual(['engine/methods/registry.ts']);
  },
);
