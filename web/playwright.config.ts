import { defineConfig } from "@playwright/test";

// The distribution's browser: nothing is downloaded. Containers' root may not use Chromium's own sandbox.
const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";

export default defineConfig({
  testDir: "tests",
  timeout: 60_000,
  expect: { timeout: 15_000 },
  workers: 1,
  forbidOnly: true,
  outputDir: "test-results/traces",
  reporter: [["list"], ["./tests/closing.ts"]],
  use: {
    browserName: "chromium",
    launchOptions: { executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] },
    screenshot: "only-on-failure",
  },
});
