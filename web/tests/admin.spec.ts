import { expect, logIn, test } from "./fake";

test("a wrong token is refused, the right one stays through a reload, and logging out ends it", async ({ page, fake }) => {
  await page.goto(fake.url);
  await page.getByLabel("Admin token").fill("wrong");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("alert")).toContainText("the token is wrong");
  await logIn(page, fake);
  await page.reload();
  await expect(page.getByRole("heading", { name: "Live sessions" })).toBeVisible();
  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page.getByLabel("Admin token")).toBeVisible();
});

test("sessions come, change and go while one looks", async ({ page, fake }) => {
  await logIn(page, fake);
  await expect(page.getByText("None. Start one")).toBeVisible();
  const { id } = await fake.weather<{ id: string }>("start?name=Grace Hopper");
  const row = page.getByRole("row", { name: /Grace Hopper/ });
  await expect(row).toContainText(id.slice(0, 13));
  await fake.weather(`patch?id=${id}`, { warning: "this session ends in 5 minutes", completeness: 0.987 });
  await expect(row).toContainText("this session ends in 5 minutes");
  await expect(row).toContainText("98 %");
  await fake.weather(`end?id=${id}`, { reason: "ttl" });
  await expect(row).toHaveCount(0);
});

test("a session is ended only when that is meant", async ({ page, fake }) => {
  await fake.weather("start");
  await logIn(page, fake);
  await page.getByRole("button", { name: "End" }).click();
  await page.getByRole("button", { name: "Keep it" }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await expect(page.getByRole("row", { name: /Ada/ })).toBeVisible();
  await page.getByRole("button", { name: "End" }).click();
  await page.getByRole("button", { name: "End it" }).click();
  await expect(page.getByText("None. Start one")).toBeVisible();
});

test("an invite's link is shown, and leads to the join page", async ({ page, fake, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await logIn(page, fake);
  await page.getByLabel("Sessions").fill("3");
  await page.getByRole("button", { name: "Make an invite" }).click();
  const link = await page.getByLabel("Invite link").inputValue();
  expect(link).toContain(`${fake.url}/join/`);
  await expect(page.getByText("Good for 3 sessions")).toBeVisible();
  await page.getByRole("button", { name: "Copy" }).click();
  await expect(page.getByRole("button", { name: "Copied" })).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(link);
  await page.goto(link);
  await expect(page.getByRole("heading", { name: "What is recorded" })).toBeVisible();
});

test("what users and programs write is inert", async ({ page, fake }) => {
  const { id } = await fake.weather<{ id: string }>(`start?name=${encodeURIComponent("<img src=x onerror=alert(1)>")}`);
  await fake.weather(`patch?id=${id}`, { warning: "<script>alert(2)</script>" });
  await logIn(page, fake);
  await expect(page.getByText("<img src=x onerror=alert(1)>")).toBeVisible();
  await expect(page.getByText("<script>alert(2)</script>")).toBeVisible();
  expect(await page.locator("td img, td script").count()).toBe(0);
});

test("a daemon that was away comes back into the list", async ({ page, fake }) => {
  await logIn(page, fake);
  await fake.weather("cut?ms=1000");
  await expect(page.getByText("The daemon does not answer")).toBeVisible();
  await fake.weather("start?name=Grace Hopper");
  await expect(page.getByRole("row", { name: /Grace Hopper/ })).toBeVisible({ timeout: 30_000 });
  await expect(page.getByText("The daemon does not answer")).toBeHidden();
});

test("an address that nothing is at says so", async ({ page, fake }) => {
  await page.goto(`${fake.url}/s/`);
  await expect(page.getByRole("heading", { name: "Nothing is here" })).toBeVisible();
});
