/** Where programs keep what they can make again. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The user's. */
export function cacheFolder(): string {
  const { env, platform } = process;
  const usual = { darwin: join(homedir(), 'Library', 'Caches'), win32: env.LOCALAPPDATA }[platform as string];
  return env.XDG_CACHE_HOME ?? usual ?? join(homedir(), '.cache');
}
