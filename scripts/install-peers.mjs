/**
 * Installs the reference libraries that `npm run test:peers` compares the engine with, as test/peers/requirements.txt pins them,
 * into a Python environment in the user's cache (`PEERS_CACHE` names another folder): 3 GB, about two minutes, once. Does nothing
 * where it is. Run alone, it prints where its Python lies.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { standInForCuda, TOOLS } from './torch-without-cuda.mjs';

const exec = promisify(execFile);

const requirements = fileURLToPath(new URL('../test/peers/requirements.txt', import.meta.url));
/** Changes when what this script does to the packages changes. */
const REVISION = 2;
/** llama.cpp, built for this machine, by npm. Other builds of it, for graphics cards, are several times as large. */
const LLAMA = ['node-llama-cpp', `@node-llama-cpp/${llamaBuild()}`].map((name) => `${name}@3.21.1`);
/** transformers.js, with the builds of ONNX Runtime that it runs in. */
const WEB = ['@huggingface/transformers@4.3.2'];
/** Downloads may be cut. */
const TRIES = 3;
/** Nothing of what torch needs on a machine with CUDA is wanted, so pip follows no needs: the list is whole. */
const PIP = ['install', '--quiet', '--no-deps', '--disable-pip-version-check', '--no-warn-script-location'];
const withoutCuda = process.platform === 'linux';

const cache =
  process.env.PEERS_CACHE ??
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'elastic-precision');

/**
 * Resolves with the environment's Python once it is there. Rejects with an Error whose message says, for a person, what this
 * machine lacks.
 * @param {(line: string) => void} log
 * @returns {Promise<string>}
 */
export async function installPeers(log) {
  const python = await findPython();
  const { stdout: version } = await exec(python, ['-c', 'import sys; print(sys.version)']);
  const key = createHash('sha256')
    .update(JSON.stringify([readFileSync(requirements, 'utf8'), version, REVISION]))
    .digest('hex')
    .slice(0, 12);
  const root = join(cache, `peers-${key}`);
  if (!existsSync(root)) await install(python, root, log);
  return pythonOf(root);
}

const pythonOf = (root) => join(root, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');

async function findPython() {
  const names = [process.env.PYTHON, 'python3', 'python'].filter(Boolean);
  for (const name of names) {
    const check = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))';
    if (await succeeds(name, ['-c', check])) return name;
  }
  throw new Error(
    'The reference libraries need Python 3.11 or later with venv and pip (on Debian: python3-venv).',
  );
}

/** Makes the environment aside and renames it, so that it is whole where it is, and two may try at once. */
async function install(python, root, log) {
  const lacking = [];
  for (const tool of withoutCuda ? TOOLS : []) if (!(await succeeds(tool, ['--version']))) lacking.push(tool);
  if (lacking.length > 0)
    throw new Error(`The reference libraries need ${lacking.join(' and ')} (on Debian: gcc).`);

  log('Installing the reference libraries (3 GB, about two minutes, once)…');
  const unfinished = `${root}.${process.pid}`;
  try {
    await mkdir(cache, { recursive: true });
    await exec(python, ['-m', 'venv', unfinished]);
    await installPackages(pythonOf(unfinished), log);
    if (withoutCuda) {
      const find = 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])';
      const { stdout } = await exec(pythonOf(unfinished), ['-c', find]);
      await standInForCuda(join(stdout.trim(), 'lib'));
    }
    await installNode(join(unfinished, 'node'), ['--omit=optional', ...LLAMA], log);
    await installNode(join(unfinished, 'web'), WEB, log);
    const check =
      'import torch, transformers, tokenizers, timm, PIL, safetensors, numpy, gguf, onnxruntime, onnxruntime_genai, compressed_tensors; torch.zeros(1)';
    await exec(pythonOf(unfinished), ['-c', check]);
    await writeFile(join(unfinished, 'requirements.txt'), readFileSync(requirements));
    await rename(unfinished, root).catch((error) => {
      if (!existsSync(root)) throw error;
    });
  } catch (error) {
    const last = (error.stderr || error.message).trim().split('\n').at(-1);
    throw new Error(`The reference libraries could not be installed: ${last}`, { cause: error });
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

const installPackages = (python, log) =>
  retried(log, () =>
    exec(python, ['-m', 'pip', ...PIP, '--requirement', requirements], { maxBuffer: 64 << 20 }),
  );

async function installNode(folder, packages, log) {
  await mkdir(folder);
  await writeFile(join(folder, 'package.json'), '{"private": true}');
  await retried(log, () => exec('npm', ['install', '--ignore-scripts', ...packages], { cwd: folder }));
}

async function retried(log, install) {
  for (let attempt = 1; ; attempt++)
    try {
      await install();
      return;
    } catch (error) {
      if (attempt === TRIES) throw error;
      log(`Once more: ${(error.stderr || error.message).trim().split('\n').at(-1)}`);
    }
}

/** The name of llama.cpp's build for this machine's processor. */
function llamaBuild() {
  const { platform, arch } = process;
  if (platform === 'darwin') return arch === 'arm64' ? 'mac-arm64-metal' : 'mac-x64';
  return `${platform === 'win32' ? 'win' : 'linux'}-${arch}`;
}

const succeeds = (command, args) =>
  exec(command, args).then(
    () => true,
    () => false,
  );

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    console.log(await installPeers((line) => console.error(line)));
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
