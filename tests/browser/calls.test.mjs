// Calls from browser to browser by the client library: ringing and every way it ends, words and files, and how a call moves into
// the room's server. Two regions of one `weir dev`: what the callers say to each other crosses the cascade.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caller } from "./support/caller.mjs";
import { Callers } from "./support/callers.mjs";
import { faults } from "./support/person.mjs";
import { startServer } from "./support/server.mjs";

describe("a call from browser to browser", { timeout: 600_000 }, () => {
  const callers = new Callers();
  /** @type {Caller} */ let ada;
  /** @type {Caller} */ let ben;
  let rooms = 0;

  before(async () => {
    await callers.start("calls");
    ada = await callers.person("Ada", 0);
    ben = await callers.person("Ben", 1);
  });

  after(() => callers.close());

  /** Both are in a room nobody was in before. @param {{ [option: string]: unknown }} [options] */
  async function meet(options) {
    rooms += 1;
    await Promise.all([ada, ben].map((one) => one.meet(`meet-${rooms}`, options)));
    assert.notEqual(await ada.page.evaluate(() => globalThis.weirRoom.edge.id), await ben.page.evaluate(() => globalThis.weirRoom.edge.id));
  }

  async function connected(options) {
    await meet(options);
    await ben.answers("accept");
    await ada.rings("Ben");
    await Promise.all([ada.call("connected"), ben.call("connected")]);
  }

  test("one rings, the other accepts, and both see each other directly", async (context) => {
    const start = Date.now();
    await connected();
    await Promise.all([ada.watches("Ben"), ben.watches("Ada")]);
    await Promise.all([ada.goes("direct"), ben.goes("direct")]);
    context.diagnostic(`${Date.now() - start} ms from an empty page to moving pictures`);
    await ada.does("hangUp");
    await Promise.all([ada.call("ended", "hung_up"), ben.call("ended", "hung_up")]);
    assert.equal(await ada.page.evaluate(() => globalThis.testCall.preview?.readyState ?? "ended"), "ended", "the camera is let go of");
  });

  test("declined, cancelled, not answered", async () => {
    await meet();
    await ben.answers("decline");
    await ada.rings("Ben");
    await Promise.all([ada.call("ended", "declined"), ben.call("ended", "declined")]);
    await ben.answers("nothing");
    await ada.rings("Ben");
    await ben.call("ringing");
    await ada.does("hangUp");
    await Promise.all([ada.call("ended", "cancelled"), ben.call("ended", "cancelled")]);
    await meet({ calls: { ringMs: 4_000 } });
    await ben.answers("nothing");
    await ada.rings("Ben");
    await ben.call("ringing");
    await Promise.all([ada.call("ended", "timeout"), ben.call("ended", "timeout")]);
  });

  test("who is in a call is busy, and who takes none says so", async () => {
    await connected();
    const cleo = await callers.person("Cleo", 1);
    await cleo.meet(`meet-${rooms}`);
    await cleo.rings("Ada", { audio: false, video: false });
    await cleo.call("ended", "busy");
    await ada.watches("Ben");
    const dave = await callers.person("Dave", 0);
    await dave.join(`meet-${rooms}`);
    await cleo.rings("Dave", { audio: false, video: false });
    await cleo.call("ended", "unavailable");
    await Promise.all([cleo.close(), dave.close()]);
  });

  test("both ring at once, and it is one call", async () => {
    await meet();
    await Promise.all([ada.answers("nothing"), ben.answers("nothing")]);
    await Promise.all([ada.until("Ben", () => globalThis.weirRoom.members.size === 1), ben.until("Ada", () => globalThis.weirRoom.members.size === 1)]);
    // The clocks of one machine: both at the same moment.
    const at = Date.now() + 1_500;
    await Promise.all([ada.ringsAt(at), ben.ringsAt(at)]);
    await Promise.all([ada.call("connected"), ben.call("connected")]);
    await Promise.all([ada.watches("Ben"), ben.watches("Ada")]);
    const [one, other] = await Promise.all([ada, ben].map((each) => each.page.evaluate(() => ({ id: globalThis.testCall.id, outgoing: globalThis.testCall.outgoing }))));
    assert.equal(one.id, other.id);
    assert.notEqual(one.outgoing, other.outgoing);
  });

  test("words and a file arrive, a file can be stopped, and a muted camera is known", async (context) => {
    await connected();
    for (const one of [ada, ben]) await one.until("words can be said", () => globalThis.testCall.canSendFiles);
    await ada.page.evaluate(() => globalThis.testCall.sendChat("Hello <b>Ben</b>"));
    await ben.until("the words", () => globalThis.testCall.chat.some(({ own, name, text }) => !own && name === "Ada" && text === "Hello <b>Ben</b>"));

    const size = 5_000_000;
    await ben.page.evaluate(() => globalThis.testCall.on("file", ({ transfer }) => transfer.name !== "stopped" && transfer.accept()));
    for (const one of [ada, ben]) {
      await one.page.evaluate(() => {
        globalThis.testHash = async (blob) => [...new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()))].join();
      });
    }
    const start = Date.now();
    const sent = await ada.page.evaluate(async (size) => {
      const bytes = new Uint8Array(size);
      for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
      const file = new File([bytes], "../holiday photos.zip");
      const transfer = globalThis.testCall.sendFile(file);
      return { state: await transfer.finished, hash: await globalThis.testHash(file) };
    }, size);
    context.diagnostic(`${size} bytes in ${Date.now() - start} ms`);
    const got = await ben.page.evaluate(async () => {
      const { name, state, blob } = globalThis.testCall.files.at(-1);
      return { name, state, size: blob.size, hash: await globalThis.testHash(blob) };
    });
    assert.deepEqual(got, { name: "..holiday photos.zip", state: "done", size, hash: sent.hash });
    assert.equal(sent.state, "done");

    await ada.page.evaluate(() => {
      globalThis.testStopped = globalThis.testCall.sendFile(new File([new Uint8Array(50_000_000)], "stopped"));
    });
    await ben.until("an offer", () => globalThis.testCall.files.at(-1).name === "stopped");
    await ben.page.evaluate(() => {
      const transfer = globalThis.testCall.files.at(-1);
      transfer.addEventListener("change", () => transfer.bytes > 500_000 && transfer.stop());
      transfer.accept();
    });
    await ada.until("it stopped", () => globalThis.testStopped.state === "stopped" && globalThis.testStopped.bytes < 50_000_000);

    await ada.page.evaluate(() => Promise.all([globalThis.testCall.setCamera(false), globalThis.testCall.setMicrophone(false)]));
    await ben.until("no camera", () => !globalThis.testCall.parties[0].camera && !globalThis.testCall.parties[0].microphone);
    await ada.page.evaluate(() => globalThis.testCall.setCamera(true));
    await ben.watches("Ada");
  });

  test("both look for a path anew at once, and a session made anew changes nothing", async () => {
    await connected();
    await Promise.all([ada.does("restartIce"), ben.does("restartIce")]);
    await Promise.all([ada.watches("Ben"), ben.watches("Ada")]);
    const before = await ben.page.evaluate(() => globalThis.weirRoom.local.pid);
    await ben.page.evaluate(() => globalThis.weirRoom.simulate("session"));
    await ben.until("a new session", (before) => globalThis.weirRoom.local.pid !== before && globalThis.weirRoom.state === "connected", before);
    await ada.until("it is known", (before) => globalThis.testCall.pid !== before, before);
    await Promise.all([ada.does("restartIce"), ben.does("restartIce")]);
    await Promise.all([ada.watches("Ben"), ben.watches("Ada")]);
    await ada.does("hangUp");
    await ben.call("ended", "hung_up");
  });

  /** Says how long each saw no frame of the other at most, while something is done. */
  async function standstill(context, what, step, within = 1_000) {
    await Promise.all([ada.watchPicture("Ben"), ben.watchPicture("Ada")]);
    await step();
    await Promise.all([ada.goes("room"), ben.goes("room")]);
    await Promise.all([ada.watches("Ben", 30), ben.watches("Ada", 30)]);
    const [adas, bens] = [await ada.frozen("Ben"), await ben.frozen("Ada")];
    context.diagnostic(`${what}: Ada saw no frame of Ben for ${Math.round(adas.longest)} ms, Ben none of Ada for ${Math.round(bens.longest)} ms`);
    assert.ok(adas.longest < within && bens.longest < within, JSON.stringify({ adas, bens }));
  }

  /** Nothing of the call goes from browser to browser any more. @param {Caller} one */
  const letGo = (one) => one.until("the direct connection is closed", async () => (await globalThis.testCall.stats()).reports === null);

  test("it moves into the room's server without a break, and ends there", async (context) => {
    await connected();
    await Promise.all([ada.watches("Ben", 30), ben.watches("Ada", 30)]);
    await standstill(context, "moved by hand", () => ada.does("toRoom"));
    await Promise.all([letGo(ada), letGo(ben)]);
    for (const [one, other] of [[ada, "Ben"], [ben, "Ada"]]) await one.hears(other);
    await ada.page.evaluate(() => globalThis.testCall.sendChat("still here"));
    await ben.until("the words", () => globalThis.testCall.chat.some(({ text }) => text === "still here"));
    await ada.page.evaluate(() => globalThis.testCall.setCamera(false));
    await ben.until("no camera", () => !globalThis.testCall.parties[0].camera);
    await ada.page.evaluate(() => globalThis.testCall.setCamera(true));
    await ben.watches("Ada");
    await ben.does("hangUp");
    await Promise.all([ada.call("ended", "hung_up"), ben.call("ended", "hung_up")]);
    await ada.until("nothing is published", () => globalThis.weirRoom.local.tracks.size === 0 && [...globalThis.weirRoom.members.values()].every(({ tracks }) => tracks.size === 0));
  });

  test("in the room, a session made anew keeps its place in the call", async () => {
    await connected();
    await Promise.all([ada.watches("Ben"), ben.watches("Ada")]);
    await ada.does("toRoom");
    await Promise.all([letGo(ada), letGo(ben)]);
    const before = await ben.page.evaluate(() => globalThis.weirRoom.local.pid);
    await ben.page.evaluate(() => globalThis.weirRoom.simulate("session"));
    await ben.until("a new session", (before) => globalThis.weirRoom.local.pid !== before && globalThis.weirRoom.state === "connected", before);
    await ada.until("it is known", (before) => globalThis.testCall.parties.length === 1 && globalThis.testCall.parties[0].pid !== before, before);
    await Promise.all([ada.watches("Ben", 30), ben.watches("Ada", 30)]);
    // Longer than whoever is alone waits.
    await new Promise((done) => setTimeout(done, 7_000));
    await Promise.all([ada.watches("Ben"), ben.watches("Ada")]);
    await ada.does("hangUp");
    await ben.call("ended", "hung_up");
  });

  test("where no path is found from browser to browser, the media go over the links", async (context) => {
    // The TURN servers of two regions on one machine do not reach each other: no relay lets anybody at what is on its own machine.
    await meet({ relayOnly: true });
    await ben.answers("accept");
    await ada.rings("Ben");
    await Promise.all([ada.goes("room"), ben.goes("room")]);
    await Promise.all([ada.watches("Ben", 30), ben.watches("Ada", 30)]);
    await Promise.all([letGo(ada), letGo(ben)]);
    const way = await ada.page.evaluate(() => [...globalThis.weirRoom.members.values()][0].track("camera").path.map(({ region }) => region));
    context.diagnostic(`Ben's picture comes by ${way.join(" → ")}`);
    assert.ok(way.length >= 2);
    for (const [one, other] of [[ada, "Ben"], [ben, "Ada"]]) await one.hears(other);
  });

  test("a third is added, and all three see each other", async (context) => {
    await connected();
    const cleo = await callers.person("Cleo", 2);
    await cleo.meet(`meet-${rooms}`);
    await cleo.answers("accept");
    await Promise.all([ada.watches("Ben", 30), ben.watches("Ada", 30)]);
    await ada.until("Cleo", () => globalThis.weirRoom.members.size === 2);
    await standstill(context, "a third was added", () =>
      ada.page.evaluate(() => globalThis.testCall.add([...globalThis.weirRoom.members.values()].find(({ name }) => name === "Cleo").pid)),
    );
    await Promise.all([ada.watches("Cleo"), ben.watches("Cleo"), cleo.watches("Ada"), cleo.watches("Ben")]);
    await Promise.all([letGo(ada), letGo(ben)]);
    assert.deepEqual(await cleo.page.evaluate(() => globalThis.testCall.parties.map(({ name }) => name).sort()), ["Ada", "Ben"]);
    // One goes; the two others stay.
    await ada.does("hangUp");
    await Promise.all([ben, cleo].map((one) => one.until("two are left", () => globalThis.testCall.parties.length === 1)));
    await Promise.all([ben.watches("Cleo"), cleo.watches("Ben")]);
    await cleo.does("hangUp");
    await ben.call("ended", "hung_up");
    await cleo.close();
  });

  test("who was added and declines changes nothing", async () => {
    await connected();
    const cleo = await callers.person("Cleo", 2);
    await cleo.meet(`meet-${rooms}`);
    await cleo.answers("decline");
    await ada.goes("direct");
    await ada.until("Cleo", () => globalThis.weirRoom.members.size === 2);
    await ada.page.evaluate(() => globalThis.testCall.add([...globalThis.weirRoom.members.values()].find(({ name }) => name === "Cleo").pid));
    await ada.until("the answer", () => [...globalThis.testCall.invited.values()][0]?.state === "declined");
    assert.equal(await ada.page.evaluate(() => globalThis.testCall.via), "direct");
    await cleo.close();
  });

  test("the pages complained of nothing", async () => {
    assert.deepEqual(faults([ada, ben], /WebSocket connection to/), []);
    for (const one of [ada, ben]) assert.deepEqual(await one.page.evaluate(() => globalThis.testFaults), []);
  });

  test("a tab that is killed ends the call for the other", async (context) => {
    await connected();
    await ada.watches("Ben");
    const start = Date.now();
    ben.crash();
    await ada.call("ended", "left");
    context.diagnostic(`known after ${Date.now() - start} ms`);
  });
});

describe("a call between two who are relayed", { timeout: 200_000 }, () => {
  let server;
  /** @type {Caller} */ let ada;
  /** @type {Caller} */ let ben;

  before(async () => {
    server = await startServer("calls-relayed");
    [ada, ben] = await Promise.all(["Ada", "Ben"].map((name) => new Caller(name, server).open()));
  });

  after(async () => {
    await Promise.all([ada, ben].map((person) => person?.close()));
    await server?.stop();
  });

  test("goes through the relay where it must stay, and moves to the room's server where it may", async () => {
    for (const autoMove of [false, true]) {
      await Promise.all([ada, ben].map((one) => one.meet(`relayed-${autoMove}`, { relayOnly: true, calls: { autoMove } })));
      await ben.answers("accept");
      await ada.rings("Ben");
      await Promise.all([ada, ben].map((one) => one.goes(autoMove ? "room" : "relayed")));
      await Promise.all([ada.watches("Ben", 30), ben.watches("Ada", 30)]);
    }
    for (const one of [ada, ben]) await one.until("the relay is let go of", async () => (await globalThis.testCall.stats()).reports === null);
    assert.deepEqual(faults([ada, ben]), []);
  });
});
