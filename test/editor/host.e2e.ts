/** The extension-host tests (`test/host/`), run in this editor; each of them counts as a test here. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject, it } from 'vitest';
import { buildHostTests, hostWorkspace } from '../../scripts/host-tests.mjs';
import type { HostTestLine } from '../host/index.js';
import { startServer } from './server.js';
import { launchBrowser } from './workbench.js';

const LIMIT_MILLISECONDS = 900_000;

for (const result of await runHostTests())
  it(result.title, () => {
    if (result.error !== undefined) throw new Error(result.error);
  });

/** The last is made here: that all of them ran, and the editor says so too. */
async function runHostTests(): Promise<readonly { readonly title: string; readonly error?: string }[]> {
  const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-host-tests-'));
  const report = join(folder, 'report.jsonl');
  await writeFile(report, '');
  const workspace = await hostWorkspace();
  // The editor runs tests beside an extension under development; what is tested is the installed one.
  const stub = join(folder, 'stub');
  await mkdir(stub);
  const manifest = { name: 'stub', publisher: 'stub', version: '0.0.0', engines: { vscode: '*' } };
  await writeFile(join(stub, 'package.json'), JSON.stringify(manifest));
  const server = await startServer({
    vsix: [inject('vsix')],
    testDriver: true,
    env: { HOST_TEST_REPORT: report },
  });
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
    const remote = (path: string) => `vscode-remote://${new URL(server.url).host}${path}`;
    const url = new URL(server.url);
    url.searchParams.set('folder', workspace);
    url.searchParams.set(
      'payload',
      JSON.stringify([
        ['extensionDevelopmentPath', remote(stub)],
        ['extensionTestsPath', remote(await buildHostTests())],
      ]),
    );
    const exit = new Promise<number>((resolve, reject) => {
      setTimeout(() => reject(new Error('The extension host did not end.')), LIMIT_MILLISECONDS).unref();
      void page.exposeFunction('codeAutomationLog', () => undefined);
      void page.exposeFunction('codeAutomationExit', (code: number) => resolve(code));
    });
    await page.goto(url.href, { waitUntil: 'commit' });
    const code = await exit.catch(async (error: Error) => {
      throw new Error(
        `${error.message}\n${await readFile(report, 'utf8')}\n${(await server.log()).slice(-3000)}`,
      );
    });
    const lines = (await readFile(report, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as HostTestLine);
    const end = lines.at(-1);
    const complete = end?.type === 'end' && (code === 0) === (end.failures === 0);
    return [
      ...lines.filter((line) => line.type === 'test'),
      { title: 'all extension-host tests ran', ...(!complete && { error: `The host ended with ${code}.` }) },
    ];
  } finally {
    await browser.close();
    await server.stop();
    for (const path of [folder, workspace]) await rm(path, { recursive: true, force: true });
  }
}
