/** Runs the whole test suite and closes with the line `N passed, N failed`. Arguments go to the test runner. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = mkdtempSync(join(tmpdir(), 'elastic-precision-test-'));
const report = join(folder, 'report.json');
const runner = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url));
const { status } = spawnSync(
  process.execPath,
  [
    runner,
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile=${report}`,
    ...process.argv.slice(2),
  ],
  { stdio: 'inherit' },
);

let [passed, failed] = [0, 1];
try {
  const { numPassedTests, numFailedTests, numFailedTestSuites, success } = JSON.parse(
    readFileSync(report, 'utf8'),
  );
  passed = numPassedTests;
  // A file that cannot even be loaded fails without a test to count.
  failed = numFailedTests > 0 ? numFailedTests : success ? 0 : Math.max(numFailedTestSuites, 1);
} catch {
  process.stderr.write('The test runner left no report.\n');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = status === 0 && failed === 0 ? 0 : 1;
