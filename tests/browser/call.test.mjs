// Three people in one room, each in a browser of their own, from joining to leaving. The steps build on each other, as a call
// does; what each asserts is what the other browsers decoded, not what a state says.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { faults, Person } from "./support/person.mjs";
import { startServer } from "./support/server.mjs";

const ROOM = "three-people";
/** Others must not look at a dead tile for longer. */
const CRASH_SHOWN_WITHIN = 15_000;

describe("a call of three", { timeout: 600_000 }, () => {
  let server;
  /** @type {Person} */ let ada;
  /** @type {Person} */ let ben;
  /** @type {Person} */ let cleo;

  before(async () => {
    server = await startServer("call");
    ada = new Person("Ada", server);
    ben = new Person("Ben", server);
    cleo = new Person("Cleo", server);
    await Promise.all([ada.open(), ben.open(), cleo.open()]);
  });

  after(async () => {
    await Promise.all([ada, ben, cleo].map((person) => person?.close()));
    await server?.stop();
  });

  test("they come in by the front door and by the link", async () => {
    await ada.page.goto(`${server.url}/?video=360`);
    await ada.shot("call-01-landing");
    await ada.type("room-name", ROOM);
    await ada.click("room-go");
    await ada.type("name", "Ada");
    await ada.page.waitForFunction(() => document.querySelector('[data-testid="preview"]').videoWidth > 0);
    await ada.page.waitForFunction(() => document.querySelector('[data-testid="mic-meter"] .lit'), { timeout: 10_000 });
    await ada.shot("call-02-prejoin");
    await ada.click("join");
    await ada.inCall();
    assert.equal(await ada.text("room-title"), ROOM);
    await ben.join(ROOM);
    await cleo.join(ROOM);
    for (const person of [ada, ben, cleo]) {
      await person.until("three tiles", () => document.querySelectorAll('[data-testid="tile"]').length === 3);
    }
  });

  test("each sees the two others move", async () => {
    for (const [person, others] of [[ada, ["Ben", "Cleo"]], [ben, ["Ada", "Cleo"]], [cleo, ["Ada", "Ben"]]]) {
      for (const other of others) {
        const video = await person.seesMoving(other, { frames: 15 });
        assert.equal(video.codec, "VP8");
        assert.ok([320, 640].includes(video.width), `${other} is ${video.width} wide`);
        assert.equal(video.height, (video.width * 9) / 16);
        await person.see(`${person.tile(other)}[data-video="on"]`);
      }
      await person.shot("call-03-grid");
    }
  });

  test("each hears the two others", async () => {
    for (const [person, others] of [[ada, ["Ben", "Cleo"]], [ben, ["Ada", "Cleo"]], [cleo, ["Ada", "Ben"]]]) {
      for (const other of others) await person.hears(other);
    }
  });

  test("whoever speaks is shown to speak", async () => {
    // The fake microphone beeps once a second.
    await ben.see(`${ben.tile("Ada")}.speaking`);
  });

  test("a message arrives, is counted, and is read", async () => {
    await ada.click("chat");
    await ada.type("chat-input", "Hello, see https://example.org/minutes <b>today</b>");
    await ada.press("Enter");
    await ben.until("one unread message", () => document.querySelector('[data-testid="unread"]')?.textContent === "1");
    await ada.type("chat-input", "And a second one");
    await ada.press("Enter");
    await ben.until("two unread messages", () => document.querySelector('[data-testid="unread"]')?.textContent === "2");
    await ben.shot("call-04-unread");
    await ben.click("chat");
    await ben.unsee('[data-testid="unread"]');
    const read = await ben.page.$$eval('[data-testid="message"] .message-text', (all) => all.map((each) => each.textContent));
    assert.deepEqual(read, ["Hello, see https://example.org/minutes <b>today</b>", "And a second one"], "text is only ever text");
    assert.equal(await ben.page.$$eval(".message-text b", (all) => all.length), 0);
    assert.equal(await ben.page.$eval(".message-text a", (link) => link.href), "https://example.org/minutes");
    await ben.shot("call-05-chat");
  });

  test("a private message reaches one and no other", async () => {
    /** @param {string} name */
    const chooses = async (name) => {
      const identity = await ben.page.evaluate((name) => [...globalThis.weirRoom.members.values()].find((member) => member.name === name).identity, name);
      await ben.page.select('[data-testid="chat-to"]', identity);
    };
    const says = async (text) => {
      await ben.type("chat-input", text);
      await ben.press("Enter");
    };
    /** @param {Person} person */
    const heard = (person) => person.page.evaluate(() => globalThis.weirRoom.chat.map(({ text }) => text));
    await chooses("Cleo");
    await says("For you alone");
    await cleo.click("chat");
    await cleo.see('[data-testid="private-mark"]');
    await cleo.shot("call-06-private");
    // Her session is made anew: she is the same person.
    const before = await cleo.page.evaluate(() => globalThis.weirRoom.local.pid);
    await cleo.page.evaluate(() => globalThis.weirRoom.simulate("session"));
    await ben.until("she is back", (before) => [...globalThis.weirRoom.members.values()].some(({ name, pid }) => name === "Cleo" && pid !== before), before);
    await says("And this too");
    await cleo.until("both", () => globalThis.weirRoom.chat.filter(({ text }) => ["For you alone", "And this too"].includes(text)).length === 2);
    // Who has left gets nothing, and nobody else does.
    const dan = await new Person("Dan", server).open();
    await dan.join(ROOM);
    await ben.until("Dan", () => [...globalThis.weirRoom.members.values()].some(({ name }) => name === "Dan"));
    await chooses("Dan");
    await ben.type("chat-input", "Not for the others");
    await dan.close();
    await ben.see('[data-testid="chat-gone"]');
    await ben.press("Enter");
    await ben.shot("call-06-gone");
    assert.equal(await ben.page.$eval('[data-testid="chat-input"]', (field) => field.value), "Not for the others");
    await ben.page.select('[data-testid="chat-to"]', "");
    await ben.type("chat-input", "");
    await ben.press("Enter");
    await ada.until("what is for all", () => globalThis.weirRoom.chat.some(({ text }) => text === "Not for the others"));
    const [adas, cleos] = [await heard(ada), await heard(cleo)];
    assert.ok(["For you alone", "And this too"].every((text) => cleos.includes(text) && !adas.includes(text)));
    assert.equal(adas.filter((text) => text === "Not for the others").length, 1, "once it was chosen so");
    for (const person of [ada, ben, cleo]) await person.click("panel-close");
  });

  test("one mutes; the others see it and hear nothing", async () => {
    await ada.click("mic");
    for (const person of [ben, cleo]) await person.see(`${person.tile("Ada")} [data-testid="muted-mark"]`);
    await ben.shot("call-07-muted");
    const energy = async () => (await ben.received()).Ada.microphone.audioEnergy;
    await new Promise((done) => setTimeout(done, 1_000));
    const quiet = await energy();
    await new Promise((done) => setTimeout(done, 2_500));
    assert.ok((await energy()) - quiet < 1e-4, "two beeps would be in this time");
    await ada.click("mic");
    await ben.unsee(`${ben.tile("Ada")} [data-testid="muted-mark"]`);
    await ben.hears("Ada");
  });

  test("a camera goes off and comes back", async () => {
    await ada.click("camera");
    for (const person of [ben, cleo]) await person.see(`${person.tile("Ada")}[data-video="off"] .avatar`);
    assert.equal(await ada.page.evaluate(() => globalThis.weirRoom.local.track("camera").media), null, "the device is let go of");
    await ben.shot("call-08-camera-off");
    await ada.click("camera");
    for (const person of [ben, cleo]) {
      await person.see(`${person.tile("Ada")}[data-video="on"]`);
      await person.seesMoving("Ada");
    }
  });

  test("a pinned tile gets the large layer, and the small one when it is let go", async () => {
    await ben.seesMoving("Cleo", { width: 320 });
    const before = await ben.received();
    assert.equal(before.Cleo.camera.rid, "q");
    await (await ben.see(`${ben.tile("Cleo")} [data-testid="pin"]`)).click();
    await ben.see('[data-testid="stage"][data-layout="speaker"]');
    const pinned = await ben.seesMoving("Cleo", { width: 640 });
    assert.equal(pinned.rid, "h", "what the server says and what is decoded agree");
    assert.equal(await ben.page.$eval(ben.tile("Cleo"), (tile) => tile.dataset.rid), "h");
    await ben.shot("call-09-pinned");
    await (await ben.see(`${ben.tile("Cleo")} [data-testid="pin"]`)).click();
    const unpinned = await ben.seesMoving("Cleo", { width: 320 });
    assert.equal(unpinned.rid, "q");
    assert.ok(unpinned.framesDecoded > pinned.framesDecoded);
  });

  test("a lost socket comes back with nothing lost, and the pictures never stopped", async () => {
    const { pid } = await cleo.page.evaluate(() => ({ pid: globalThis.weirRoom.local.pid }));
    await cleo.offline(true);
    await cleo.see('[data-testid="reconnecting"]');
    const start = (await cleo.received()).Ada.camera.framesDecoded;
    await cleo.shot("call-10-reconnecting");
    // Said by others meanwhile, and by Cleo herself.
    await ada.page.evaluate(() => globalThis.weirRoom.sendChat("While Cleo was away"));
    await cleo.click("chat");
    await cleo.type("chat-input", "Written without a network");
    await cleo.press("Enter");
    await cleo.see('[data-testid="unsent"]');
    await new Promise((done) => setTimeout(done, 3_000));
    const later = (await cleo.received()).Ada.camera.framesDecoded;
    assert.ok(later > start + 20, `${later - start} frames in the 3 s without a socket`);
    await cleo.offline(false);
    await cleo.inCall();
    await cleo.unsee('[data-testid="reconnecting"]');
    await cleo.unsee('[data-testid="unsent"]');
    await ada.until("Cleo's message", () => globalThis.weirRoom.chat.some(({ text }) => text === "Written without a network"));
    for (const text of ["While Cleo was away", "Written without a network"]) {
      for (const person of [ada, cleo]) {
        const times = await person.page.evaluate((wanted) => globalThis.weirRoom.chat.filter((message) => message.text === wanted).length, text);
        assert.equal(times, 1, `${person.name} has “${text}” once`);
      }
    }
    assert.equal(await cleo.page.evaluate(() => globalThis.weirRoom.local.pid), pid, "the same session goes on");
    await cleo.seesMoving("Ada");
    await ada.seesMoving("Cleo");
    await cleo.click("panel-close");
  });

  test("a raised hand and a reaction are seen by all", async () => {
    await ben.click("hand");
    for (const person of [ada, cleo]) await person.see(`${person.tile("Ben")} [data-testid="hand-badge"]`);
    await ben.click("react");
    await ben.click("react-🎉");
    for (const person of [ada, ben, cleo]) await person.see('[data-testid="reaction"]');
    await ada.shot("call-11-hand");
    await ben.click("hand");
    await ada.unsee(`${ada.tile("Ben")} [data-testid="hand-badge"]`);
  });

  test("a shared screen is large for the others, and goes", async () => {
    await ada.click("share");
    for (const person of [ben, cleo]) {
      await person.see('[data-testid="stage"][data-layout="speaker"] .main .tile.screen[data-video="on"]');
      await person.seesMoving("Ada", { source: "screen_share", frames: 2 });
      await person.seesMoving("Ada");
    }
    await ben.shot("call-12-screen");
    await ada.click("share");
    await ben.see('[data-testid="stage"][data-layout="grid"]');
    assert.ok(!(await ben.received()).Ada.screen_share);
    // A second time takes the same m-line for another track.
    await ada.click("share");
    await cleo.seesMoving("Ada", { source: "screen_share", frames: 2 });
    await ada.click("share");
    await cleo.see('[data-testid="stage"][data-layout="grid"]');
  });

  test("new addresses: an ICE restart keeps everything going", async () => {
    await ben.page.evaluate(() => globalThis.weirRoom.simulate("ice"));
    await new Promise((done) => setTimeout(done, 2_000));
    await ben.seesMoving("Ada");
    await ada.seesMoving("Ben");
    assert.equal(await ben.page.evaluate(() => globalThis.weirRoom.mediaState), "connected");
  });

  test("a tab that reloads comes back as the same person", async () => {
    const before = await ada.page.evaluate(() => [...globalThis.weirRoom.members.values()].map(({ identity, name }) => [name, identity]).sort());
    await (await ada.see(`${ada.tile("Ben")} [data-testid="pin"]`)).click();
    await ben.page.reload();
    await ben.inCall();
    await ada.seesMoving("Ben");
    await ben.seesMoving("Ada");
    await ben.seesMoving("Cleo");
    const now = await ada.page.evaluate(() => [...globalThis.weirRoom.members.values()].map(({ identity, name }) => [name, identity]).sort());
    assert.deepEqual(now, before);
    await ada.see(`.main ${ada.tile("Ben")}[data-video="on"]`);
    await ada.shot("call-13-reloaded");
    await (await ada.see(`${ada.tile("Ben")} [data-testid="pin"]`)).click();
  });

  test("statistics can be looked at", async () => {
    await ada.press("i");
    await ada.see(`${ada.tile("Ben")} [data-testid="tile-stats"]`);
    await ada.until("a frame rate in the overlay", () => /VP8[\s\S]*\d+×\d+ [1-9]/.test(document.querySelector('[data-testid="tile"][data-name="Ben"] [data-testid="tile-stats"]')?.textContent ?? ""));
    await ada.shot("call-14-statistics");
    await ada.press("i");
  });

  test("a tab that crashes is gone for the others soon", async () => {
    cleo.crash();
    const start = Date.now();
    for (const person of [ada, ben]) await person.unsee(person.tile("Cleo"), CRASH_SHOWN_WITHIN);
    assert.ok(Date.now() - start < CRASH_SHOWN_WITHIN + 1_000);
    await ada.seesMoving("Ben");
  });

  test("one leaves; the other is told and stays", async () => {
    await ben.click("leave");
    await ben.see('[data-testid="left-page"]');
    await ben.shot("call-15-left");
    await ada.unsee(ada.tile("Ben"), 5_000);
    assert.deepEqual(await ada.names(), ["Ada"]);
    await ada.shot("call-16-alone");
    await ben.click("rejoin");
    await ben.click("join");
    await ben.inCall();
    await ada.seesMoving("Ben");
  });

  test("the pages complained of nothing", () => {
    // A browser that is offline says so for each request.
    assert.deepEqual(faults([ada, ben, cleo], /ERR_INTERNET_DISCONNECTED|WebSocket connection to/), []);
  });
});
