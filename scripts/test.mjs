/**
 * Runs every test and closes with one line for all, `N passed, N failed`: first those that need Node alone, then those
 * of the packaged extension in a real editor, which is installed if it is missing. Arguments go to the test runner.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installEditor } from './install-editor.mjs';

const runner = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url));
const chosen = process.argv.slice(2);

const results = [runTests('vitest.config.ts'), await runEditorTests()];
const sum = (key) => results.reduce((total, result) => total + result[key], 0);
process.stdout.write(`${sum('passed')} passed, ${sum('failed')} failed\n`);
process.exitCode = sum('failed') === 0 ? 0 : 1;

async function runEditorTests() {
  try {
    await installEditor((line) => process.stderr.write(`${line}\n`));
  } catch (error) {
    process.stderr.write(
      `The tests in a real editor did not run. ${error.message}\n` +
        '`npm run test:unit` runs the tests that need no editor.\n',
    );
    return { passed: 0, failed: 1 };
  }
  return runTests('vitest.editor.config.ts');
}

/** The counts of one configuration's tests. A run that ends without a report counts as a failure. */
function runTests(config) {
  const folder = mkdtempSync(join(tmpdir(), 'elastic-precision-test-'));
  const report = join(folder, 'report.json');
  const { status } = spawnSync(
    process.execPath,
    [
      ...[runner, 'run', '--config', config, '--reporter=default', '--reporter=json'],
      ...[`--outputFile=${report}`, ...(chosen.length > 0 ? ['--passWithNoTests'] : []), ...chosen],
    ],
    { stdio: 'inherit' },
  );
  try {
    const { numPassedTests, numFailedTests, numFailedTestSuites } = JSON.parse(readFileSync(report, 'utf8'));
    // A file that cannot even be loaded fails without a test to count.
    const failed = numFailedTests > 0 ? numFailedTests : numFailedTestSuites;
    return { passed: numPassedTests, failed: failed === 0 && status !== 0 ? 1 : failed };
  } catch {
    process.stderr.write(`The test runner left no report of ${config}.\n`);
    return { passed: 0, failed: 1 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
