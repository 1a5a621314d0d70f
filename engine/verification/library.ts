/** Where node-llama-cpp lies, which runs GGUF files, and how it is had: it comes with nothing here, and only people install it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { cacheFolder } from '../formats/cache-folder.js';
import { isFile } from '../formats/paths.js';
import { shellWord } from '../formats/shell.js';

/** The one that is tested. */
const VERSION = '3.21.1';

/** Names another folder that the package was installed into. */
export const LLAMA_VARIABLE = 'ELASTIC_PRECISION_LLAMA_CPP';

export interface LlamaLibrary {
  /** The package's. */
  readonly folder: string;
  /** For people, such as `llama.cpp (node-llama-cpp 3.21.1)`. */
  readonly title: string;
}

const root = (): string =>
  process.env[LLAMA_VARIABLE] ?? join(cacheFolder(), 'elastic-precision', 'llama.cpp');

/** Undefined where it is not installed. */
export async function findLlama(): Promise<LlamaLibrary | undefined> {
  const folder = join(root(), 'node_modules', 'node-llama-cpp');
  const manifest = join(folder, 'package.json');
  if (!(await isFile(manifest))) return undefined;
  const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version?: unknown };
  return { folder, title: `llama.cpp (node-llama-cpp ${String(version)})` };
}

/** The arguments of npm that install it for this machine, without what other machines need. */
export function installArguments(): string[] {
  const { platform, arch } = process;
  const system = platform === 'darwin' ? 'mac' : platform === 'win32' ? 'win' : 'linux';
  const build = system === 'mac' && arch === 'arm64' ? 'mac-arm64-metal' : `${system}-${arch}`;
  const packages = ['node-llama-cpp', `@node-llama-cpp/${build}`].map((name) => `${name}@${VERSION}`);
  return ['install', '--prefix', root(), '--ignore-scripts', '--omit=optional', ...packages];
}

/** Throws UserError that says how it is installed, where it is not. */
export async function requireLlama(): Promise<LlamaLibrary> {
  const found = await findLlama();
  if (found) return found;
  throw new UserError(
    `GGUF is verified in llama.cpp, which is not installed; install it with: ${['npm', ...installArguments()].map(shellWord).join(' ')}`,
  );
}
