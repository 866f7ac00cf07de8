// The pages at `/call`: two people who ring each other by clicks and by keys, talk, write, send a file, add a third, and hear in words
// why each call is over.

import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { faults, Person } from "./support/person.mjs";
import { startServer } from "./support/server.mjs";

const PHONE = { width: 390, height: 780, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

describe("the phone", { timeout: 400_000 }, () => {
  let server;
  /** @type {Person} */ let ada;
  /** @type {Person} */ let ben;
  /** @type {Person} */ let cleo;

  before(async () => {
    server = await startServer("phone");
    [ada, ben] = await Promise.all([new Person("Ada", server).open({ viewport: { width: 1180, height: 760 } }), new Person("Ben", server).open({ viewport: PHONE })]);
  });

  after(async () => {
    await Promise.all([ada, ben, cleo].map((person) => person?.close()));
    await server?.stop();
  });

  /** @param {Person} person @param {string} [query] */
  async function enter(person, query = "?video=360") {
    await person.page.goto(`${server.url}/call/harbor${query}`);
    await person.type("name", person.name);
    await person.click("phone-enter");
    await person.see('[data-testid="phone-lobby"][data-state="connected"]');
  }

  /** @param {Person} person @param {string} name @param {"phone-video" | "phone-voice"} how */
  async function ring(person, name, how = "phone-video") {
    await (await person.see(`[data-testid="phone-person"][data-name="${name}"] [data-testid="${how}"]`)).click();
  }

  /** @param {Person} person @param {RegExp} words */
  const told = (person, words) => person.until(`${words}`, (source) => new RegExp(source).test(document.querySelector('[data-testid="phone-ended"]')?.textContent ?? ""), words.source);

  /** Waits until someone's picture in the call has moved on. @param {Person} person @param {string} name */
  async function sees(person, name, frames = 10) {
    const selector = `[data-testid="party"][data-name="${name}"][data-video="on"] video`;
    await person.see(selector);
    const start = await person.page.$eval(selector, (element) => element.getVideoPlaybackQuality().totalVideoFrames);
    await person.until(`${name} moves`, ({ selector, least }) => (document.querySelector(selector)?.getVideoPlaybackQuality().totalVideoFrames ?? 0) >= least, { selector, least: start + frames });
  }

  test("the front door leads to a meeting place, by keys alone", async () => {
    await ada.page.goto(`${server.url}/?video=360`);
    await ada.see('[data-testid="landing-call"]');
    await ada.shot("phone-00-landing");
    await ada.page.focus('[data-testid="landing-call"]');
    await ada.press("Enter");
    await ada.see('[data-testid="phone-entrance"]');
    await ada.until("the first field has the focus", () => document.activeElement?.getAttribute("data-testid") === "name");
    await ada.page.keyboard.type("Ada");
    await ada.press("Tab");
    await ada.page.keyboard.type("Harbor");
    await ada.shot("phone-01-entrance");
    await ada.press("Enter");
    await ada.see('[data-testid="phone-alone"]');
    assert.equal(new URL(ada.page.url()).pathname, "/call/harbor");
    await ada.shot("phone-02-alone");
  });

  test("one rings, the other hears who it is and accepts", async () => {
    await ben.page.goto(`${server.url}/call/harbor?video=360`);
    await ben.see('[data-testid="phone-entrance"]');
    await ben.shot("phone-01-entrance");
    await enter(ben);
    await ada.see('[data-testid="phone-person"][data-name="Ben"]');
    await ada.shot("phone-03-lobby");
    await ben.shot("phone-03-lobby");
    await ring(ada, "Ben");
    await ada.see('[data-testid="ringing"]');
    await ben.see('[data-testid="incoming"]');
    assert.equal(await ben.page.evaluate(() => document.activeElement?.getAttribute("data-testid")), "accept");
    await ada.until("an own picture", () => document.querySelector('[data-testid="ringing"] video')?.videoWidth > 0);
    await ada.shot("phone-04-ringing");
    await ben.shot("phone-04-incoming");
    await ben.click("accept");
    await Promise.all([sees(ada, "Ben"), sees(ben, "Ada")]);
    await Promise.all([ada, ben].map((one) => one.see('[data-testid="oncall"][data-via="direct"]')));
    await ada.until("the way in words", () => /direct/.test(document.querySelector('[data-testid="way"]').textContent));
    await ada.shot("phone-05-call");
    await ben.shot("phone-05-call");
  });

  test("mute and camera are seen by the other", async () => {
    await ada.press("m");
    await ben.see('[data-testid="party"][data-name="Ada"] [data-testid="muted-mark"]');
    await ada.press("v");
    await ben.see('[data-testid="party"][data-name="Ada"][data-video="off"] .avatar');
    await ben.shot("phone-06-camera-off");
    await ada.press("v");
    await ada.press("m");
    await sees(ben, "Ada");
    await ben.unsee('[data-testid="party"][data-name="Ada"] [data-testid="muted-mark"]');
  });

  test("they write, and send a file", async () => {
    await ada.click("chat");
    await ada.type("chat-input", "The plan <b>comes</b>: https://example.org/plan");
    await ada.press("Enter");
    await ben.until("one unread", () => document.querySelector('[data-testid="unread"]')?.textContent === "1");
    const path = join(mkdtempSync(join(tmpdir(), "weir-file-")), "plan.txt");
    writeFileSync(path, "ten o'clock\n".repeat(1_000));
    const input = await ada.page.$('[data-testid="file-input"]');
    await input.uploadFile(path);
    await ben.click("chat");
    await ben.see('[data-testid="file"][data-state="offered"]');
    await ben.shot("phone-07-panel");
    await ben.click("file-accept");
    await ben.see('[data-testid="file-save"]');
    await ada.see('[data-testid="file"][data-state="done"]');
    assert.equal(await ben.page.$eval('[data-testid="line"] .line-text', (line) => line.textContent), "The plan <b>comes</b>: https://example.org/plan");
    assert.equal(await ben.page.evaluate(async () => (await globalThis.weirRoom.calls.current.files[0].blob.text()).length), 12_000);
    await ada.shot("phone-07-panel");
    await Promise.all([ada.click("panel-close"), ben.click("panel-close")]);
  });

  test("a third is added, and it goes through the server", async (context) => {
    cleo = await new Person("Cleo", server).open();
    await enter(cleo);
    await ada.click("add");
    await ada.click("add-person");
    await cleo.see('[data-testid="incoming"]');
    await ada.see('[data-testid="inviting"]');
    await cleo.shot("phone-08-incoming");
    const start = Date.now();
    await cleo.click("accept");
    await Promise.all([sees(ada, "Cleo"), sees(ben, "Cleo"), sees(cleo, "Ada"), sees(cleo, "Ben"), sees(ada, "Ben"), sees(ben, "Ada")]);
    context.diagnostic(`all see each other after ${Date.now() - start} ms`);
    await Promise.all([ada, ben, cleo].map((one) => one.see('[data-testid="oncall"][data-via="room"]')));
    for (const one of [ada, ben, cleo]) await one.shot("phone-09-three");
    await ben.click("hang-up");
    await told(ben, /ended/);
    await Promise.all([ada, cleo].map((one) => one.until("one is left", () => document.querySelectorAll('[data-testid="party"]').length === 1)));
    await cleo.click("hang-up");
    await told(ada, /ended/);
    await ada.shot("phone-10-ended");
  });

  test("every other end is told in words", async () => {
    await ring(ada, "Ben", "phone-voice");
    await ben.see('[data-testid="incoming"]');
    assert.equal(await ben.page.$('[data-testid="accept"]'), null, "a voice call has one way to be accepted");
    await ben.click("decline");
    await told(ada, /Ben declined/);
    await told(ben, /You declined Ada/);
    await ring(ada, "Ben");
    await ben.see('[data-testid="incoming"]');
    await ada.click("cancel");
    await told(ada, /You gave up/);
    await told(ben, /missed a call from Ada/);
    await ring(ada, "Cleo", "phone-voice");
    await cleo.click("accept-voice");
    await ada.see('[data-testid="oncall"][data-state="connected"]');
    await ring(ben, "Cleo");
    await told(ben, /Cleo is in another call/);
    await cleo.page.close();
    await told(ada, /Cleo is gone|ended/);
    await ben.page.goto(`${server.url}/room/harbor`);
    await ada.until("Ben is not here", () => !document.querySelector('[data-testid="phone-person"][data-name="Ben"]'));
    await enter(ada, "?video=360&ring=2");
    await enter(ben);
    await ring(ada, "Ben");
    await ben.see('[data-testid="incoming"]');
    await told(ada, /did not answer/);
  });

  test("it looks right in light too", async () => {
    await ada.page.evaluate(() => localStorage.setItem("weir.preferences", JSON.stringify({ name: "Ada", theme: "light", cameraHeight: 360 })));
    await ben.page.evaluate(() => localStorage.setItem("weir.preferences", JSON.stringify({ name: "Ben", theme: "light", cameraHeight: 360 })));
    await Promise.all([enter(ada), enter(ben)]);
    await ada.see('[data-testid="phone-person"]');
    await ada.shot("phone-11-light-lobby");
    await ring(ada, "Ben");
    await ben.see('[data-testid="incoming"]');
    await ben.shot("phone-11-light-incoming");
    await ben.click("accept");
    await Promise.all([sees(ada, "Ben"), sees(ben, "Ada")]);
    await ada.click("chat");
    await ada.shot("phone-12-light-call");
    await ben.shot("phone-12-light-call");
    await ada.click("hang-up");
  });

  test("the pages complained of nothing", () => assert.deepEqual(faults([ada, ben], /WebSocket connection to/), []));
});
