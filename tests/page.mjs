// Looks at the page in a real browser: `node page.mjs CHECK ADDRESS CHROMIUM ARGUMENT...`, what was seen as JSON.
// Started in a folder whose node_modules has playwright-core and axe-core.
import { spawn } from "node:child_process";
import { appendFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";

const load = createRequire(`${process.cwd()}/`);
const { chromium } = load("playwright-core");
const [, , check, address, executablePath, ...more] = process.argv;

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const troubles = [];
let streams = 0;

let storageState;
async function enter({ width = 1280, height = 900, colorScheme = "light" } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, storageState });
  const page = await tab(context);
  await page.goto(storageState ? new URL("/", address).href : address, { waitUntil: "commit" });
  await page.waitForURL((url) => !url.search);
  storageState ??= await context.storageState();
  return page;
}

/** A command line, started while the page is open. */
const start = (command) => spawn(JSON.parse(command)[0], JSON.parse(command).slice(1), { stdio: "ignore" });

async function tab(context) {
  const page = await context.newPage();
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("dialog", (dialog) => { troubles.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => {
    if (request.url().includes("/events")) streams++;
    if (!request.url().startsWith(new URL(address).origin) && !request.url().startsWith("blob:")) troubles.push(`request ${request.url()}`);
  });
  return page;
}

const picture = (page) => page.evaluate(() => ({ frame: document.querySelector("#number").value, shown: document.querySelector("#picture").naturalWidth, slate: document.querySelector("#slate:not([hidden])")?.textContent ?? null }));
const text = (page, selector) => page.locator(selector).first().textContent();

const checks = {
  // From the first frame to the film; ARGUMENT: the command that submits the job.
  async job(command) {
    const page = await enter();
    await page.waitForSelector("#nothing:not([hidden])");
    start(command);
    await page.waitForSelector("#sheet img[src]", { timeout: 60000 });
    const holes = await page.locator("#sheet .hole").count();
    await page.locator(".state", { hasText: "succeeded" }).waitFor({ timeout: 60000 });
    await page.click("#for-film");
    await page.waitForFunction(() => document.querySelector("video").readyState > 0);
    await page.click("#for-log");
    await page.waitForFunction(() => document.querySelector("#log").textContent.length > 10);
    return { holes, facts: await text(page, ".head .facts"), film: await page.evaluate(() => document.querySelector("video").duration) };
  },

  // The first failed frame, by its group in the list of troubles, after a look at its log, which grows; ARGUMENT: the log.
  async retry(log) {
    const page = await enter();
    await page.waitForSelector("#sheet button");
    await page.keyboard.press("End");
    await page.waitForSelector("#trouble:not([hidden])");
    await page.click("#its-log");
    await page.waitForFunction(() => document.querySelector("#log").textContent.includes("asked for an error"));
    await page.uncheck("#follow");
    appendFileSync(log, `${"x".repeat(1023)}\n`.repeat(5000) + "the end");
    await page.waitForFunction(() => document.querySelector("#log").textContent.length > 2 ** 21);
    await page.waitForTimeout(1500);
    const read = await page.evaluate(() => [document.querySelector("#log").textContent.includes("asked for an error"), document.querySelector("#log").textContent.length < 2.5e6]);
    await page.check("#follow");
    await page.waitForFunction(() => document.querySelector("#log").textContent.endsWith("the end"));
    read.push(await page.evaluate(() => document.querySelector("#log").textContent.length < 2.5e6));
    await page.click("#for-trouble");
    const told = await text(page, ".group");
    let orders = 0;
    page.on("request", (request) => { orders += request.method() === "POST"; });
    await page.locator(".group button:has-text('Retry')").evaluate((button) => { button.click(); button.click(); });
    await page.locator(".state", { hasText: "succeeded" }).waitFor({ timeout: 60000 });
    return { read, told, orders, after: await text(page, "#tab-trouble") };
  },

  // A frame that fails early in a job that is then canceled; ARGUMENT: the command that submits the job.
  async early(command) {
    const page = await enter();
    await page.waitForSelector("#nothing:not([hidden])");
    start(command);
    await page.click("#for-trouble", { timeout: 60000 });
    await page.waitForSelector(".group", { timeout: 60000 });
    const seen = [await text(page, ".state"), await text(page, ".group")];
    await page.click(".head .acts button:has-text('Cancel')");
    await page.locator(".state.failed, .state.canceled").waitFor({ timeout: 60000 });
    return [...seen, await text(page, ".state")];
  },

  // Along the strip, by keys, by playing, by a link.
  async scrub() {
    const page = await enter();
    await page.waitForSelector("#sheet img[src]");
    const box = await page.locator("#strip").boundingBox();
    const at = (share) => [box.x + box.width * share, box.y + 20];
    await page.mouse.move(...at(0.5));
    await page.mouse.down();
    const seen = [await picture(page)];
    await page.mouse.move(...at(0.999), { steps: 4 });
    seen.push(await picture(page));
    await page.mouse.up();
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    await page.waitForTimeout(400);
    seen.push(await picture(page));
    await page.keyboard.press("Space");
    await page.waitForFunction(() => document.querySelector("#number").value === document.querySelector("#strip").getAttribute("aria-valuemax"));
    seen.push(await picture(page));
    const again = await tab(page.context());
    await again.goto(page.url());
    await again.waitForFunction(() => document.querySelector("#number").value);
    seen.push(await picture(again));
    await again.click("#comparing");
    await again.waitForSelector(".slide #other:not([hidden])");
    const frame = await again.locator(".frame").boundingBox(), y = frame.y + 50;
    await again.mouse.move(frame.x + frame.width * 0.5, y);
    await again.mouse.down();
    await again.mouse.move(frame.x + frame.width * 0.2, y, { steps: 5 });
    await again.mouse.up();
    seen.push({ cut: await again.inputValue("#where"), other: await again.getAttribute("#other", "alt") });
    return seen;
  },

  // Both widths, both schemes (colours know no width); ARGUMENT: a folder for pictures. What axe finds that is serious.
  async looks(folder) {
    const found = [];
    mkdirSync(folder, { recursive: true });
    for (const [width, colorScheme] of [[1280, "light"], [1280, "dark"], [390, "light"]]) {
      const page = await enter({ width, colorScheme, height: width > 500 ? 900 : 844 });
      if (width < 500) { await page.screenshot({ path: `${folder}/list-${colorScheme}.png` }); found.push(...await axe(page)); await page.locator("#jobs a").first().click(); }
      await page.waitForSelector("#sheet img[src]");
      await page.waitForTimeout(700);
      for (const name of ["frames", "film", "times", "trouble", "log", "about"]) {
        await page.click(`#for-${name}`);
        await page.waitForTimeout(250);
        found.push(...await axe(page));
        const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (beyond > 0) found.push(`${name} is ${beyond} pixels too wide at ${width}`);
        await page.screenshot({ path: `${folder}/${name}-${width}-${colorScheme}.png` });
      }
      await page.context().close();
    }
    return found;
  },

  // Eight tabs of one browser; ARGUMENT: the command that submits the job.
  async tabs(command) {
    const page = await enter(), context = page.context();
    const pages = [page];
    while (pages.length < 8) { pages.push(await tab(context)); await pages.at(-1).goto(new URL("/", address).href); }
    start(command);
    await Promise.all(pages.map((each) => each.locator(".state", { hasText: "succeeded" }).waitFor({ timeout: 90000 })));
    const before = streams;
    await page.close();
    await pages[1].waitForTimeout(1000);
    return { before, after: streams };
  },

  // Of very many frames; ARGUMENT: the job.
  async sight(job) {
    const page = await enter();
    let asked = [];
    page.on("request", (request) => { const frames = new URL(request.url()).searchParams.get("frames"); if (frames) asked.push(...frames.split(",").map(Number)); });
    const began = Date.now();
    await page.goto(new URL(`/jobs/${job}`, address).href);
    await page.waitForSelector("#sheet img[src]");
    const opened = Date.now() - began;
    await page.waitForTimeout(800);
    const first = asked.length;
    const sights = new Set(), tall = await page.evaluate(() => document.documentElement.scrollHeight);
    const cells = () => page.evaluate(() => [...document.querySelectorAll("#sheet .no span:first-child")].map((cell) => +cell.textContent));
    asked = [];
    for (let step = 0; step <= 50; step++) {
      await page.evaluate((to) => new Promise((done) => { scrollTo(0, to); requestAnimationFrame(() => requestAnimationFrame(done)); }), (tall * step) / 50);
      for (const frame of await cells()) sights.add(frame);
    }
    await page.waitForTimeout(800);
    const strip = await page.evaluate(() => [...document.querySelectorAll("#strip [data-frame]")].map((cell) => +cell.dataset.frame));
    const blind = asked.filter((frame) => !sights.has(frame) && !strip.includes(frame));
    return { opened, first, scrolled: asked.length, blind, last: Math.max(...sights), cells: (await cells()).length };
  },

  // A name that wants to be markup, and a job that there is not.
  async hostile() {
    const page = await enter();
    await page.waitForSelector("#sheet button");
    await page.waitForTimeout(500);
    await page.goto(new URL("/jobs/nobodys", address).href);
    await page.waitForSelector("#lost:not([hidden])");
    const lost = [await text(page, "#lost"), await page.isVisible("#job")];
    await page.goto(new URL("/", address).href);
    await page.waitForSelector("#sheet button");
    return { lost, title: await text(page, ".head h1"), listed: await text(page, "#jobs b"), strangers: await page.evaluate(() => document.querySelectorAll("h1 *, #jobs b *, script:not([src])").length) };
  },
};

async function axe(page) {
  await page.evaluate(load("axe-core").source.replace(/^/, "window.axe || "), null).catch(() => {});
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] }));
  return violations.filter((each) => ["serious", "critical"].includes(each.impact)).map((each) => `${each.id}: ${each.nodes[0].html.slice(0, 120)} ${each.nodes[0].any[0]?.message ?? ""}`);
}

const seen = await checks[check](...more);
await browser.close();
console.log(JSON.stringify({ seen, troubles }));
