/** Builds everything into dist/, with source maps. */
import { rm } from 'node:fs/promises';
import { bundle } from './bundles.mjs';

await rm('dist', { recursive: true, force: true });
await bundle('dist', { release: false });
