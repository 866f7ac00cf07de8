// The `peerjs` package from npm, unmodified, calls rooms of `weir serve`, which lets in by tokens only: who has one is a member for as long
// as the call, and whose call is refused reads why.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { CALL, FLAGS, happens, seesMoving, serveApp, START } from "./support/peers.mjs";
import { faults, Person } from "./support/person.mjs";
import { startServer } from "./support/server.mjs";

const REFUSED = "peer-unavailable: Could not connect to peer room-stage";

describe("a room of `weir serve`, called by the peerjs package", { timeout: 240_000 }, () => {
  let app, server;
  /** @type {Person} */ let ada;
  /** @type {Person} */ let ben;

  const call = (person, name, id, metadata) => person.page.evaluate(CALL, { name, id, metadata });
  const forget = (person, name) => person.page.evaluate((name) => (globalThis.peers[name].events.length = 0), name);
  const start = async (person, name, key = "chess") => {
    await person.page.evaluate(START, { name, id: name, at: server.url, options: { key } });
    await happens(person, name, key === "chess" ? "open" : "invalid-key");
  };
  /** How many of a peer's calls with `id` are open, by what the package itself says. */
  const open = (person, name, id) => person.page.evaluate(({ name, id }) => globalThis.peers[name].calls.filter((each) => each.peer === id && each.open).length, { name, id });

  before(async () => {
    app = await serveApp();
    server = await startServer("peerjs-rooms", { serve: true, set: [`http.origins=${app.url}`, "peerjs.keys=chess", "limits.room_members=3"] });
    [ada, ben] = [new Person("Ada", server), new Person("Ben", server)];
    await Promise.all([ada.open(FLAGS), ben.open(FLAGS)]);
    await Promise.all([ada.page.goto(app.url), ben.page.goto(app.url)]);
    await Promise.all([start(ada, "a"), start(ben, "b")]);
  });
  after(async () => {
    const complaints = faults([ada, ben].filter(Boolean), /WebSocket connection/);
    await Promise.all([ada?.close(), ben?.close()]);
    await server?.stop();
    await app?.stop();
    assert.deepEqual(complaints, [], "the pages complained");
  });

  test("an app that is not served is told so", () => start(ben, "stranger", "go"));

  test("a call is refused without a token, with a wrong one and with one that has ended, and each time the app reads why", async () => {
    const [short, minted] = [server.token("stage", "ada", "--ttl", "1s"), Date.now()];
    const cases = [
      [undefined, "the call's metadata has no token for the room"],
      [{ token: "none of ours" }, "the token is not a JSON Web Token"],
      [{ token: server.token("elsewhere", "ada") }, "the token is for another room"],
      [{ token: server.token("stage", "ada", "--can-publish", "false") }, "the token does not grant canPublish"],
    ];
    for (const [metadata, why] of cases) {
      await call(ada, "a", "room-stage", metadata);
      await happens(ada, "a", `${REFUSED}: ${why}`);
      await ada.until("the call is closed", () => !globalThis.peers.a.calls.at(-1).peerConnection);
      await forget(ada, "a");
    }
    // A clock may be ten seconds off.
    await new Promise((done) => setTimeout(done, Math.max(0, minted + 12_500 - Date.now())));
    await call(ada, "a", "room-stage", { token: short });
    await happens(ada, "a", `${REFUSED}: the token expired`);
    await forget(ada, "a");
    await ada.page.evaluate(() => globalThis.peers.a.peer.connect("room-stage"));
    await happens(ada, "a", `${REFUSED}: a room takes calls with media, and no data connections`);
    await forget(ada, "a");
  });

  test("two with tokens see and hear each other, and a refused call leaves the others alone", async () => {
    await call(ada, "a", "room-stage", { token: server.token("stage", "ada") });
    await call(ben, "b", "room-stage", { token: server.token("stage", "ben") });
    await Promise.all([seesMoving(ada, "a", "room-stage"), seesMoving(ben, "b", "room-stage")]);
    await call(ben, "b", "room-stage", { token: "none of ours" });
    await happens(ben, "b", REFUSED);
    assert.equal(await open(ben, "b", "room-stage"), 1, "the first call goes on");
    await forget(ben, "b");
  });

  test("a member is watched until it leaves, and a full room says so", async () => {
    await call(ben, "b", "room-stage ada", { token: server.token("stage", "ben") });
    await seesMoving(ben, "b", "room-stage ada");
    await call(ada, "a", "room-stage", { token: server.token("stage", "eva") });
    await happens(ada, "a", `${REFUSED}: the room is full`);
    await ada.page.evaluate(() => globalThis.peers.a.calls.splice(0).forEach((each) => each.close()));
    await happens(ben, "b", "call closed room-stage ada");
    assert.equal(await open(ben, "b", "room-stage"), 1, "the room goes on");
    await call(ben, "b", "room-stage ada", { token: server.token("stage", "ben") });
    await ben.until("nobody came", () => globalThis.peers.b.events.filter((each) => each === "call closed room-stage ada").length === 2);
  });

  test("a call that the room ends is closed", async () => {
    await forget(ben, "b");
    await call(ada, "a", "room-stage", { token: server.token("stage", "ben") });
    await happens(ben, "b", "call closed room-stage");
    assert.equal(await open(ada, "a", "room-stage"), 1, "of two with one identity the later stays");
  });
});
