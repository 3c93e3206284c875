/** A Vitest reporter that writes the counts of a run to the file named by VITEST_COUNTS_FILE. */
import { writeFileSync } from 'node:fs';
import process from 'node:process';

export default class CountReporter {
  /**
   * @param {readonly import('vitest/node').TestModule[]} modules
   * @param {readonly unknown[]} unhandledErrors
   */
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      // A file that cannot be loaded, or a hook that throws, has no test to carry the failure.
      if (module.errors().length > 0) counts.failed += 1;
      for (const suite of module.children.allSuites()) if (suite.errors().length > 0) counts.failed += 1;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        counts[state === 'passed' || state === 'failed' ? state : 'skipped'] += 1;
      }
    }
    const path = process.env['VITEST_COUNTS_FILE'];
    if (path) writeFileSync(path, JSON.stringify(counts));
  }
}
