/**
 * Makes torch as it is published for Linux load on a machine without CUDA's libraries (4 GB): beside torch's own libraries it
 * puts empty ones of the names that they are linked to. Every function in them returns an error, so that torch finds no device.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const exec = promisify(execFile);

/** What a C compiler and binutils bring; Debian's package of all three is gcc. */
export const TOOLS = ['cc', 'readelf'];

const isCuda = (name) => /^(lib)?(cu|nv|p?nccl)/i.test(name);
/** CUDA's "unknown error". */
const ERROR = 999;

/** @param {string} folder torch's `lib` */
export async function standInForCuda(folder) {
  const own = (await readdir(folder)).filter((name) => /\.so(\.|$)/.test(name));
  const needed = new Set();
  const wanted = new Map();
  for (const file of own) {
    const path = join(folder, file);
    for (const [, library] of (await readelf('--dynamic', path)).matchAll(/NEEDED.*\[(.+)\]/g))
      if (isCuda(library) && !own.includes(library)) needed.add(library);
    for (const [, name, version = ''] of (await readelf('--dyn-syms', path)).matchAll(
      / UND ([^\s@]+)(?:@+(\S+))?/g,
    ))
      if (isCuda(version || name)) wanted.set(version, (wanted.get(version) ?? new Set()).add(name));
  }
  // A version of a symbol is the library's name, but for one; symbols without versions are found in any library.
  const anywhere = wanted.get('') ?? [];
  const last = [...needed].at(-1);
  for (const library of needed) {
    const version = [...wanted.keys()].find(
      (key) => key !== '' && (key === library || library.toLowerCase().startsWith(`lib${key.toLowerCase()}`)),
    );
    await writeLibrary(join(folder, library), library, {
      version,
      symbols: [...(wanted.get(version) ?? []), ...(library === last ? anywhere : [])],
    });
  }
}

async function readelf(what, file) {
  const { stdout } = await exec('readelf', ['--wide', what, file], { maxBuffer: 1 << 30 });
  return stdout;
}

async function writeLibrary(path, soname, { version, symbols }) {
  const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-cuda-'));
  try {
    const [source, versions] = [join(folder, 'empty.c'), join(folder, 'versions')];
    await writeFile(source, symbols.map((name) => `int ${name}(void) { return ${ERROR}; }\n`).join(''));
    await writeFile(versions, `${version} { global: *; };\n`);
    const linker = [`-Wl,-soname,${soname}`, ...(version ? [`-Wl,--version-script=${versions}`] : [])];
    await exec('cc', ['-w', '-fno-builtin', '-shared', '-fPIC', ...linker, '-o', path, source]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
