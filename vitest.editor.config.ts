import { defineConfig } from 'vitest/config';

/** The extension in a real editor: packaged, installed, driven as a person would. One editor and one browser serve all. */
export default defineConfig({
  test: {
    include: ['test/pages/**/*.e2e.ts', 'test/editor/**/*.e2e.ts'],
    globalSetup: ['test/editor/setup.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 240_000,
  },
});
