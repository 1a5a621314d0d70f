/**
 * Packs the extension for one platform: `npm run package -- [--target linux-x64] [--out FILE]`. Prints what is inside
 * and how large it is. Nothing but the bundles, the native binaries of the target, media, texts and samples ships.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { createVSIX, listFiles, PackageManager } from '@vscode/vsce';
import { bundle } from './bundles.mjs';
import { collectLicenses } from './licenses.mjs';

const exec = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));

/** Platforms that all native packages have binaries for. */
const TARGETS = ['darwin-arm64', 'linux-arm64', 'linux-x64', 'win32-arm64', 'win32-x64'];
const HERE = `${process.platform}-${process.arch}`;

/** What goes into the package beside `dist`; `.vscodeignore` says what of it stays out. */
const CONTENT = [
  ...['package.json', 'package.nls.json', '.vscodeignore', 'README.md', 'CHANGELOG.md', 'LICENSE'],
  ...['docs', 'l10n', 'media', 'samples', 'schemas'],
];
/** Packages that are loaded as they are, and what they load. */
const MODULES = [
  ...['onnxruntime-node', 'onnxruntime-common', 'tokenizers'],
  ...['sharp', '@img/colour', 'detect-libc', 'semver'],
];
/** What a package needs at run time: code, binaries, its manifest and its licence. */
const NEEDED = /(\.(c|m)?js|\.json|\.node|\.so[.\d]*|\.dylib|\.dll|\/LICEN[CS]E[^/]*)$/i;
const NOT_NEEDED =
  /\/(src|script|install|test|docs?)\/|\/onnxruntime-node\/bin\/|\/tokenizers\/[^/]*\.node\/$/;
/** The binary of `tokenizers` for each target; its package holds those of all. */
const TOKENIZERS = {
  'darwin-arm64': 'tokenizers.darwin-arm64.node',
  'linux-arm64': 'tokenizers.linux-arm64-gnu.node',
  'linux-x64': 'tokenizers.linux-x64-gnu.node',
  'win32-arm64': 'tokenizers.win32-arm64-msvc.node',
  'win32-x64': 'tokenizers.win32-x64-msvc.node',
};

/**
 * @param {{ target?: string, out?: string }} options
 * @returns {Promise<string>} the path of the VSIX
 */
export async function packageExtension({ target = HERE, out } = {}) {
  if (!TARGETS.includes(target)) throw new Error(`No package for ${target}; there is ${TARGETS.join(', ')}.`);
  const { name, version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const file = resolve(out ?? join(root, `${name}-${target}-${version}.vsix`));
  const stage = await mkdtemp(join(tmpdir(), 'elastic-precision-package-'));
  try {
    for (const entry of CONTENT)
      await cp(join(root, entry), join(stage, entry), { recursive: true }).catch(ignoreMissing);
    await leaveOutPictures(join(stage, 'README.md'));
    const bundled = await bundle(join(stage, 'dist'), { release: true });
    const packages = [...MODULES, ...(await addSharp(target, stage))];
    for (const module of MODULES) await copyModule(join(root, 'node_modules', module), stage, module);
    const binaries = `onnxruntime-node/bin/napi-v6/${target.replace('-', '/')}`;
    await cp(join(root, 'node_modules', binaries), modulePath(stage, binaries), { recursive: true });
    const library = `tokenizers/${TOKENIZERS[target]}`;
    await cp(join(root, 'node_modules', library), modulePath(stage, library));
    await writeFile(join(stage, 'dist/licenses.txt'), await collectLicenses(root, [...bundled, ...packages]));
    await mkdir(dirname(file), { recursive: true });
    await createVSIX({
      cwd: stage,
      target,
      packagePath: file,
      dependencies: false,
      allowMissingRepository: true,
      rewriteRelativeLinks: false,
      allowUnusedFilesPattern: true,
    });
    await report(stage, file);
    return file;
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

const modulePath = (stage, name) => join(stage, 'dist/node_modules', name);

const ignoreMissing = (error) => {
  if (error.code !== 'ENOENT') throw error;
};

/** The editor's page about an extension shows no pictures of the package. */
async function leaveOutPictures(readme) {
  const text = await readFile(readme, 'utf8');
  await writeFile(readme, text.replace(/^!\[[^\]]*\]\(docs\/images\/[^)]*\)\n\n?/gm, ''));
}

async function copyModule(from, stage, name) {
  await cp(from, modulePath(stage, name), {
    recursive: true,
    filter: async (path) => {
      const inside = `/${name}${path.slice(from.length).replaceAll('\\', '/')}`;
      if (NOT_NEEDED.test(`${inside}/`)) return false;
      return (await stat(path)).isDirectory() || NEEDED.test(inside);
    },
  });
}

/** Copies sharp's packages of the target, from here or, for another platform, from the registry. Returns their names. */
async function addSharp(target, stage) {
  const manifest = JSON.parse(await readFile(join(root, 'node_modules/sharp/package.json'), 'utf8'));
  // On Windows the library is in the first of them.
  const names = [`@img/sharp-${target}`, `@img/sharp-libvips-${target}`].filter(
    (name) => name in manifest.optionalDependencies,
  );
  const folder = target === HERE ? root : join(stage, 'fetched');
  if (folder !== root) {
    await mkdir(folder);
    await writeFile(join(folder, 'package.json'), '{ "name": "fetched", "private": true }\n');
    const wanted = names.map((name) => `${name}@${manifest.optionalDependencies[name]}`);
    // They refuse to be installed on another platform unless forced.
    await exec(
      'npm',
      ['install', '--force', '--ignore-scripts', '--no-package-lock', '--no-audit', ...wanted],
      {
        cwd: folder,
        shell: process.platform === 'win32',
      },
    );
  }
  for (const name of names) await copyModule(join(folder, 'node_modules', name), stage, name);
  if (folder !== root) await rm(folder, { recursive: true });
  return names;
}

async function report(stage, file) {
  const sizes = new Map();
  for (const path of await listFiles({ cwd: stage, packageManager: PackageManager.None })) {
    const [, module] = /^dist\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path) ?? [];
    const group = module ?? path.split('/')[0];
    sizes.set(group, (sizes.get(group) ?? 0) + (await stat(join(stage, path))).size);
  }
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`.padStart(10);
  for (const [group, bytes] of [...sizes].sort((a, b) => b[1] - a[1]))
    console.log(`${megabytes(bytes)}  ${group}`);
  console.log(`${megabytes((await stat(file)).size)}  packed: ${file}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const { values } = parseArgs({ options: { target: { type: 'string' }, out: { type: 'string' } } });
    await packageExtension(values);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
