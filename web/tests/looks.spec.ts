// Every view in both schemes, wide and at 375 px: no view may need sideways scrolling. The pictures in
// test-results/ are for looking at.

import type { Page } from "@playwright/test";

import { expect, join, live, logIn, rows, test, type, type Fake } from "./fake";

const VIEWS: Record<string, (page: Page, fake: Fake) => Promise<void>> = {
  join: async (page, fake) => {
    await page.goto(`${fake.url}/join/inv_user`);
    await expect(page.getByLabel("Your name")).toBeVisible();
  },
  "join-refused": async (page, fake) => {
    await page.goto(`${fake.url}/join/gone`);
    await expect(page.getByRole("alert")).toBeVisible();
  },
  login: async (page, fake) => {
    await page.goto(fake.url);
    await expect(page.getByLabel("Admin token")).toBeVisible();
  },
  empty: logIn,
  admin: async (page, fake) => {
    const names = ["Ada Lovelace", "Grace Hopper", "A Person with a Name that Goes On and On"];
    for (const [n, name] of names.entries()) {
      const { id } = await fake.weather<{ id: string }>(`start?name=${encodeURIComponent(name)}`);
      const totals = { turns: 4 * n, input_tokens: 1200 * n, output_tokens: 91_000 * n, cache_read_tokens: 3_100_000 * n, cache_creation_tokens: 0, cost_usd: 1.87 * n, gateway_cost_usd: 0, tools: n, errors: 0 };
      const warning = n === 2 ? "it ends in 5 minutes: its time to live is over" : null;
      await fake.weather(`patch?id=${id}`, { totals, warning, completeness: n === 0 ? null : 1, created_at: new Date(Date.now() - n * 7_432_000).toISOString() });
    }
    await logIn(page, fake);
    await page.getByRole("button", { name: "Make an invite" }).click();
    await expect(page.getByLabel("Invite link")).toBeVisible();
  },
  confirm: async (page, fake) => {
    await fake.weather("start");
    await logIn(page, fake);
    await page.getByRole("button", { name: "End" }).click();
    await expect(page.getByRole("dialog")).toBeVisible();
  },
  terminal: async (page, fake) => {
    const id = await join(page, fake.url, "inv_demo");
    await live(page);
    await type(page, "color");
    await fake.weather(`notice?id=${id}&text=This session ends in 5 minutes: its time to live is over.`);
    await expect(page.locator(".bar .notice")).not.toBeEmpty();
    await expect(page.locator(".bar .left")).toContainText("left");
  },
  watching: async (page, fake) => {
    const { id } = await fake.weather<{ id: string }>("start");
    await fake.weather(`write?id=${id}&text=${encodeURIComponent(`${"=".repeat(100)}\r\n`)}`);
    await logIn(page, fake);
    await page.goto(`${fake.url}/s/${id}`);
    await expect(rows(page)).toContainText("=====");
    await live(page);
    await page.getByRole("button", { name: "Take the keyboard" }).click({ trial: true });
  },
  ended: async (page, fake) => {
    const { id } = await fake.weather<{ id: string }>("start");
    await logIn(page, fake);
    await page.goto(`${fake.url}/s/${id}`);
    await live(page);
    await fake.weather(`end?id=${id}`, { reason: "exited", code: 0 });
    await expect(page.getByRole("alertdialog")).toContainText("Recorded:");
  },
};

for (const scheme of ["light", "dark"] as const) {
  for (const width of [1280, 375]) {
    test.describe(`${scheme}, ${width} px`, () => {
      test.use({ colorScheme: scheme, viewport: { width, height: width === 375 ? 720 : 800 } });
      for (const [name, open] of Object.entries(VIEWS)) {
        test(name, async ({ page, fake }) => {
          await open(page, fake);
          await page.screenshot({ path: `test-results/looks/${name}-${scheme}-${width}.png`, fullPage: true });
          const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          expect(sideways).toBeLessThanOrEqual(0);
        });
      }
    });
  }
}
