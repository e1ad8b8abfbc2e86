// A fresh fake daemon for each test, and what tests do with it and with a terminal.

import { expect, test as base, type Page } from "@playwright/test";

import { ADMIN_TOKEN, serve } from "../dev/fake-server.mjs";

export interface Fake {
  url: string;
  /** Makes weather: see dev/fake-server.mjs. */
  weather<T = unknown>(path: string, body?: unknown): Promise<T>;
}

export interface Facts {
  acks: number;
  mostUnacknowledged: number;
  joins: { role: string; after: string | null }[];
}

export const test = base.extend<{ fake: Fake; clean: void }>({
  fake: async ({}, use) => {
    const { url, stop } = await serve();
    const weather = async <T>(path: string, body?: unknown): Promise<T> => {
      const response = await fetch(`${url}/fake/${path}`, body === undefined ? {} : { method: "POST", body: JSON.stringify(body) });
      return (await response.json()) as T;
    };
    await use({ url, weather });
    await stop();
  },
  // Whatever a test is about, the page throws nothing and its own policy forbids nothing that it does.
  clean: [
    async ({ page }, use) => {
      const wrong: string[] = [];
      page.on("pageerror", (error) => wrong.push(error.message));
      page.on("console", (line) => {
        if (/Content Security Policy/i.test(line.text())) wrong.push(line.text());
      });
      await use();
      expect(wrong).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

export async function logIn(page: Page, fake: Fake): Promise<void> {
  await page.goto(fake.url);
  await page.getByLabel("Admin token").fill(ADMIN_TOKEN);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("heading", { name: "Live sessions" })).toBeVisible();
}

/** Joins by an invite; returns the session's id. */
export async function join(page: Page, url: string, invite: string, name = "Ada Lovelace"): Promise<string> {
  await page.goto(`${url}/join/${invite}`);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Your e-mail address").fill("ada@example.org");
  await page.getByRole("checkbox").check();
  await page.getByRole("button", { name: "Start the session" }).click();
  await page.waitForURL(/\/s\//);
  return new URL(page.url()).pathname.split("/")[2] ?? "";
}

/** What the terminal shows, line by line. */
export const rows = (page: Page) => page.locator(".xterm-rows");

export async function type(page: Page, text: string): Promise<void> {
  await page.locator(".xterm-helper-textarea").focus();
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
}

/** Waits until the terminal is joined, with its bar and its screen each in their own place. */
export async function live(page: Page): Promise<void> {
  await expect(page.locator(".bar .link")).toHaveText("live");
  const bar = await page.locator(".bar").boundingBox();
  const screen = await page.locator(".xterm-screen").boundingBox();
  expect(bar && screen && screen.y >= bar.y + bar.height).toBe(true);
}
