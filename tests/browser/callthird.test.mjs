// Calls that grow, when things come in an order that nobody likes: a third who is asked twice, who hangs up or accepts while somebody
// else goes, whose session or whose caller's is made anew meanwhile, and devices that open late.

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { Callers } from "./support/callers.mjs";
import { faults } from "./support/person.mjs";

/** @import { Caller } from "./support/caller.mjs" */

describe("a third in a call of two", { timeout: 600_000 }, () => {
  const callers = new Callers();
  /** @type {Caller} */ let ada;
  /** @type {Caller} */ let ben;
  /** @type {Caller} */ let cleo;
  let rooms = 0;

  before(async () => {
    await callers.start("callthird");
    [ada, ben, cleo] = [await callers.person("Ada", 0), await callers.person("Ben", 1), await callers.person("Cleo", 0)];
  });

  after(() => callers.close());

  // Ada has called Ben, and Cleo is in the room.
  beforeEach(async () => {
    rooms += 1;
    const all = [ada, ben, cleo];
    await Promise.all(all.map((one) => one.meet(`third-${rooms}`)));
    for (const one of all) await one.until("the others", () => globalThis.weirRoom.members.size === 2);
    await ben.answers("accept");
    await cleo.answers("nothing");
    await ada.rings("Ben");
    await Promise.all([ada.goes("direct"), ben.goes("direct")]);
  });

  /** @param {Caller} one @param {string} name */
  const adds = (one, name) =>
    one.page.evaluate((name) => globalThis.testCall.add([...globalThis.weirRoom.members.values()].find((member) => member.name === name).pid), name);
  /** @param {Caller} one */
  const accepts = (one) => one.page.evaluate(() => void globalThis.testCall.accept());
  /** @param {Caller} one @param {string[]} names */
  const sees = (one, ...names) => Promise.all(names.map((name) => one.watches(name)));
  /** @param {Caller} one @param {string} state */
  const told = (one, state) => one.until(`Cleo: ${state}`, (state) => [...globalThis.testCall.invited.values()].some((invitation) => invitation.state === state), state);
  const later = () => new Promise((done) => setTimeout(done, 5_500));
  /** Cleo's devices open when the test says so. */
  const slowly = () =>
    cleo.page.evaluate(() => {
      const { mediaDevices: devices } = navigator;
      const capture = devices.getUserMedia;
      const open = new Promise((done) => (globalThis.testOpen = done));
      devices.getUserMedia = async (...how) => {
        await open;
        return capture(...how);
      };
    });
  const opens = () => cleo.page.evaluate(() => globalThis.testOpen());

  test("who declined, and who came and went, is rung when asked again", async () => {
    await cleo.answers("decline");
    await adds(ada, "Cleo");
    await told(ada, "declined");
    await cleo.call("ended", "declined");
    // At once it is the same ring, come late.
    await cleo.answers("accept");
    await ada.page.evaluate(() => globalThis.testCall.invited.clear());
    await adds(ada, "Cleo");
    await told(ada, "declined");
    await later();
    await adds(ada, "Cleo");
    await sees(cleo, "Ada", "Ben");
    await cleo.does("hangUp");
    for (const one of [ada, ben]) await one.until("two", () => globalThis.testCall.parties.length === 1);
    // And the word to come along.
    await later();
    await adds(ada, "Cleo");
    await Promise.all([sees(cleo, "Ada", "Ben"), sees(ada, "Cleo"), sees(ben, "Cleo")]);
  });

  test("both ask, she declines, and both are told", async () => {
    await Promise.all([adds(ada, "Cleo"), adds(ben, "Cleo")]);
    await cleo.call("ringing");
    await cleo.until("both ring", () => globalThis.testHeard.filter(({ t }) => t === "call").length === 2);
    await cleo.page.evaluate(() => globalThis.testCall.decline());
    await Promise.all([told(ada, "declined"), told(ben, "declined")]);
    assert.deepEqual([await ada.of("state"), await ben.of("state")], ["connected", "connected"]);
  });

  test("she stops ringing when the call is over, whoever ended it", async () => {
    await adds(ada, "Cleo");
    await cleo.call("ringing");
    await ben.does("hangUp");
    await Promise.all([ada.call("ended", "hung_up"), cleo.call("ended", "cancelled")]);
  });

  test("who left and rings one of the two others finds them busy, and they go on", async () => {
    await cleo.answers("accept");
    await adds(ada, "Cleo");
    await Promise.all([sees(ada, "Ben", "Cleo"), sees(cleo, "Ada", "Ben")]);
    await ben.does("hangUp");
    await ada.until("two", () => globalThis.testCall.parties.length === 1);
    await ben.rings("Ada");
    await ben.call("ended", "busy");
    await Promise.all([sees(ada, "Cleo"), sees(cleo, "Ada")]);
  });

  test("who has accepted and opens devices is waited for, though the other hangs up", async () => {
    await slowly();
    await adds(ada, "Cleo");
    await cleo.call("ringing");
    await accepts(cleo);
    await ada.until("she comes", () => globalThis.testCall.invited.size === 0);
    await ben.does("hangUp");
    await ben.call("ended");
    // Longer than nobody is waited for.
    await new Promise((done) => setTimeout(done, 7_000));
    assert.equal(await ada.of("state"), "connected");
    await opens();
    await Promise.all([sees(ada, "Cleo"), sees(cleo, "Ada")]);
    await ada.goes("room");
  });

  test("who has accepted and thinks better of it is not waited for", async () => {
    await slowly();
    await adds(ada, "Cleo");
    await cleo.call("ringing");
    await accepts(cleo);
    await ada.until("she comes", () => globalThis.testCall.invited.size === 0);
    await cleo.does("hangUp");
    await cleo.call("ended", "hung_up");
    await Promise.all([ada.goes("room"), ben.goes("room")]);
    await ben.does("hangUp");
    await ada.call("ended", "hung_up");
  });

  test("a device that opens when the call has moved already is seen all the same", async () => {
    await cleo.answers("accept");
    await ada.does("hangUp");
    await ben.call("ended");
    await slowly();
    await ada.rings("Cleo");
    await Promise.all([ada.call("connected"), cleo.call("connected")]);
    await ada.does("toRoom");
    await Promise.all([ada.goes("room"), cleo.goes("room")]);
    await sees(cleo, "Ada");
    await opens();
    await sees(ada, "Cleo");
    assert.deepEqual(await ada.page.evaluate(() => globalThis.testCall.parties.map(({ camera, microphone }) => [camera, microphone])), [[true, true]]);
    await cleo.does("hangUp");
    await cleo.until("nothing is published", () => globalThis.weirRoom.local.tracks.size === 0);
  });

  for (const who of ["caller", "third"]) {
    test(`the ${who}'s session made anew while she rings loses nobody`, async () => {
      await adds(ada, "Cleo");
      await cleo.call("ringing");
      const one = who === "caller" ? ada : cleo;
      await one.page.evaluate(() => globalThis.weirRoom.simulate("session"));
      await one.until("it is back", () => globalThis.weirRoom.state === "connected");
      // Longer than somebody who does not come back is waited for.
      await new Promise((done) => setTimeout(done, 7_000));
      await cleo.call("ringing");
      await accepts(cleo);
      await Promise.all([sees(ada, "Ben", "Cleo"), sees(ben, "Ada", "Cleo"), sees(cleo, "Ada", "Ben")]);
    });
  }

  test("in the room a session made anew stays in the call, and hears what is said meanwhile", async () => {
    await ada.does("toRoom");
    await Promise.all([ada.goes("room"), ben.goes("room")]);
    await ada.until("only the room", async () => (await globalThis.testCall.stats()).reports === null);
    await ada.page.evaluate(() => {
      const { testCall: call, weirRoom: room } = globalThis;
      globalThis.testFewest = 1;
      for (const news of ["memberjoined", "memberleft", "memberupdated", "change"]) {
        room.on(news, () => (globalThis.testFewest = Math.min(globalThis.testFewest, room.members.size < 2 ? 1 : call.parties.length)));
      }
      room.on("memberjoined", () => void (globalThis.testSaid = call.sendChat("Still there?")));
    });
    await ben.page.evaluate(() => globalThis.weirRoom.simulate("session"));
    await ben.until("the words", () => globalThis.testCall.chat.some(({ text }) => text === "Still there?"));
    await Promise.all([sees(ada, "Ben"), sees(ben, "Ada")]);
    assert.equal(await ada.page.evaluate(() => globalThis.testFewest), 1, "he was never out of it");
  });

  test("who moves to another edge is in it once, and hears each word once", async () => {
    await ada.does("toRoom");
    await Promise.all([ada.goes("room"), ben.goes("room")]);
    await ada.until("only the room", async () => (await globalThis.testCall.stats()).reports === null);
    await ada.page.evaluate(() => {
      globalThis.testMost = globalThis.testFewest = 1;
      globalThis.testTwice = 0;
      setInterval(() => {
        const { parties } = globalThis.testCall;
        const { members } = globalThis.weirRoom;
        globalThis.testMost = Math.max(globalThis.testMost, parties.length);
        globalThis.testFewest = Math.min(globalThis.testFewest, parties.length);
        if ([...members.values()].filter(({ name }) => name === "Ben").length < 2) return;
        globalThis.testTwice += 1;
        if (globalThis.testTwice === 1) void globalThis.testCall.sendChat("Which of you?");
      }, 5);
    });
    const before = await ben.page.evaluate(() => globalThis.weirRoom.edge.id);
    await callers.drain(1);
    await ben.until("another edge", (before) => globalThis.weirRoom.state === "connected" && globalThis.weirRoom.edge.id !== before, before);
    await sees(ada, "Ben");
    await ada.until("he is there once", () => [...globalThis.weirRoom.members.values()].filter(({ name }) => name === "Ben").length === 1);
    await ben.until("the words", () => globalThis.testCall.chat.length > 0);
    const seen = await ada.page.evaluate(() => [globalThis.testMost, globalThis.testFewest, globalThis.testTwice > 0]);
    assert.deepEqual(seen, [1, 1, true]);
    assert.equal(await ben.page.evaluate(() => globalThis.testCall.chat.length), 1);
    await ada.does("hangUp");
    await ben.call("ended", "hung_up");
  });

  test("words reach the one who came and the one who did not come along", async () => {
    await ben.page.evaluate(() => Object.assign(globalThis.testCall, { moveAsked: () => {}, memberUpdated: () => {} }));
    await cleo.answers("accept");
    await adds(ada, "Cleo");
    await sees(cleo, "Ada");
    await ada.until("Cleo", () => globalThis.testCall.parties.length === 2);
    await ada.page.evaluate(() => globalThis.testCall.sendChat("Hello, both"));
    for (const one of [ben, cleo]) await one.until("the words", () => globalThis.testCall.chat.filter(({ text }) => text === "Hello, both").length === 1);
  });

  test("the pages complained of nothing", () => assert.deepEqual(faults([ada, ben, cleo], /WebSocket connection to|ERR_INTERNET_DISCONNECTED/), []));
});
