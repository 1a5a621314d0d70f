/**
 * Tests that run inside an extension host. `buildHostTests` bundles them; run alone (`npm run test:desktop`) this runs
 * them in a desktop VS Code, which it downloads, on the extension as it is built in this folder.
 */
import { build } from 'esbuild';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = join(root, 'test/host');
const output = join(root, '.vscode-test/host');

/** @returns {Promise<string>} the module whose `run` runs them all */
export async function buildHostTests() {
  await rm(output, { recursive: true, force: true });
  const tests = (await readdir(source)).filter((name) => name.endsWith('.host.ts'));
  await build({
    absWorkingDir: root,
    entryPoints: ['index.ts', ...tests].map((name) => join(source, name)),
    outdir: output,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    sourcemap: 'inline',
    // Mocha is found in this folder's node_modules.
    external: ['vscode', 'mocha'],
    logLevel: 'warning',
  });
  return join(output, 'index.cjs');
}

/** @returns {Promise<string>} a new folder with what the tests expect to be opened: the samples */
export async function hostWorkspace() {
  const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-host-'));
  for (const name of ['vit-fashion', 'llama-speeches', 'data'])
    await cp(join(root, 'samples', name), join(folder, name), { recursive: true });
  return folder;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { runTests } = await import('@vscode/test-electron');
  const workspace = await hostWorkspace();
  try {
    process.exitCode = await runTests({
      extensionDevelopmentPath: root,
      extensionTestsPath: await buildHostTests(),
      launchArgs: [workspace, '--disable-extensions', '--disable-workspace-trust'],
    });
  } catch (error) {
    console.error(`The tests did not run in a desktop VS Code: ${error.message}`);
    process.exitCode = 1;
  } finally {
    await rm(workspace, { recursive: true, force: true });
  }
}
