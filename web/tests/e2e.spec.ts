// The same page against a real daemon: SANDBOXCTL_E2E_URL and SANDBOXCTL_E2E_TOKEN say which.
// SANDBOXCTL_E2E_PROFILE names a profile whose program is a plain shell (`sh` by default).

import { execSync } from "node:child_process";

import { expect, test } from "@playwright/test";

import { join, live, rows, type } from "./fake";

const url = process.env["SANDBOXCTL_E2E_URL"];
const token = process.env["SANDBOXCTL_E2E_TOKEN"];
const profile = process.env["SANDBOXCTL_E2E_PROFILE"] ?? "sh";

test.describe("a real daemon", () => {
  test.skip(!url || !token, "no daemon is named");

  test("log in, invite, join, type, reload, watch, end", async ({ page, browser }) => {
    test.setTimeout(120_000);
    const base = url ?? "";
    await page.goto(base);
    await page.getByLabel("Admin token").fill(token ?? "");
    await page.getByRole("button", { name: "Log in" }).click();
    await expect(page.getByRole("heading", { name: "Live sessions" })).toBeVisible();
    await page.getByLabel("Profile").selectOption(profile);
    await page.getByRole("button", { name: "Make an invite" }).click();
    const link = await page.getByLabel("Invite link").inputValue();

    // Another browser: its only right is the link.
    const other = await browser.newContext();
    const guest = await other.newPage();
    const id = await join(guest, base, new URL(link).pathname.split("/")[2] ?? "");
    await live(guest);
    await expect(guest.locator(".bar .role")).toHaveText("you drive");
    // Split, so that what is shown is the program's answer and not the echo of what was typed.
    await type(guest, "echo hello-'from'-the-page");
    await expect(rows(guest)).toContainText("hello-from-the-page");

    await guest.reload();
    await expect(rows(guest)).toContainText("hello-from-the-page");
    await live(guest);

    await page.getByRole("link", { name: id.slice(0, 13) }).click();
    await expect(rows(page)).toContainText("hello-from-the-page");
    await expect(page.locator(".bar .role")).toHaveText("watching");
    await expect(guest.locator(".bar .role")).toHaveText("you drive");
    await type(guest, "echo seen-'by'-both");
    await expect(rows(page)).toContainText("seen-by-both");

    await type(guest, "exit 7");
    for (const view of [guest, page]) {
      await expect(view.getByRole("alertdialog")).toContainText("exit code 7", { timeout: 30_000 });
    }
    await other.close();
  });
});

// SANDBOXCTL_E2E_RESTART is a shell line that kills the daemon (`kill -9`) and starts it again on its state.
test("the daemon is killed under the open page, and the same screen comes back", async ({ page }) => {
  const restart = process.env["SANDBOXCTL_E2E_RESTART"];
  test.skip(!url || !token || !restart, "nothing says how to restart the daemon");
  test.setTimeout(120_000);
  const login = await page.request.post(`${url}/api/v1/invites`, {
    headers: { authorization: `Bearer ${token}` },
    data: { profile },
  });
  const invite = (await login.json()) as { url: string };
  await join(page, url ?? "", new URL(invite.url).pathname.split("/")[2] ?? "");
  await live(page);
  await type(page, "n=0; while [ $n -lt 40 ]; do n=$((n+1)); echo line-$n-; sleep 0.2; done");
  await expect(rows(page)).toContainText("line-3-");
  execSync(restart ?? "", { stdio: "ignore" });
  await live(page);
  await expect(rows(page)).toContainText("line-40-");
  const shown = await rows(page).innerText();
  const numbers = [...shown.matchAll(/line-(\d+)-/g)].map((match) => Number(match[1]));
  // Every line once and in order: nothing was lost while the daemon was away, and nothing came twice.
  expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, n) => 40 - numbers.length + 1 + n));
  expect(numbers.length).toBeGreaterThan(20);
  await type(page, "echo still-'here'; exit");
  await expect(page.getByRole("alertdialog")).toContainText("The session has ended");
});
