import { defineConfig } from 'vitest/config';

/** The engine beside reference libraries; `scripts/peers.mjs` runs it. */
export default defineConfig({
  test: {
    include: ['test/peers/**/*.peers.ts'],
    pool: 'forks',
    maxWorkers: 2,
  },
});
