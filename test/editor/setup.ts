/** Before all editor tests: the editor installed, the extension packaged for this platform, one server started. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { installEditor } from '../../scripts/install-editor.mjs';
import { packageExtension } from '../../scripts/package.mjs';
import { startServer } from './server.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** The packaged extension. */
    readonly vsix: string;
    readonly serverUrl: string;
    /** The folder that the extension was unpacked into. */
    readonly extension: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await installEditor((line) => process.stderr.write(`${line}\n`));
  const vsix = join(project.config.root, '.vscode-test', 'elastic-precision.vsix');
  await packageExtension({ out: vsix });
  const server = await startServer({ vsix: [vsix] });
  project.provide('vsix', vsix);
  project.provide('serverUrl', server.url);
  project.provide('extension', await server.extension());
  return async () => {
    await server.stop();
    await rm(vsix, { force: true });
  };
}
