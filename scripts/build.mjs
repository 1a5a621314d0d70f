/** Bundles the engine's fronts and entries into dist/. Native and platform packages stay outside. */
import { build } from 'esbuild';
import { chmod, rm } from 'node:fs/promises';

const entries = {
  cli: 'engine/cli.ts',
  worker: 'engine/jobs/worker.ts',
  probe: 'engine/runtime/probe.ts',
  demo: 'scripts/demo.ts',
  bench: 'scripts/bench.ts',
};

await rm('dist', { recursive: true, force: true });
await build({
  entryPoints: entries,
  outdir: 'dist',
  bundle: true,
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  platform: 'node',
  target: 'node20',
  format: 'esm',
  sourcemap: true,
  external: ['onnxruntime-node', 'sharp', 'protobufjs', 'hyparquet', 'hyparquet-compressors', 'commander'],
  logLevel: 'warning',
});
await chmod('dist/cli.js', 0o755);
