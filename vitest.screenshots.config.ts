import { defineConfig } from 'vitest/config';
import editor from './vitest.editor.config.js';

/** Writes docs/images from the packaged extension. */
export default defineConfig({
  test: { ...editor.test, include: ['test/editor/screenshots.ts'], testTimeout: 600_000 },
});
