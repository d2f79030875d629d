import { defineConfig } from 'vitest/config';

const exclude = ['node_modules/**', 'dist/**', '.cache/**'];

export default defineConfig({
  test: {
    reporters: ['default', './test/support/summary-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['core/**/*.test.ts', 'plugins/**/*.test.ts', 'cli/**/*.test.ts', 'native/**/*.test.ts', 'guest/**/*.test.ts', 'test/architecture/**/*.test.ts', 'test/docs/**/*.test.ts', 'test/support/**/*.test.ts'],
          exclude,
          // Much of a test is waiting for git and programs: a core less, as is the default, leaves one of two idle.
          maxWorkers: '100%',
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        // Real daemons and real guests: one file at a time, so that at most two guests run at once.
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts', 'smoke/**/*.test.ts'],
          exclude,
          fileParallelism: false,
          maxConcurrency: 2,
          testTimeout: 300_000,
          hookTimeout: 900_000,
          globalSetup: ['test/support/e2e-setup.ts'],
        },
      },
    ],
  },
});
