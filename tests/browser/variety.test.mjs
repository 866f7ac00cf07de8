// What differs from the plain call: other codecs, three layers, a phone, no mouse, the devices, an admin's means, and a page
// that keeps to its content security policy.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { gather } from "./support/gather.mjs";
import { startServer } from "./support/server.mjs";

const PHONE = { width: 390, height: 844, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

describe("other ways to be in a call", { timeout: 600_000 }, () => {
  const here = gather("variety");
  const { person } = here;

  for (const [codec, name] of [["h264", "H264"], ["vp9", "VP9"], ["av1", "AV1"]]) {
    test(`${name} is sent and seen, beside VP8`, async () => {
      const ada = await (await person("Ada")).join(`codec-${codec}`, { query: `video=360&codec=${codec}` });
      const ben = await (await person("Ben")).join(`codec-${codec}`);
      const seen = await ben.seesMoving("Ada", { frames: 15 });
      assert.equal(seen.codec, name);
      assert.ok([320, 640].includes(seen.width), `${seen.width} wide`);
      assert.equal((await ada.seesMoving("Ben")).codec, "VP8");
      // Another layer of the same codec.
      await (await ben.see(`${ben.tile("Ada")} [data-testid="pin"]`)).click();
      await ben.seesMoving("Ada", { width: 640 });
      await ben.shot(`variety-${codec}`);
    });
  }

  test("a large camera sends three layers, and what nobody looks at is not encoded", async () => {
    const ada = await (await person("Ada")).join("layers", { query: "video=720" });
    const ben = await (await person("Ben", { viewport: { width: 460, height: 420 } })).join("layers");
    assert.equal((await ben.seesMoving("Ada", { width: 320 })).rid, "q");
    const sent = () => ada.page.evaluate(async () => (await globalThis.weirRoom.stats()).outbound.find(({ kind }) => kind === "video").layers);
    await ada.until("only the small layer is encoded", async () => {
      const { layers } = (await globalThis.weirRoom.stats()).outbound.find(({ kind }) => kind === "video");
      return layers.length === 3 && layers.filter(({ active }) => active).map(({ rid }) => rid).join() === "q";
    });
    await ben.page.setViewport({ width: 1300, height: 900 });
    assert.equal((await ben.seesMoving("Ada", { width: 640 })).rid, "h");
    await (await ben.see(`${ben.tile("Ada")} [data-testid="pin"]`)).click();
    assert.equal((await ben.seesMoving("Ada", { width: 1280 })).rid, "f");
    await ben.shot("variety-layers-pinned");
    assert.ok((await sent()).find(({ rid }) => rid === "f").active);
    await (await ben.see(`${ben.tile("Ada")} [data-testid="pin"]`)).click();
    await ben.page.setViewport({ width: 460, height: 420 });
    assert.equal((await ben.seesMoving("Ada", { width: 320 })).rid, "q");
    // Looked at by nobody: paused, and back at once when looked at again.
    await ben.page.evaluate(() => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await ben.until("nothing is sent to a hidden page", () => [...globalThis.weirRoom.members.values()][0].track("camera").streaming === "paused");
    await ben.page.evaluate(() => {
      delete document.hidden;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await ben.seesMoving("Ada");
  });

  test("a phone: tiles are stacked, panels fill the screen, everything is within reach", async () => {
    const ada = await (await person("Ada", { viewport: PHONE })).join("phone");
    const ben = await (await person("Ben")).join("phone");
    await ada.seesMoving("Ben");
    await ben.seesMoving("Ada");
    const tops = await ada.page.$$eval('[data-testid="tile"]', (tiles) => tiles.map((tile) => tile.getBoundingClientRect()).map(({ left, right, top }) => ({ left, right, top })));
    assert.equal(tops.length, 2);
    assert.ok(tops[1].top > tops[0].top + 100, "one under the other");
    assert.ok(tops.every(({ left, right }) => left >= 0 && right <= 390));
    assert.equal(await ada.page.evaluate(() => document.documentElement.scrollWidth), 390, "nothing sticks out");
    await ada.shot("variety-phone-1");
    await ben.click("chat");
    await ben.type("chat-input", "Are you on the train?");
    await ben.press("Enter");
    await ada.until("one unread message", () => document.querySelector('[data-testid="chat-narrow"] .count')?.textContent === "1");
    await ada.click("chat-narrow");
    await ada.until("the panel fills the screen", () => {
      const { x, y, width, height } = document.querySelector('[data-testid="chat-panel"]').getBoundingClientRect();
      return [x, y, width, height].join() === "0,0,390,844";
    });
    await ada.type("chat-input", "Yes");
    await ada.click("chat-send");
    await ben.until("the answer", () => globalThis.weirRoom.chat.at(-1)?.text === "Yes");
    await ada.shot("variety-phone-2-chat");
    await ada.click("panel-close");
    await ada.click("more");
    await ada.shot("variety-phone-3-more");
    await ada.click("more-hand");
    await ben.see(`${ben.tile("Ada")} [data-testid="hand-badge"]`);
    await ada.click("more");
    await ada.click("more-people");
    await ada.see('[data-testid="people-panel"] [data-testid="person"][data-name="Ben"]');
    await ada.shot("variety-phone-4-people");
    for (const [width, height] of [[844, 390], [320, 568]]) {
      await ada.page.setViewport({ ...PHONE, width, height });
      if (await ada.page.$('[data-testid="panel-close"]')) await ada.click("panel-close");
      await ada.until("both tiles fit", () => {
        const tiles = [...document.querySelectorAll('[data-testid="tile"]')].map((tile) => tile.getBoundingClientRect());
        return tiles.length === 2 && tiles.every(({ left, right, top, bottom }) => left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight);
      });
      await ada.shot(`variety-phone-${width}x${height}`);
    }
  });

  test("without a mouse: in, through the call and out by keys alone", async () => {
    const ada = await person("Ada");
    const { page } = ada;
    const focused = () => page.evaluate(() => document.activeElement?.dataset?.testid ?? document.activeElement?.tagName);
    /** Tabs until something has the focus. */
    const tabTo = async (id) => {
      for (let step = 0; step < 40; step += 1) {
        if ((await focused()) === id) return;
        await page.keyboard.press("Tab");
      }
      assert.fail(`Tab never reached ${id}`);
    };
    await page.goto(`${here.server.url}/?video=360`);
    await page.waitForSelector('[data-testid="room-name"]');
    await tabTo("room-name");
    await page.keyboard.type("keys only");
    await page.keyboard.press("Enter");
    await ada.see('[data-testid="prejoin"]');
    assert.equal(new URL(page.url()).pathname, "/room/keys-only");
    await tabTo("name");
    await page.keyboard.type("Ada");
    await page.waitForFunction(() => document.querySelector('[data-testid="preview"]').videoWidth > 0);
    await page.keyboard.press("Enter");
    await ada.inCall();
    const ben = await (await person("Ben")).join("keys-only");
    await ben.seesMoving("Ada");

    await page.keyboard.press("m");
    await ben.see(`${ben.tile("Ada")} [data-testid="muted-mark"]`);
    assert.equal(await page.$eval('[data-testid="mic"]', (button) => button.getAttribute("aria-pressed")), "false");
    await page.keyboard.press("v");
    await ben.see(`${ben.tile("Ada")}[data-video="off"]`);
    await page.keyboard.press("v");
    await ben.see(`${ben.tile("Ada")}[data-video="on"]`);
    await page.keyboard.press("h");
    await ben.see(`${ben.tile("Ada")} [data-testid="hand-badge"]`);
    await page.keyboard.press("c");
    await ada.see('[data-testid="chat-panel"]');
    assert.equal(await focused(), "chat-input");
    await page.keyboard.type("mv h?");
    await page.keyboard.press("Enter");
    await ben.until("the message", () => globalThis.weirRoom.chat.at(-1)?.text === "mv h?");
    assert.equal(await page.$eval('[data-testid="mic"]', (button) => button.getAttribute("aria-pressed")), "false", "typing is no shortcut");
    await page.keyboard.press("Escape");
    await ada.unsee('[data-testid="chat-panel"]');
    assert.equal(await focused(), "chat", "focus is back at the button");
    await page.keyboard.press("?");
    await ada.see('[data-testid="help"]');
    await ada.shot("variety-keys-help");
    await page.keyboard.press("Escape");
    await ada.unsee('[data-testid="help"]');
    await page.keyboard.press("l");
    await ada.see('[data-testid="stage"][data-layout="speaker"]');
    await page.keyboard.press("l");
    await ada.see('[data-testid="stage"][data-layout="grid"]');
    await tabTo("react");
    await page.keyboard.press("Enter");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    await ben.see('[data-testid="reaction"]');
    assert.equal(await focused(), "react");
    await tabTo("leave");
    await page.keyboard.press("Enter");
    await ada.see('[data-testid="left-page"]');
    await ben.unsee(ben.tile("Ada"), 5_000);
  });

  test("every control has a name and every picture a text", async () => {
    const ada = await (await person("Ada")).join("names");
    await ada.click("people");
    const nameless = await ada.page.evaluate(() => {
      const named = (element) => element.getAttribute("aria-label") || element.textContent.trim() || element.closest("label")?.textContent.trim() || element.title;
      return [...document.querySelectorAll("button, input, select, textarea, a, [role=img], [role=meter]")].filter((element) => !named(element)).map((element) => element.outerHTML.slice(0, 120));
    });
    assert.deepEqual(nameless, []);
    const snapshot = JSON.stringify(await ada.page.accessibility.snapshot({ interestingOnly: false }));
    for (const name of ["Microphone", "Camera", "Leave the room", "Share screen", "Raise hand", "People in the room"]) assert.ok(snapshot.includes(name), name);
  });

  test("devices can be chosen, and are remembered", async () => {
    const ada = await (await person("Ada", { args: ["--use-fake-device-for-media-stream=fps=15,device-count=3"] })).join("devices");
    const ben = await (await person("Ben")).join("devices");
    await ben.seesMoving("Ada");
    const chosen = () => ada.page.evaluate(() => globalThis.weirRoom.local.track("camera").media.getSettings().deviceId);
    const first = await chosen();
    await ada.click("camera-menu");
    await ada.shot("variety-devices");
    // The second is a depth camera, which Chromium can't encode.
    await ada.press("ArrowDown");
    await ada.press("ArrowDown");
    assert.equal(await ada.page.evaluate(() => document.activeElement.textContent.trim()), "fake_device_2");
    await ada.press("Enter");
    await ada.page.waitForFunction((before) => globalThis.weirRoom.local.track("camera").media?.getSettings().deviceId !== before, {}, first);
    await ben.seesMoving("Ada", { frames: 15 });
    const second = await chosen();
    await ada.page.reload();
    await ada.inCall();
    assert.equal(await chosen(), second);
    await ben.seesMoving("Ada");
  });

  test("whoever has an admin's invitation mutes and removes", async () => {
    const response = await fetch(`${here.server.url}/v1/dev/token`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ room: "order", name: "Ada", identity: "ada", admin: true }),
    });
    const { token } = await response.json();
    const ada = await (await person("Ada")).join("order", { query: `video=360#token=${token}` });
    assert.ok(!ada.page.url().includes(token), "the token does not stay in the address bar");
    assert.equal(await ada.page.evaluate(() => globalThis.weirRoom.local.identity), "ada");
    const ben = await (await person("Ben")).join("order");
    await ada.seesMoving("Ben");
    const row = '[data-testid="person"][data-name="Ben"]';
    await ada.click("people");
    await (await ada.see(`${row} [data-testid="person-menu"]`)).click();
    await ada.shot("variety-admin");
    await ada.click("person-mute");
    await ben.see('[data-testid="mic"].off');
    await ada.see(`${ada.tile("Ben")} [data-testid="muted-mark"]`);
    // Whoever was muted may speak again.
    await ben.click("mic");
    await ada.unsee(`${ada.tile("Ben")} [data-testid="muted-mark"]`);
    await ada.hears("Ben");
    // Somebody without the grant is not even offered it.
    await ben.click("people");
    await (await ben.see('[data-testid="person"][data-name="Ada"] [data-testid="person-menu"]')).click();
    await ben.see('[data-testid="person-message"]');
    assert.equal(await ben.page.$('[data-testid="person-remove"]'), null);
    const refused = await ben.page.evaluate(() => globalThis.weirRoom.admin("remove", [...globalThis.weirRoom.members.keys()][0]).catch(({ code }) => code));
    assert.equal(refused, "forbidden");
    await (await ada.see(`${row} [data-testid="person-menu"]`)).click();
    await ada.click("person-remove");
    await ben.see('[data-testid="left-page"]');
    assert.match(await ben.text("left-page"), /removed/);
    await ada.unsee(ada.tile("Ben"), 5_000);
    await ben.shot("variety-removed");
  });

  test("a server that knows nobody asks for an invitation, and takes a pasted one", async () => {
    const strict = await startServer("variety-serve", { serve: true });
    try {
      const ada = await person("Ada", { at: strict });
      await ada.page.goto(`${strict.url}/room/members-only?video=360`);
      await ada.type("name", "Ada");
      // The button moves when the picture comes.
      await ada.page.waitForFunction(() => document.querySelector('[data-testid="preview"]').videoWidth > 0, { timeout: 45_000 });
      await ada.click("join");
      await ada.see('[data-testid="join-error"]');
      await ada.type("token", "nonsense");
      await ada.click("join");
      await ada.until("a wrong one is refused", () => /token/i.test(document.querySelector('[data-testid="join-error"]')?.textContent ?? ""));
      await ada.shot("variety-token");
      await ada.type("token", strict.token("members-only", "ada"));
      await ada.click("join");
      await ada.inCall();
      assert.equal(await ada.page.evaluate(() => globalThis.weirRoom.local.identity), "ada");
      ada.faults = ada.faults.filter((fault) => !/40[45].*dev\/token/.test(fault));
    } finally {
      await strict.stop();
    }
  });

  test("data goes to the others on the data channel", async () => {
    const ada = await (await person("Ada")).join("data");
    const ben = await (await person("Ben")).join("data");
    await ben.page.evaluate(() => {
      globalThis.came = [];
      globalThis.weirRoom.on("data", async ({ data }) => globalThis.came.push(typeof data === "string" ? data : [...new Uint8Array(data)]));
    });
    await ben.until("the channel is open", () => globalThis.weirRoom.sendData("from Ben"));
    await ada.until("Ada's, too", () => globalThis.weirRoom.sendData("text ✓") && globalThis.weirRoom.sendData(new Uint8Array([0, 1, 255]).buffer));
    await ben.until("both messages", () => globalThis.came.length === 2);
    assert.deepEqual(await ben.page.evaluate(() => globalThis.came), ["text ✓", [0, 1, 255]]);
  });

  test("a server that dies and comes back has its calls again", async () => {
    const first = await startServer("variety-restart-1");
    const { port } = new URL(first.url);
    const [ada, ben] = await Promise.all(["Ada", "Ben"].map((name) => person(name, { at: first })));
    await ada.join("phoenix");
    await ben.join("phoenix");
    await ben.click("hand");
    await ada.see(`${ada.tile("Ben")} [data-testid="hand-badge"]`);
    await ada.seesMoving("Ben");
    await first.kill();
    await ada.see('[data-testid="reconnecting"]');
    await ada.shot("variety-server-gone");
    const second = await startServer("variety-restart-2", { port: Number(port) });
    try {
      for (const [one, other] of [[ada, "Ben"], [ben, "Ada"]]) {
        await one.inCall();
        await one.seesMoving(other);
        await one.hears(other);
        await one.until("two tiles", () => document.querySelectorAll('[data-testid="tile"]').length === 2);
      }
      await ada.see(`${ada.tile("Ben")} [data-testid="hand-badge"]`);
      await ada.shot("variety-server-back");
    } finally {
      await second.stop();
    }
    for (const one of [ada, ben]) one.faults = one.faults.filter((fault) => !/ERR_CONNECTION_REFUSED|WebSocket/.test(fault));
  });

  test("without a camera one still comes in", async () => {
    const ada = await (await person("Ada")).join("listener");
    const ben = await person("Ben");
    await ben.page.goto(`${here.server.url}/room/listener`);
    await ben.type("name", "Ben");
    await ben.click("prejoin-camera");
    await ben.click("prejoin-mic");
    await ben.click("join");
    await ben.inCall();
    await ben.seesMoving("Ada");
    await ben.hears("Ada");
    await ada.see(`${ada.tile("Ben")}[data-video="off"] .avatar`);
    await ada.see(`${ada.tile("Ben")} [data-testid="muted-mark"]`);
    // And changes their mind.
    await ben.click("camera");
    await ben.click("mic");
    await ada.seesMoving("Ben");
    await ada.hears("Ben");
  });
});
