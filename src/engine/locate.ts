/** Which engine is started. */
import { existsSync } from 'node:fs';
import { isAbsolute } from 'node:path';

/** Names an engine for those who work on it; before the setting and the bundled one. */
export const ENGINE_VARIABLE = 'ELASTIC_PRECISION_ENGINE';

export interface EngineLocation {
  readonly path: string;
  /** Whether it came with the extension; another is asked for its version before it is trusted. */
  readonly bundled: boolean;
}

/**
 * Throws an error of one line where the engine named is not there.
 * @param setting the path in the settings, left out in an untrusted workspace
 */
export function locateEngine(
  { setting, bundled }: { readonly setting: string | undefined; readonly bundled: string },
  env: NodeJS.ProcessEnv = process.env,
): EngineLocation {
  const named = env[ENGINE_VARIABLE] ?? setting;
  const path = named === undefined || named === '' ? bundled : named;
  const origin =
    path === bundled
      ? 'The engine is missing from this installation; install the extension again'
      : env[ENGINE_VARIABLE]
        ? `The engine that ${ENGINE_VARIABLE} names is not there`
        : 'The engine that the settings name is not there';
  if (!isAbsolute(path) || !existsSync(path)) throw new Error(`${origin}: ${path}`);
  return { path, bundled: path === bundled };
}
