/**
 * Compares the engine with reference libraries on random configurations, and closes with `N passed, N failed, N skipped`, counting
 * configurations. Where the libraries cannot be had, it says why and skips them all.
 *
 * --seed N    draws the configurations of an earlier run; the seed of every run is printed
 * --cases N   so many of each suite
 * Other arguments choose test files.
 */
import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { closeWith, readCounts, sumOf } from './counts.mjs';
import { installPeers } from './install-peers.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values, positionals } = parseArgs({
  options: { seed: { type: 'string' }, cases: { type: 'string' } },
  allowPositionals: true,
});
const seed = numberOf('seed', process.env.PEERS_SEED) ?? randomInt(2 ** 31);
const cases = numberOf('cases', process.env.PEERS_CASES);

let python;
try {
  python = await installPeers((line) => process.stderr.write(`${line}\n`));
} catch (error) {
  process.stderr.write(`${error.message}\nNothing is compared: every configuration counts as skipped.\n`);
}
process.stdout.write(
  `seed ${seed}: \`npm run test:peers -- --seed ${seed}\` draws the same configurations\n`,
);

const folder = mkdtempSync(join(tmpdir(), 'elastic-precision-peers-'));
try {
  const report = join(folder, 'report.jsonl');
  const { status } = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules/vitest/vitest.mjs'),
      ...['run', '--config', 'vitest.peers.config.ts', ...positionals],
    ],
    {
      cwd: root,
      stdio: 'inherit',
      env: {
        ...process.env,
        PEERS_SEED: String(seed),
        PEERS_REPORT: report,
        PEERS_PYTHON: python,
        PEERS_CASES: cases === undefined ? undefined : String(cases),
      },
    },
  );
  const counts = sumOf(existsSync(report) ? readCounts(report) : []);
  // What fails without a configuration to count: a file that cannot be loaded, too many refusals.
  closeWith(status !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** @param {string} name @param {string | undefined} inherited */
function numberOf(name, inherited) {
  const text = values[name] ?? inherited;
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  process.stderr.write(`--${name} must be a whole number, found "${text}".\n`);
  process.exit(2);
}
