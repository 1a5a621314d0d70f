/**
 * What the editor calls to run tests inside its extension host (`extensionTestsPath`): every `*.host.ts` beside this
 * file, with Mocha. One JSON line a test goes to the file named by `HOST_TEST_REPORT`; the last line says that all ran.
 */
import { appendFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import Mocha from 'mocha';

export type HostTestLine =
  | { readonly type: 'test'; readonly title: string; readonly error?: string }
  | { readonly type: 'end'; readonly failures: number };

export async function run(): Promise<void> {
  const mocha = new Mocha({ ui: 'bdd', timeout: 120_000, reporter: LineReporter, forbidOnly: true });
  for (const file of readdirSync(__dirname).filter((name) => name.endsWith('.host.cjs')))
    mocha.addFile(join(__dirname, file));
  const failures = await new Promise<number>((resolve) => mocha.run(resolve));
  write({ type: 'end', failures });
  if (failures > 0) throw new Error(`${failures} tests failed.`);
}

/** Mocha makes its reporters with `new`. */
class LineReporter extends Mocha.reporters.Base {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    report(runner);
  }
}

function report(runner: Mocha.Runner): void {
  runner.on('pass', (test) => write({ type: 'test', title: test.fullTitle() }));
  // A hook that fails counts as a test.
  runner.on('fail', (test, error: Error) =>
    write({ type: 'test', title: test.fullTitle(), error: error.stack ?? error.message }),
  );
  runner.on('pending', (test) =>
    write({ type: 'test', title: test.fullTitle(), error: 'Skipped; no test may be.' }),
  );
}

function write(line: HostTestLine): void {
  const { HOST_TEST_REPORT } = process.env;
  if (HOST_TEST_REPORT) appendFileSync(HOST_TEST_REPORT, `${JSON.stringify(line)}\n`);
  // In a desktop editor this is what the terminal shows.
  if (line.type === 'test')
    console.log(`${line.error ? 'FAIL' : 'ok'} ${line.title}${line.error ? `\n${line.error}` : ''}`); // eslint-disable-line no-console
  else console.log(`${line.failures} failed`); // eslint-disable-line no-console
}
