/** What is built of the sources, for development (`build.mjs`) and for the package (`package.mjs`). */
import { build } from 'esbuild';
import { chmod } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Loaded as they are: they find their native binaries beside themselves. */
export const NATIVE = ['onnxruntime-node', 'sharp', 'tokenizers'];

/** Entries of the engine that ship, by the name of their bundle. */
const engine = {
  cli: 'engine/cli.ts',
  engine: 'engine/engine.ts',
  job: 'engine/jobs/job.ts',
  worker: 'engine/jobs/worker.ts',
  session: 'engine/sessions/child.ts',
  foreign: 'engine/verification/foreign.ts',
  reader: 'engine/server/reader-thread.ts',
  tokenizer: 'engine/data/text/tokenizer-child.ts',
  probe: 'engine/runtime/probe.ts',
};
/** For work on the engine alone. */
const tools = {
  demo: 'scripts/demo.ts',
  bench: 'scripts/bench.ts',
  'bench-calibration': 'scripts/bench-calibration.ts',
  'bench-elastic': 'scripts/bench-elastic.ts',
  'bench-generation': 'scripts/bench-generation.ts',
  'bench-layer': 'scripts/bench-layer.ts',
  'bench-sensitivity': 'scripts/bench-sensitivity.ts',
  'bench-switch': 'scripts/bench-switch.ts',
  'demo-plans': 'scripts/demo-plans.ts',
  estimates: 'scripts/estimates.ts',
  methods: 'scripts/methods.ts',
  massive: 'scripts/massive.ts',
  'kill-and-resume': 'scripts/kill-and-resume.ts',
  fuzz: 'test/fuzz/fuzz.ts',
};
/** What the editor loads, which gives it `vscode`. */
const extension = { extension: 'src/extension.ts' };
/** A script and a style sheet a page. */
const pages = {
  evaluation: 'webview/evaluation/main.ts',
  'evaluation-style': 'webview/evaluation/evaluation.css',
  precision: 'webview/precision/main.ts',
  'precision-style': 'webview/precision/precision.css',
};

/**
 * Bundles into `outdir`. Resolves to the names of the packages that went into the bundles.
 * @param {string} outdir
 * @param {{ release: boolean }} options minified, without source maps and tools
 */
export async function bundle(outdir, { release }) {
  outdir = resolve(outdir);
  const common = {
    absWorkingDir: root,
    bundle: true,
    metafile: true,
    minify: release,
    sourcemap: !release,
    logLevel: 'warning',
    // Its other build requires its own files by computed names.
    alias: { 'jsonc-parser': 'jsonc-parser/lib/esm/main.js' },
  };
  const built = [];
  const add = async (options) => built.push(await build({ ...common, ...options }));
  await add({
    entryPoints: { ...engine, ...(!release && tools) },
    outdir,
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
    platform: 'node',
    target: 'node20',
    format: 'esm',
    external: NATIVE,
    // Some packages are CommonJS and require Node's modules.
    banner: {
      js: "import { createRequire as nodeRequire } from 'node:module'; const require = nodeRequire(import.meta.url);",
    },
  });
  await add({
    entryPoints: extension,
    outdir,
    outExtension: { '.js': '.cjs' },
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['vscode'],
  });
  await add({
    entryPoints: pages,
    outdir: join(outdir, 'webview'),
    platform: 'browser',
    target: 'es2022',
    format: 'iife',
    // Pages load no source maps under their policy.
    sourcemap: false,
  });
  await chmod(join(outdir, 'cli.js'), 0o755);
  return packagesOf(built.flatMap(({ metafile }) => Object.keys(metafile.inputs)));
}

const packagesOf = (inputs) => [
  ...new Set(inputs.flatMap((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? [])),
];
