import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['engine/**/*.test.ts', 'src/**/*.test.ts', 'webview/**/*.test.ts', 'test/**/*.test.ts'],
    // ONNX Runtime keeps native state a process and runs its own threads.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
  },
});
