// The negotiation of a call alone: two ends in one page, over a wire that delays, doubles, loses and reorders what they say, as the
// servers between them may. Whatever happens, in the end both must mean the same path.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Person } from "./support/person.mjs";
import { startServer } from "./support/server.mjs";

describe("two ends that negotiate", { timeout: 120_000 }, () => {
  let server;
  /** @type {Person} */ let person;

  before(async () => {
    server = await startServer("negotiation");
    person = await new Person("Ada", server).open();
    await person.page.goto(`${server.url}/`);
    await person.page.evaluate(prepare);
  });

  after(async () => {
    await person?.close();
    await server?.stop();
  });

  test("mean the same path in the end, whatever befalls what they say", async (context) => {
    const pairs = 16;
    const found = await person.page.evaluate((pairs) => Promise.all(Array.from({ length: pairs }, (_, seed) => globalThis.wild(seed + 1))), pairs);
    context.diagnostic(`${found.reduce((sum, { said }) => sum + said, 0)} descriptions, ${found.reduce((sum, { doubled }) => sum + doubled, 0)} of all doubled`);
    assert.deepEqual(found.filter(({ agree, connected }) => !agree || !connected), []);
  });

  test("an answer that comes twice is not taken for the answer to the next offer", async () => {
    assert.deepEqual(await person.page.evaluate(() => globalThis.doubledAnswer()), { agree: true, connected: true });
  });

  test("an offer that follows an answer at once is answered", async () => {
    assert.equal(await person.page.evaluate(() => globalThis.closeBehind()), "stable");
  });

  test("what is no description leaves an end that can still be talked to", async () => {
    assert.deepEqual(await person.page.evaluate(() => globalThis.nonsense()), { agree: true, connected: true });
  });
});

/** Runs in the page. */
async function prepare() {
  const { Peer } = await import("/lib/peer.js");
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  const name = (desc) => /^a=ice-ufrag:(\S+)/m.exec(desc?.sdp ?? "")?.[1];
  const agree = ([one, other]) =>
    [[one, other], [other, one]].every(([here, there]) => here.connection.signalingState === "stable" && name(here.connection.currentLocalDescription) === name(there.connection.currentRemoteDescription));
  const connected = (ends) => ends.every((end) => end.connected);
  const until = async (check, within = 20_000) => {
    for (const start = Date.now(); Date.now() - start < within && !check(); ) await sleep(50);
    return check();
  };
  /** `pass` is given who says what, and a function that lets the other hear it. */
  const pair = (pass) => {
    const ends = [];
    for (const polite of [false, true]) {
      const send = (signal) => pass(polite, signal, () => ends[polite ? 0 : 1]?.hear({ desc: signal.desc ?? null, cand: signal.cand ?? null }));
      ends.push(new Peer({ iceServers: () => [], relayOnly: false, polite, on: { send, onTrack: () => {}, onState: () => {}, onDead: () => {} } }));
    }
    return ends;
  };

  globalThis.wild = async (seed) => {
    let state = seed;
    const random = () => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return state / 2_147_483_648;
    };
    let [said, doubled, calm] = [0, 0, false];
    const ends = pair((_, signal, hear) => {
      if (signal.desc) said += 1;
      if (calm) return setTimeout(hear, 5);
      // A server repeats what is not confirmed; a client repeats what it does not know to have arrived.
      const late = random() < 0.15 ? 600 : 0;
      if (random() >= 0.08) setTimeout(hear, late + random() * 300);
      if (random() >= 0.25) return;
      doubled += 1;
      setTimeout(hear, random() * 1_500);
    });
    for (const start = Date.now(); Date.now() - start < 6_000; ) {
      await sleep(random() * 700);
      const end = ends[random() < 0.5 ? 0 : 1];
      if (random() < 0.5) end.restartIce();
      else end.repeat?.();
    }
    // What is still on its way arrives.
    await sleep(2_500);
    calm = true;
    for (const end of ends) end.repeat?.();
    const result = { seed, said, doubled, agree: await until(() => agree(ends), 2_000), connected: await until(() => connected(ends), 6_000) };
    for (const end of ends) end.close();
    return result;
  };

  globalThis.doubledAnswer = async () => {
    const answers = [];
    let hold = false;
    const ends = pair((polite, signal, hear) => {
      if (polite && signal.desc?.type === "answer") answers.push(hear);
      if (!hold) return void hear();
      // The next offer finds the old answer there before its own.
      answers[0]();
      setTimeout(hear, 300);
    });
    await until(() => connected(ends));
    hold = true;
    ends[0].restartIce();
    await sleep(1_500);
    const result = { agree: agree(ends), connected: connected(ends) };
    for (const end of ends) end.close();
    return result;
  };

  globalThis.closeBehind = async () => {
    const ends = pair((_polite, _signal, hear) => void hear());
    await until(() => connected(ends));
    // The polite one offers; as soon as it is answered the other one offers too, and is heard while the answer is being applied.
    const [one, other] = ends;
    const hear = other.hear.bind(other);
    let answered = false;
    other.hear = (signal) => {
      if (signal.desc?.type === "answer" && !answered) {
        answered = true;
        setTimeout(() => one.restartIce(), 0);
        setTimeout(() => void hear(signal), 300);
      } else if (signal.desc?.type === "offer" && answered) {
        other.connection.addEventListener("signalingstatechange", () => void hear(signal), { once: true });
      } else {
        return hear(signal);
      }
    };
    other.restartIce();
    await sleep(2_500);
    const state = one.connection.signalingState;
    for (const end of ends) end.close();
    return state;
  };

  globalThis.nonsense = async () => {
    const ends = pair((_polite, _signal, hear) => void hear());
    await until(() => connected(ends));
    for (const end of ends) {
      for (const sdp of ["", "v=0", "x".repeat(60_000), "v=0\r\no=- 1 99 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"]) for (const type of ["offer", "answer"]) void end.hear({ desc: { type, sdp }, cand: null });
      for (let n = 0; n < 500; n += 1) void end.hear({ desc: null, cand: { candidate: `candidate:${n} 1 udp 1 10.0.0.1 ${n} typ host`, sdpMid: "9", sdpMLineIndex: null, usernameFragment: "x" } });
    }
    ends[1].restartIce();
    await sleep(1_000);
    ends[0].restartIce();
    await sleep(1_500);
    const result = { agree: await until(() => agree(ends), 3_000), connected: await until(() => connected(ends)) };
    for (const end of ends) end.close();
    return result;
  };
}
