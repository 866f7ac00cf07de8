// Calls by the client library when things go wrong at the worst moment: sessions made anew and tabs killed in every state, hanging up in
// the middle of a move, somebody who does not come along, and members of the room who say what they should not.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Callers } from "./support/callers.mjs";
import { faults } from "./support/person.mjs";

/** @import { Caller } from "./support/caller.mjs" */

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

describe("a call in which something goes wrong", { timeout: 1_200_000 }, () => {
  const callers = new Callers();
  /** @type {Caller} */ let ada;
  /** @type {Caller} */ let ben;
  /** @type {Caller} */ let cleo;
  let rooms = 0;

  before(async () => {
    await callers.start("callfaults");
    [ada, ben, cleo] = [await callers.person("Ada", 0), await callers.person("Ben", 1), await callers.person("Cleo", 0)];
  });

  after(() => callers.close());

  /** @param {Caller[]} who @param {{ [option: string]: unknown }} [options] */
  async function meet(who, options) {
    rooms += 1;
    await Promise.all(who.map((one) => one.meet(`faults-${rooms}`, options)));
    await Promise.all(who.map((one) => one.until("the others", (count) => globalThis.weirRoom.members.size === count, who.length - 1)));
  }

  /** Ada and Ben are in a call. @param {Caller[]} [others] Who is in the room besides. @param {{ [option: string]: unknown }} [options] */
  async function connected(others = [], options = undefined) {
    await meet([ada, ben, ...others], options);
    await ben.answers("accept");
    await ada.rings("Ben");
    await Promise.all([ada.call("connected"), ben.call("connected")]);
    await Promise.all([ada.watches("Ben", 5), ben.watches("Ada", 5)]);
  }

  /** @param {Caller} one */
  const pid = (one) => one.page.evaluate(() => globalThis.weirRoom.local.pid);

  /** Somebody publishes nothing, says of no call to be in it, and has no device open. @param {Caller[]} who */
  async function quiet(...who) {
    for (const one of who) {
      await one.until("nothing is published", () => globalThis.weirRoom.local.tracks.size === 0);
      await one.until("the others publish nothing", () => [...globalThis.weirRoom.members.values()].every(({ tracks, attrs }) => tracks.size === 0 && !attrs["weir.call"]));
      await one.until("the devices are closed", () => globalThis.testCaptured.every(({ readyState }) => readyState === "ended"));
    }
  }

  /** Ben's page misses, or ignores, what would have it come along. */
  const staysBehind = () => ben.page.evaluate(() => Object.assign(globalThis.testCall, { moveAsked: () => {}, memberUpdated: () => {} }));

  describe("sessions and tabs", () => {
    for (const fault of ["socket", "session", "move"]) {
      test(`a ${fault} lost while it rings, at either end, loses no call`, async () => {
        for (const who of ["caller", "callee"]) {
          await meet([ada, ben]);
          await ben.answers("nothing");
          await ada.rings("Ben", { video: false });
          await ben.call("ringing");
          const one = who === "caller" ? ada : ben;
          await one.page.evaluate((fault) => globalThis.weirRoom.simulate(fault), fault);
          await one.until("it is back", () => globalThis.weirRoom.state === "connected");
          // Longer than somebody who does not come back is waited for: people take their time to answer.
          await sleep(fault === "move" ? 7_000 : 500);
          await ben.page.evaluate(() => void globalThis.testCall.accept({ video: false }));
          await Promise.all([ada.call("connected"), ben.call("connected")]);
          await ada.does("hangUp");
          await ben.call("ended", "hung_up");
        }
      });
    }

    test("a session made anew in the moment of accepting loses no call", async () => {
      for (const one of [ada, ben]) {
        await meet([ada, ben]);
        await ben.answers("nothing");
        await ada.rings("Ben", { video: false });
        await ben.call("ringing");
        await Promise.all([
          ben.page.evaluate(() => void globalThis.testCall.accept({ video: false })),
          one.page.evaluate(() => globalThis.weirRoom.simulate("session")),
        ]);
        await Promise.all([ada.call("connected"), ben.call("connected")]);
        await ada.does("hangUp");
        await ben.call("ended", "hung_up");
      }
    });

    test("another tab of the one who is rung takes the ring over", async () => {
      await meet([ada, ben]);
      await ben.answers("nothing");
      await ada.rings("Ben");
      await ben.call("ringing");
      const twin = await callers.person("Ben", 1);
      await twin.meet(`faults-${rooms}`);
      await twin.call("ringing");
      await ben.until("the first tab is out", () => globalThis.weirRoom.state === "closed" && globalThis.testCall.state === "ended");
      await twin.page.evaluate(() => void globalThis.testCall.accept());
      await Promise.all([ada.call("connected"), twin.call("connected")]);
      await Promise.all([ada.watches("Ben"), twin.watches("Ada")]);
      // A third tab knows nothing of the call: it is over, at once.
      await ben.meet(`faults-${rooms}`);
      await ada.call("ended", "left");
      await twin.close();
    });

    test("somebody who rings again before the end of the last ring is heard rings anew", async () => {
      await meet([ada, ben]);
      await ben.answers("nothing");
      await ada.rings("Ben", { video: false });
      await ben.call("ringing");
      await ben.page.evaluate(() => (globalThis.testCall.endedBy = () => {}));
      await ada.does("hangUp");
      await ada.rings("Ben", { video: false });
      const id = await ada.of("id");
      await ben.until("the new ring", (id) => globalThis.testCall.id === id && globalThis.testCall.state === "ringing" && globalThis.weirRoom.calls.current === globalThis.testCall, id);
      await ben.page.evaluate(() => void globalThis.testCall.accept({ video: false }));
      await Promise.all([ada.call("connected"), ben.call("connected")]);
    });

    test("a ring of before both became one, come late, ends nothing", async () => {
      await meet([ada, ben]);
      await Promise.all([ada.answers("nothing"), ben.answers("nothing")]);
      const at = Date.now() + 1_000;
      const ids = await Promise.all([ada.ringsAt(at), ben.ringsAt(at)]);
      await Promise.all([ada.call("connected"), ben.call("connected")]);
      const id = await ada.of("id");
      const [yielded, stayed] = (await ada.of("outgoing")) ? [ben, ada] : [ada, ben];
      const [own] = ids.filter((each) => each !== id);
      await yielded.raw({ t: "call", to: await pid(stayed), call: own, media: { audio: true, video: true }, room: false });
      await sleep(1_000);
      await Promise.all([ada.watches("Ben"), ben.watches("Ada")]);
      for (const one of [ada, ben]) assert.deepEqual([await one.of("state"), await one.of("id")], ["connected", id]);
    });

    test("who goes on in a call that is over for the other is told so", async () => {
      await connected();
      const id = await ada.of("id");
      const to = await pid(ada);
      await ada.does("hangUp");
      await ben.call("ended", "hung_up");
      await ben.page.evaluate(() => (globalThis.testHeard.length = 0));
      await ben.raw({ t: "p2p", to, call: id, desc: { type: "offer", sdp: "v=0" } });
      await ben.until("the word", (id) => globalThis.testHeard.some(({ t, call, why }) => t === "call_end" && call === id && why === "hung_up"), id);
    });
  });

  describe("moves", () => {
    test("hanging up in the middle leaves nothing behind", async () => {
      for (const after of [0, 20, 150, 600]) {
        await connected();
        await ada.page.evaluate(async (after) => {
          void globalThis.testCall.toRoom().catch(() => {});
          if (after > 0) await new Promise((done) => setTimeout(done, after));
          globalThis.testCall.hangUp();
        }, after);
        await Promise.all([ada.call("ended", "hung_up"), ben.call("ended", "hung_up")]);
        await sleep(300);
        await quiet(ada, ben);
      }
      // Who is added hangs up while the answer is on its way.
      await connected([cleo]);
      await cleo.page.evaluate(() => {
        globalThis.testAnswer = async (call) => {
          const accepted = call.accept();
          while (globalThis.testCaptured.length < 2) await new Promise((done) => setTimeout(done, 5));
          call.hangUp();
          await accepted;
        };
      });
      await ada.page.evaluate(() => globalThis.testCall.add([...globalThis.weirRoom.members.values()].find(({ name }) => name === "Cleo").pid));
      await cleo.call("ended");
      await sleep(500);
      await cleo.until("nothing is published", () => globalThis.weirRoom.local.tracks.size === 0);
      await cleo.until("no device is open", () => globalThis.testCaptured.every(({ readyState }) => readyState === "ended"));
      await ben.until("she is not in it", () => [...globalThis.weirRoom.members.values()].every(({ name, attrs, tracks }) => name !== "Cleo" || (tracks.size === 0 && !attrs["weir.call"])));
      await ada.does("hangUp");
      await ben.call("ended", "hung_up");
      await quiet(ada, ben);
    });

    test("who was added and goes before the other came along ends nothing", async () => {
      await connected([cleo]);
      await staysBehind();
      await cleo.answers("accept");
      await ada.page.evaluate(() => globalThis.testCall.add([...globalThis.weirRoom.members.values()].find(({ name }) => name === "Cleo").pid));
      await ada.until("Cleo is in it", () => [...globalThis.weirRoom.members.values()].some(({ name, attrs }) => name === "Cleo" && attrs["weir.call"]));
      await cleo.does("hangUp");
      await ada.until("Cleo is not in it", () => [...globalThis.weirRoom.members.values()].every(({ attrs }) => !attrs["weir.call"]));
      await Promise.all([ada.watches("Ben"), ben.watches("Ada")]);
      for (const one of [ada, ben]) assert.equal(await one.of("state"), "connected");
      await ada.does("hangUp");
      await ben.call("ended", "hung_up");
      await quiet(ada, ben);
    });

    test("where the other one does not come along it goes on as before, with all that it can", async () => {
      await connected();
      await staysBehind();
      await ada.page.evaluate(() => void globalThis.testCall.toRoom());
      await ada.until("it went back", () => globalThis.testFaults.some((fault) => /could not be moved/.test(fault)) && globalThis.testCall.canSendFiles);
      await Promise.all([ada.watches("Ben"), ben.watches("Ada")]);
      assert.equal(await ada.of("via"), "direct");
      await ada.page.evaluate(() => globalThis.testCall.setCamera(false));
      await ben.until("no camera", () => !globalThis.testCall.parties[0].camera);
      await ada.page.evaluate(() => globalThis.testCall.setCamera(true));
      await ben.watches("Ada");
      assert.deepEqual(await ada.page.evaluate(() => [globalThis.weirRoom.local.tracks.size, globalThis.testCall.preview.readyState]), [0, "live"]);
      await ada.does("hangUp");
      await ben.call("ended", "hung_up");
      await quiet(ada, ben);
    });

    test("who was asked to come along and did not hear it comes along all the same", async () => {
      await connected();
      await ben.page.evaluate(() => {
        const { testCall: call } = globalThis;
        call.moveAsked = () => delete call.moveAsked;
      });
      await ada.does("toRoom");
      await Promise.all([ada.goes("room"), ben.goes("room")]);
      await Promise.all([ada.watches("Ben"), ben.watches("Ada")]);
    });

    test("without any way it ends, and nobody is left alone in a call that pretends to be one", async () => {
      await meet([ada, ben]);
      await ben.page.evaluate(() => {
        globalThis.testAnswer = (call) => {
          Object.assign(call, { signaled: () => {}, moveAsked: () => {}, memberUpdated: () => {} });
          void call.accept();
        };
      });
      await ada.rings("Ben");
      await Promise.all([ada.call("ended", "failed"), ben.call("ended", "failed")]);
      await quiet(ada, ben);
    });

    test("a file on its way keeps the direct connection, and arrives", async () => {
      await connected();
      await ben.page.evaluate(() => globalThis.testCall.on("file", ({ transfer }) => transfer.accept()));
      const size = 6_000_000;
      await ada.page.evaluate((size) => {
        const bytes = new Uint8Array(size).map((_, at) => at % 251);
        globalThis.testSent = globalThis.testCall.sendFile(new File([bytes], "plan"));
      }, size);
      await ben.until("some of it", () => globalThis.testCall.files[0]?.bytes > 0);
      await ada.does("toRoom");
      await Promise.all([ada.goes("room"), ben.goes("room")]);
      await ben.until("all of it", () => globalThis.testCall.files[0].state === "done");
      const right = await ben.page.evaluate(async () => new Uint8Array(await globalThis.testCall.files[0].blob.arrayBuffer()).every((byte, at) => byte === at % 251));
      assert.ok(right);
      assert.equal(await ada.page.evaluate(() => globalThis.testSent.finished), "done");
      for (const one of [ada, ben]) await one.until("the direct connection is closed", async () => (await globalThis.testCall.stats()).reports === null);
      assert.equal(await ada.of("canSendFiles"), false);
    });

    for (const how of ["hangs up", "closes the tab", "is killed"]) {
      test(`one of three ${how} while a file still goes directly, and the two others go on`, async () => {
        const dan = how === "hangs up" ? ben : await callers.person("Dan", 1);
        await meet([ada, dan, cleo]);
        await Promise.all([dan, cleo].map((one) => one.answers("accept")));
        await ada.rings(dan.name);
        await Promise.all([ada.call("connected"), dan.call("connected")]);
        await dan.page.evaluate(() => globalThis.testCall.on("file", ({ transfer }) => transfer.accept()));
        await ada.page.evaluate(() => void globalThis.testCall.sendFile(new File([new Uint8Array(400_000_000)], "large")));
        await dan.until("some of it", () => globalThis.testCall.files[0]?.bytes > 0);
        await ada.page.evaluate(() => globalThis.testCall.add([...globalThis.weirRoom.members.values()].find(({ name }) => name === "Cleo").pid));
        await Promise.all([ada, dan, cleo].map((one) => one.goes("room")));
        await Promise.all([ada.watches("Cleo", 5), cleo.watches("Ada", 5), dan.watches("Cleo", 5)]);
        assert.notEqual(await ada.page.evaluate(async () => (await globalThis.testCall.stats()).reports), null, "the file keeps it");
        if (how === "hangs up") await dan.does("hangUp");
        else if (how === "closes the tab") await dan.page.close();
        else dan.crash();
        for (const one of [ada, cleo]) await one.until("two are left", () => globalThis.testCall.parties.length === 1 && globalThis.testCall.state === "connected");
        await ada.until("the direct connection is closed", async () => (await globalThis.testCall.stats()).reports === null);
        await Promise.all([ada.watches("Cleo"), cleo.watches("Ada")]);
        await cleo.does("hangUp");
        await ada.call("ended", "hung_up");
        if (dan !== ben) await dan.close();
      });
    }

    test("whoever opens devices slowly comes in once", async () => {
      await connected([cleo]);
      await cleo.answers("accept");
      await cleo.page.evaluate(() => {
        const { mediaDevices: devices } = navigator;
        const capture = devices.getUserMedia;
        devices.getUserMedia = async (...how) => {
          while (![...globalThis.weirRoom.members.values()].every(({ attrs }) => attrs["weir.call"])) await new Promise((done) => setTimeout(done, 50));
          await new Promise((done) => setTimeout(done, 500));
          globalThis.testMeanwhile = globalThis.testCall.state;
          return capture(...how);
        };
      });
      await ada.page.evaluate(() => globalThis.testCall.add([...globalThis.weirRoom.members.values()].find(({ name }) => name === "Cleo").pid));
      await Promise.all([ada.watches("Cleo"), ben.watches("Cleo"), cleo.watches("Ada"), cleo.watches("Ben")]);
      assert.deepEqual(await cleo.page.evaluate(() => [globalThis.testMeanwhile, globalThis.weirRoom.local.tracks.size]), ["connecting", 2]);
      await Promise.all([ada, ben, cleo].map((one) => one.does("hangUp")));
      for (const one of [ada, ben, cleo]) await one.call("ended");
      await quiet(ada, ben, cleo);
    });

    test("whoever two have rung at once is missed by neither", async () => {
      await connected([cleo]);
      await cleo.answers("nothing");
      await Promise.all([ada, ben].map((one) => one.page.evaluate(() => globalThis.testCall.add([...globalThis.weirRoom.members.values()].find(({ name }) => name === "Cleo").pid))));
      await cleo.call("ringing");
      await cleo.page.evaluate(() => void globalThis.testCall.accept());
      await cleo.call("connected");
      for (const one of [ada, ben]) await one.until("nobody is waited for", () => globalThis.testCall.parties.length === 2 && globalThis.testCall.invited.size === 0);
      await Promise.all([ada, ben].map((one) => one.does("hangUp")));
      await cleo.call("ended");
    });
  });

  describe("what one's own devices do", () => {
    test("off means off, however quickly it follows on", async () => {
      await connected();
      for (const way of ["direct", "room"]) {
        if (way === "room") {
          await ada.does("toRoom");
          await Promise.all([ada.goes("room"), ben.goes("room")]);
        }
        const left = await ada.page.evaluate(async () => {
          const { testCall: call } = globalThis;
          await call.setCamera(false);
          await Promise.all([call.setCamera(true), call.setCamera(true), call.setCamera(false)]);
          const off = { camera: call.camera, preview: call.preview?.readyState ?? "none" };
          const open = globalThis.testCaptured.filter(({ kind, readyState }) => kind === "video" && readyState === "live").length;
          await Promise.all([call.setCamera(true), call.setCamera(true)]);
          const open2 = globalThis.testCaptured.filter(({ kind, readyState }) => kind === "video" && readyState === "live").length;
          return { ...off, open, open2 };
        });
        assert.deepEqual(left, { camera: false, preview: "none", open: 0, open2: 1 });
      }
      await ada.does("hangUp");
      await ben.call("ended");
      await quiet(ada, ben);
    });

    test("muted before the microphone is open, and before the room publishes it, is muted", async () => {
      await meet([ada, ben]);
      await ben.answers("accept");
      await ada.page.evaluate(async () => {
        const call = globalThis.weirRoom.calls.call([...globalThis.weirRoom.members.keys()][0]);
        await call.setMicrophone(false);
      });
      await Promise.all([ada.call("connected"), ben.call("connected")]);
      const heard = () => ada.page.evaluate(() => globalThis.testCaptured.some(({ kind, enabled, readyState }) => kind === "audio" && enabled && readyState === "live"));
      assert.deepEqual([await heard(), await ada.of("microphone")], [false, false]);
      await ada.page.evaluate(() => globalThis.testCall.setMicrophone(true));
      assert.deepEqual([await heard(), await ada.of("microphone")], [true, true]);
      // The server is slow to hear of anything: muting does not wait for it.
      await ada.offline(true);
      await ada.page.evaluate(() => {
        void globalThis.testCall.toRoom().catch(() => {});
        void globalThis.testCall.setMicrophone(false);
      });
      await ada.until("it is silent", () => globalThis.testCaptured.every(({ kind, enabled, readyState }) => kind !== "audio" || !enabled || readyState === "ended"));
      await ada.offline(false);
      await Promise.all([ada.goes("room"), ben.goes("room")]);
      assert.equal(await heard(), false);
      await ben.until("it is known", () => globalThis.testCall.parties[0]?.microphone === false);
      await ada.does("hangUp");
    });
  });

  describe("others in the room", () => {
    test("say what they like about the call of two, and change nothing", async () => {
      await connected([cleo], { calls: { autoMove: false } });
      await Promise.all([ada.goes("direct"), ben.goes("direct")]);
      const id = await ada.of("id");
      const nonsense = async (to) => [
        { t: "call_end", to, call: id, why: "hung_up" },
        { t: "call_reply", to, call: id, ok: true },
        { t: "call_reply", to, call: id, ok: false, why: "declined" },
        { t: "call", to, call: id, media: { audio: true, video: true }, room: true },
        { t: "call", to, call: id, media: { audio: true, video: true }, room: false },
        { t: "p2p", to, call: id, desc: { type: "offer", sdp: "v=0" } },
        { t: "p2p", to, call: id, desc: { type: "answer", sdp: "v=0" } },
        { t: "p2p", to, call: id, desc: { type: "offer", sdp: "x".repeat(70_000) } },
        { t: "p2p", to, call: id, cand: { candidate: "x".repeat(2_000) } },
        ...Array.from({ length: 60 }, (_, n) => ({ t: "p2p", to, call: n % 2 ? id : `of-nobody-${n}`, cand: { candidate: `candidate:${n} 1 udp 1 10.0.0.1 9 typ host`, sdpMid: "0" } })),
        ...Array.from({ length: 60 }, (_, n) => ({ t: "call_end", to, call: `of-nobody-${n}`, why: "hung_up" })),
      ];
      for (const one of [ada, ben]) {
        await cleo.raw(...(await nonsense(await pid(one))));
        await sleep(1_500);
      }
      for (const [one, other] of [[ada, "Ben"], [ben, "Ada"]]) {
        assert.deepEqual([await one.of("state"), await one.of("via"), await one.of("id")], ["connected", "direct", id]);
        await one.watches(other);
      }
      // In the room its name is known to all; who is not in the call can't end it, though only one of both has moved.
      await staysBehind();
      await ada.page.evaluate(() => void globalThis.testCall.toRoom());
      await ada.until("published", () => globalThis.weirRoom.local.tracks.size === 2);
      await cleo.raw({ t: "call_end", to: await pid(ada), call: id, why: "hung_up" });
      await sleep(1_000);
      assert.equal(await ada.of("state"), "connected");
      await ada.does("hangUp");
      await ben.call("ended", "hung_up");
    });

    test("who rings and does not stop is heard once at a time", async () => {
      await meet([ada, ben, cleo]);
      await ben.answers("nothing");
      const to = await pid(ben);
      await ben.page.evaluate(() => {
        globalThis.testRings = 0;
        globalThis.weirRoom.calls.on("incoming", () => (globalThis.testRings += 1));
      });
      await cleo.raw(...Array.from({ length: 40 }, (_, n) => ({ id: 1_000 + n, t: "call", to, call: `ring-${n}`, media: { audio: true, video: true }, room: false })));
      await cleo.until("the answers", () => globalThis.testHeard.filter(({ t, id, code }) => t === "err" && id >= 1_000 && code === "rate_limited").length >= 28);
      await ben.until("one rings", () => /^ring-/.test(globalThis.weirRoom.calls.current?.id) && globalThis.weirRoom.calls.current.state === "ringing");
      await ben.page.evaluate(() => globalThis.weirRoom.calls.current.decline());
      await ben.until("none rings", () => globalThis.weirRoom.calls.current === null);
    });

    test("the one who was called may offer files without end, and the list stays short", async () => {
      await connected();
      await ben.page.evaluate(() => {
        for (let n = 0; n < 300; n += 1) globalThis.testCall.sendFile(new File(["x"], `file ${n}`)).stop();
        globalThis.testCall.sendFile(new File([], "empty"));
      });
      await ada.until("the last one", () => globalThis.testCall.files.at(-1)?.name === "empty");
      assert.ok((await ada.page.evaluate(() => globalThis.testCall.files.length)) <= 200);
      await ada.page.evaluate(() => globalThis.testCall.files.at(-1).accept());
      await ben.until("it arrived", () => globalThis.testCall.files.at(-1).state === "done");
      assert.equal(await ada.page.evaluate(() => globalThis.testCall.files.at(-1).blob.size), 0);
    });

    test("words keep their order, and are text whatever they look like", async () => {
      const said = await ada.page.evaluate(async () => {
        const lines = Array.from({ length: 150 }, (_, n) => `${n} <img src=x onerror="globalThis.testHacked = 1"> \u202e\u0000 ${"ü".repeat(n)}`);
        for (const line of lines) await globalThis.testCall.sendChat(line);
        return lines;
      });
      await ben.until("all", (count) => globalThis.testCall.chat.length === count, said.length);
      assert.deepEqual(await ben.page.evaluate(() => globalThis.testCall.chat.map(({ text }) => text)), said);
      await assert.rejects(ada.page.evaluate(() => globalThis.testCall.sendChat("ü".repeat(2_049))), /4096 bytes/);
      await ada.does("hangUp");
    });
  });

  test("the pages complained of nothing", () => assert.deepEqual(faults([ada, ben, cleo], /WebSocket connection to|ERR_INTERNET_DISCONNECTED/), []));

  for (const state of ["ringing", "connecting", "moving", "moved"]) {
    test(`a tab that is killed while the call is ${state} ends it for the other`, async (context) => {
      const dan = await callers.person("Dan", 1);
      await meet([ada, dan]);
      await dan.answers(state === "ringing" ? "nothing" : "accept");
      await ada.rings("Dan");
      if (state === "ringing") await dan.call("ringing");
      if (state === "connecting") await ada.until("it is accepted", () => ["connecting", "connected"].includes(globalThis.testCall.state));
      if (state.startsWith("mov")) {
        await Promise.all([ada.call("connected"), dan.call("connected")]);
        await ada.does("toRoom");
        if (state === "moved") await Promise.all([ada.goes("room"), dan.goes("room")]);
      }
      const start = Date.now();
      dan.crash();
      await ada.call("ended");
      context.diagnostic(`known after ${Date.now() - start} ms: ${await ada.of("reason")}`);
      assert.ok(["left", "failed"].includes(await ada.of("reason")));
      await quiet(ada);
      await dan.close();
    });
  }
});
