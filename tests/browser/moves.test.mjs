// A session that is made anew, and one that moves: what the others and oneself see meanwhile. One server plays both ends.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { faults, Person } from "./support/person.mjs";
import { startServer } from "./support/server.mjs";

const ROOM = "moving";

describe("one of two moves", { timeout: 300_000 }, () => {
  let server;
  /** @type {Person} */ let ada;
  /** @type {Person} */ let ben;

  before(async () => {
    server = await startServer("moves");
    ada = new Person("Ada", server);
    ben = new Person("Ben", server);
    await Promise.all([ada.open(), ben.open()]);
    await ada.join(ROOM);
    await ben.join(ROOM);
    await Promise.all([ada.seesMoving("Ben"), ben.seesMoving("Ada")]);
  });

  after(async () => {
    await Promise.all([ada, ben].map((person) => person?.close()));
    await server?.stop();
  });

  /** Breaks something at Ben's, waits until he is somebody new, and says how long pictures stood still. */
  async function breakAtBens(fault) {
    const pid = await ben.page.evaluate(() => globalThis.weirRoom.local.pid);
    await Promise.all([ada.watchPicture("Ben"), ben.watchPicture("Ada")]);
    await ben.page.evaluate((what) => globalThis.weirRoom.simulate(what), fault);
    await ben.until("a new session", (before) => globalThis.weirRoom.local.pid !== before && globalThis.weirRoom.state === "connected", pid);
    await Promise.all([ada.seesMoving("Ben", { frames: 15 }), ben.seesMoving("Ada", { frames: 15 })]);
    assert.deepEqual(await ada.names(), ["Ada", "Ben"]);
    return { seen: await ada.frozen("Ben"), own: await ben.frozen("Ada") };
  }

  test("a session made anew keeps the last pictures until the next come", async (context) => {
    await ada.page.evaluate(() => {
      globalThis.testDark = 0;
      new MutationObserver(() => (globalThis.testDark += Number(document.querySelector('[data-testid="tile"][data-name="Ben"]')?.dataset.video !== "on"))).observe(document.body, { attributes: true, childList: true, subtree: true });
    });
    const { seen, own } = await breakAtBens("session");
    context.diagnostic(`others saw ${Math.round(seen.longest)} ms without a frame, he himself ${Math.round(own.longest)} ms`);
    assert.ok(seen.longest < 3_000 && own.longest < 3_000, JSON.stringify({ seen, own }));
    assert.equal(await ada.page.evaluate(() => globalThis.testDark), 0, "no avatar in between");
  });

  test("a move stops no picture for long", async (context) => {
    const { seen, own } = await breakAtBens("move");
    context.diagnostic(`others saw ${Math.round(seen.longest)} ms without a frame, he himself ${Math.round(own.longest)} ms`);
    assert.ok(seen.longest < 1_500 && own.longest < 1_500, JSON.stringify({ seen, own }));
    await ada.hears("Ben");
    await ben.hears("Ada");
    await ada.page.evaluate(() => globalThis.weirRoom.sendChat("Still there?"));
    await ben.until("the message", () => globalThis.weirRoom.chat.some(({ text }) => text === "Still there?"));
  });

  test("what is changed during a move holds after it", async () => {
    await ben.page.evaluate(() => {
      globalThis.weirRoom.simulate("move");
      void globalThis.weirRoom.setHand(true);
    });
    await ben.click("mic");
    await ada.see(`${ada.tile("Ben")} [data-testid="muted-mark"]`);
    await ada.see(`${ada.tile("Ben")} [data-testid="hand-badge"]`);
    await ada.seesMoving("Ben");
    await ben.click("mic");
    await ada.unsee(`${ada.tile("Ben")} [data-testid="muted-mark"]`);
    await ada.hears("Ben");
  });

  test("the pages complained of nothing", () => assert.deepEqual(faults([ada, ben], /WebSocket connection to/), []));
});
