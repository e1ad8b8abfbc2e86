// Closes a run with the plain line that ../scripts/test counts.

import type { FullResult, Reporter, TestCase, TestResult } from "@playwright/test/reporter";

export default class Closing implements Reporter {
  private readonly last = new Map<string, TestResult["status"]>();

  onTestEnd(test: TestCase, result: TestResult): void {
    this.last.set(test.id, result.status);
  }

  onEnd(_result: FullResult): void {
    const all = [...this.last.values()];
    const passed = all.filter((status) => status === "passed").length;
    const skipped = all.filter((status) => status === "skipped").length;
    console.log(`${passed} passed, ${all.length - passed - skipped} failed, ${skipped} skipped`);
  }

  printsToStdio(): boolean {
    return false;
  }
}
