/**
 * Runs every test and closes with one line for all, `N passed, N failed, N skipped`: first those that need Node alone, then those
 * of the packaged extension in a real editor, which is installed if it is missing. Arguments go to the test runner.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { closeWith, sumOf } from './counts.mjs';
import { installEditor } from './install-editor.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const runner = join(root, 'node_modules/vitest/vitest.mjs');
const chosen = process.argv.slice(2);

closeWith(sumOf([runTests('vitest.config.ts', chosen), await runEditorTests()]));

async function runEditorTests() {
  try {
    await installEditor((line) => process.stderr.write(`${line}\n`));
  } catch (error) {
    process.stderr.write(
      `The tests in a real editor did not run. ${error.message}\n` +
        '`npm run test:unit` runs the tests that need no editor.\n',
    );
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const first = runTests('vitest.editor.config.ts', chosen);
  if (first.failedFiles.length === 0) return first;
  // A whole editor, browser and machine take part: a file fails if it fails twice, each time from its beginning.
  process.stderr.write(`Once more, in a new editor: ${first.failedFiles.join(', ')}\n`);
  const again = runTests('vitest.editor.config.ts', first.failedFiles);
  return {
    passed: first.passedElsewhere + again.passed,
    failed: again.failed,
    skipped: first.skippedElsewhere + again.skipped,
  };
}

/** The counts of one configuration's tests. A run that ends without a report counts as a failure. */
function runTests(config, files) {
  const folder = mkdtempSync(join(tmpdir(), 'elastic-precision-test-'));
  const report = join(folder, 'report.json');
  const { status } = spawnSync(
    process.execPath,
    [
      ...[runner, 'run', '--config', config, '--reporter=default', '--reporter=json'],
      ...[`--outputFile=${report}`, ...(files.length > 0 ? ['--passWithNoTests'] : []), ...files],
    ],
    { stdio: 'inherit' },
  );
  try {
    const { numPassedTests, numFailedTests, numFailedTestSuites, numPendingTests, testResults } = JSON.parse(
      readFileSync(report, 'utf8'),
    );
    // A file that cannot even be loaded fails without a test to count.
    const failed = numFailedTests > 0 ? numFailedTests : numFailedTestSuites;
    const [good, bad] = [true, false].map((is) => testResults.filter((r) => (r.status === 'passed') === is));
    const elsewhere = good.flatMap((r) => r.assertionResults);
    const count = (isOne) => elsewhere.filter(({ status }) => isOne(status)).length;
    return {
      passed: numPassedTests,
      passedElsewhere: count((status) => status === 'passed'),
      skipped: numPendingTests,
      skippedElsewhere: count((status) => status === 'skipped' || status === 'pending'),
      failed: failed === 0 && status !== 0 ? 1 : failed,
      failedFiles: bad.map((r) => relative(root, r.name)),
    };
  } catch {
    process.stderr.write(`The test runner left no report of ${config}.\n`);
    return { passed: 0, passedElsewhere: 0, failed: 1, failedFiles: [], skipped: 0, skippedElsewhere: 0 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
