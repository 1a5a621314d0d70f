import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['engine/**/*.test.ts', 'src/**/*.test.ts', 'webview/**/*.test.ts', 'test/**/*.test.ts'],
    // ONNX Runtime keeps native state a process and runs its own threads.
    pool: 'forks',
    maxWorkers: 2,
    // For what never ends: how long a test takes depends on what else the machine does.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
