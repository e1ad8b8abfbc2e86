import { expect, join, live, logIn, rows, test, type, type Facts } from "./fake";

test("typing is echoed, colours and wide characters stand", async ({ page, fake }) => {
  await join(page, fake.url, "inv_demo");
  await expect(page.locator(".bar .role")).toHaveText("you drive");
  await type(page, "hello there");
  await expect(rows(page)).toContainText("you said: hello there");
  await type(page, "color");
  await expect(rows(page)).toContainText("日本語");
});

test("a reload comes back to the same screen, still driving", async ({ page, fake }) => {
  await join(page, fake.url, "inv_demo");
  await type(page, "remember me");
  await expect(rows(page)).toContainText("you said: remember me");
  await page.reload();
  await expect(rows(page)).toContainText("you said: remember me");
  await expect(page.locator(".bar .role")).toHaveText("you drive");
  await type(page, "and again");
  await expect(rows(page)).toContainText("you said: and again");
});

test("a lost connection is joined again at the exact byte", async ({ page, fake }) => {
  const id = await join(page, fake.url, "inv_demo");
  await type(page, "before");
  await expect(rows(page)).toContainText("you said: before");
  await fake.weather("drop");
  await fake.weather(`write?id=${id}&text=${encodeURIComponent("while away\r\n")}`);
  await expect(rows(page)).toContainText("while away");
  const shown = await rows(page).innerText();
  expect(shown.match(/you said: before/g)).toHaveLength(1);
  expect(shown.match(/while away/g)).toHaveLength(1);
  const { joins } = await fake.weather<Facts>("facts");
  expect(joins).toHaveLength(2);
  expect(Number(joins[1]?.after)).toBeGreaterThan(0);
  expect(joins[1]?.role).toBe("driver");
});

test("a daemon that is away for a while is waited for", async ({ page, fake }) => {
  await join(page, fake.url, "inv_demo");
  await live(page);
  await fake.weather("away?ms=1500");
  await expect(page.locator(".bar .link")).toHaveText("reconnecting…");
  await live(page);
  await type(page, "back");
  await expect(rows(page)).toContainText("you said: back");
});

test("a flood is acknowledged, and never more than the window is on its way", async ({ page, fake }) => {
  await join(page, fake.url, "inv_demo");
  await type(page, "flood 3000000");
  await expect(rows(page)).toContainText("flooded");
  await expect(rows(page)).toContainText("$");
  const facts = await fake.weather<Facts>("facts");
  expect(facts.mostUnacknowledged).toBeLessThanOrEqual(256 << 10);
  expect(facts.acks).toBeGreaterThan(10);
});

test("the driver's window sets the size, before and after", async ({ page, fake }) => {
  await join(page, fake.url, "inv_demo");
  await live(page);
  await page.setViewportSize({ width: 700, height: 400 });
  await expect(async () => {
    await type(page, "size");
    await expect(rows(page)).toContainText(/[78][0-9]x2[0-9]/, { timeout: 500 });
  }).toPass();
});

test("who watches sees the driver's size, and types only after taking the keyboard", async ({ page, fake, browser }) => {
  const id = await join(page, fake.url, "inv_demo");
  await type(page, "first words");
  await expect(rows(page)).toContainText("you said: first words");

  const other = await browser.newContext({ viewport: { width: 500, height: 700 } });
  const watcher = await other.newPage();
  await logIn(watcher, fake);
  await watcher.getByRole("link", { name: id.slice(0, 13) }).click();
  await expect(watcher.locator(".bar .role")).toHaveText("watching");
  await expect(rows(watcher)).toContainText("you said: first words");
  const { width } = (await watcher.locator(".xterm-screen").boundingBox()) ?? { width: Infinity };
  expect(width).toBeLessThanOrEqual(500);

  await watcher.locator(".xterm-helper-textarea").focus();
  await watcher.keyboard.type("nothing of this");
  await type(page, "second words");
  await expect(rows(watcher)).toContainText("you said: second words");
  await expect(rows(page)).not.toContainText("nothing of this");

  await watcher.getByRole("button", { name: "Take the keyboard" }).click();
  await expect(watcher.locator(".bar .role")).toHaveText("you drive");
  await expect(page.locator(".bar .role")).toHaveText("watching");
  await type(watcher, "taken");
  await expect(rows(page)).toContainText("you said: taken");
  await other.close();
});

test("a notice shows and goes", async ({ page, fake }) => {
  const id = await join(page, fake.url, "inv_demo");
  await live(page);
  await fake.weather(`notice?id=${id}&text=This session ends in 5 minutes.`);
  await expect(page.locator(".bar .notice")).toHaveText("This session ends in 5 minutes.");
});

for (const [reason, words] of [
  [{ reason: "exited", code: 3 }, "The program ended with exit code 3."],
  [{ reason: "idle" }, "Nothing happened in it for too long."],
  [{ reason: "operator", note: "<b>bye</b>" }, "An operator ended it: <b>bye</b>"],
] as const) {
  test(`an end says why: ${reason.reason}`, async ({ page, fake }) => {
    const id = await join(page, fake.url, "inv_demo");
    await live(page);
    await fake.weather(`end?id=${id}`, reason);
    const card = page.getByRole("alertdialog");
    await expect(card).toContainText("The session has ended");
    await expect(card).toContainText(words);
    await expect(card).toContainText("Recorded:");
    await page.reload();
    await expect(page.getByRole("alertdialog")).toContainText(words);
  });
}

test("who has no seat is told what to do", async ({ page, fake }) => {
  const { id } = await fake.weather<{ id: string }>("start");
  await page.goto(`${fake.url}/s/${id}`);
  await expect(page.getByRole("alertdialog")).toContainText("not open to you");
});
