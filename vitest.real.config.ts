import { defineConfig } from 'vitest/config';

/** A real model, in steps of which each goes on from those before; `scripts/real.mjs` runs it. */
export default defineConfig({
  test: {
    include: ['test/real/**/*.real.ts'],
    pool: 'forks',
    fileParallelism: false,
    bail: 1,
    testTimeout: 14_400_000,
  },
});
