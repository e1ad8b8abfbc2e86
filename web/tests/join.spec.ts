import { expect, join, live, rows, test, type } from "./fake";

test("an invite says what is recorded, and starts nothing without consent", async ({ page, fake }) => {
  await page.goto(`${fake.url}/join/inv_demo`);
  await expect(page.getByRole("heading", { name: "What is recorded" })).toBeVisible();
  await expect(page.getByText("Everything that the terminal shows is recorded")).toBeVisible();
  await expect(page.getByText("8 hours")).toBeVisible();
  await page.getByLabel("Your name").fill("Ada");
  await page.getByLabel("Your e-mail address").fill("ada@example.org");
  await page.getByRole("button", { name: "Start the session" }).click();
  await expect(page).toHaveURL(/\/join\//);
  await page.getByRole("checkbox").check();
  await page.getByRole("button", { name: "Start the session" }).click();
  await expect(page).toHaveURL(/\/s\//);
  await expect(rows(page)).toContainText("Welcome, Ada.");
});

test("only an invite for one's own credential asks for a key, and says where it goes", async ({ page, fake }) => {
  await page.goto(`${fake.url}/join/inv_user`);
  await expect(page.getByLabel("API key (optional)")).toHaveAttribute("type", "password");
  await expect(page.getByText("is stored nowhere")).toBeVisible();
  for (const other of ["inv_demo", "inv_gateway"]) {
    await page.goto(`${fake.url}/join/${other}`);
    await expect(page.getByLabel("Your name")).toBeVisible();
    await expect(page.getByLabel("API key (optional)")).toHaveCount(0);
  }
});

test("an invite that is used up says so", async ({ page, fake }) => {
  await page.goto(`${fake.url}/join/inv_gone`);
  await expect(page.getByRole("alert")).toContainText("This invite is not valid");
});

test("a refusal is told, and the form can be sent again", async ({ page, fake }) => {
  await page.goto(`${fake.url}/join/inv_demo`);
  await page.getByLabel("Your name").fill("Mallory");
  await page.getByLabel("Your e-mail address").fill("m@example.org");
  await page.getByRole("checkbox").check();
  await page.getByRole("button", { name: "Start the session" }).click();
  await expect(page.getByRole("alert")).toContainText("64 sessions are alive");
  await page.getByLabel("Your name").fill("Ada");
  await page.getByRole("button", { name: "Start the session" }).click();
  await expect(page).toHaveURL(/\/s\//);
});

test("everything works by keyboard, from the invite to the terminal", async ({ page, fake }) => {
  await page.goto(`${fake.url}/join/inv_demo`);
  await page.getByLabel("Your name").focus();
  await page.keyboard.type("Ada");
  await page.keyboard.press("Tab");
  await page.keyboard.type("ada@example.org");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await live(page);
  await page.keyboard.type("straight in");
  await expect(rows(page)).toContainText("straight in");
});

test("the session starts at the size that the window holds", async ({ page, fake }) => {
  await join(page, fake.url, "inv_demo");
  await live(page);
  await type(page, "size");
  await expect(rows(page)).toContainText(/1[0-9]{2}x[3-5][0-9]/);
});
