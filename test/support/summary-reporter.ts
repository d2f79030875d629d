// Prints every skipped test with its reason, and last of all one line with the counts.
import type { Reporter, TestModule } from 'vitest/node';

interface Counts { passed: number; failed: number; skipped: number }

/**
 * Comes after the default reporter. A file that fails to load, and an error outside any test, count as failed; a test that never ran
 * because its file failed counts there, not twice.
 */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const counts: Counts = { passed: 0, failed: unhandled.length, skipped: 0 };
    const skips: string[] = [];
    for (const module of modules) {
      if (module.errors().length > 0) counts.failed++;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') counts.passed++;
        else if (result.state === 'failed') counts.failed++;
        else {
          counts.skipped++;
          const note = result.state === 'skipped' ? result.note : undefined;
          skips.push(`skipped: ${module.relativeModuleId} > ${test.fullName}: ${note ?? 'no reason given'}`);
        }
      }
    }
    if (skips.length > 0) process.stdout.write(`\n${skips.join('\n')}\n`);
    process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
  }
}
