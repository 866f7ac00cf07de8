// The `peerjs` package from npm, unmodified, against our server, in pages of another origin: peers of one node and of two regions call
// each other, send data, lose and take up their ids, hear of those that are not there, and call a room where somebody sits in the web app.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { CALL, FLAGS, happens, seesMoving, serveApp, START } from "./support/peers.mjs";
import { faults, Person } from "./support/person.mjs";
import { startServer } from "./support/server.mjs";

const [ADAS, BENS, THIRD] = (process.env.WEIR_TEST_REGIONS ?? "iad,sin,fra").split(",");

describe("the peerjs package", { timeout: 400_000 }, () => {
  let app, server;
  /** @type {any} */ let dev;
  /** @type {Person} */ let ada;
  /** @type {Person} */ let ben;
  /** @type {Person} */ let eva;

  const at = (region) => dev.regions.find((each) => each.region === region).url;
  const post = (path, body) => fetch(`${server.dashboard}${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  /** Makes a peer. @param {Person} person */
  const start = (person, name, region, { id = "", ...options } = {}) => person.page.evaluate(START, { name, id, at: at(region), options });
  const forget = (person, name) => person.page.evaluate((name) => (globalThis.peers[name].events.length = 0), name);
  /** Starts a peer and waits until it has its id. */
  const opened = async (person, name, region, options) => {
    await start(person, name, region, options);
    await happens(person, name, "open");
    return person.page.evaluate((name) => globalThis.peers[name].peer.id, name);
  };
  const call = (person, name, id, metadata) => person.page.evaluate(CALL, { name, id, metadata });
  const hangUp = (person, name) => person.page.evaluate((name) => globalThis.peers[name].calls.splice(0).forEach((each) => each.close()), name);
  /** Sends both ways over a data connection. */
  const talks = async (name, id, tries = 1) => {
    for (let n = 1; n <= tries; n += 1) {
      await forget(ada, name);
      await ada.page.evaluate(({ name, id }) => {
        const conn = globalThis.peers[name].take(globalThis.peers[name].peer.connect(id, { reliable: true }));
        conn.on("open", () => conn.send({ text: "hello", bytes: new Uint8Array([1, 2, 3]) }));
      }, { name, id });
      const answered = ({ name, id, last }) => {
        const { data, events } = globalThis.peers[name];
        if (data.some(([from, data]) => from === id && data === `${id} heard you`)) return "yes";
        return !last && events.some((each) => each.startsWith("peer-unavailable")) && "not yet";
      };
      const seen = { name, id, last: n === tries };
      await ada.until("the answer", answered, seen);
      if ((await ada.page.evaluate(answered, seen)) === "yes") return;
      await new Promise((done) => setTimeout(done, 500));
    }
  };
  const heard = async (person, name) => {
    await person.until("something", (name) => globalThis.peers[name].data.length > 0, name);
    return person.page.evaluate((name) => globalThis.peers[name].data.splice(0).map(([from, data]) => [from, data.text, [...new Uint8Array(data.bytes)]]), name);
  };
  const everybody = (person, name) => person.page.evaluate((name) => new Promise((done) => globalThis.peers[name].peer.listAllPeers(done)), name);

  before(async () => {
    app = await serveApp();
    server = await startServer("peerjs", { regions: true, set: [`http.origins=${app.url}`] });
    dev = await (await fetch(`${server.dashboard}/v1/admin/dev`)).json();
    [ada, ben] = [new Person("Ada", server), new Person("Ben", server)];
    await Promise.all([ada.open(FLAGS), ben.open(FLAGS)]);
    await Promise.all([ada.page.goto(app.url), ben.page.goto(app.url)]);
  });
  after(async () => {
    // What the browser says of refusals that are asked for; and the package stumbles over a data channel of a connection that it has
    // just closed.
    const complaints = faults([ada, ben].filter(Boolean), /status of 40[13]|WebSocket connection|reading '_initializeDataChannel'/);
    await Promise.all([ada?.close(), ben?.close(), eva?.close()]);
    await server?.stop();
    await app?.stop();
    assert.deepEqual(complaints, [], "the pages complained");
  });

  test("a peer gets an id, and two call each other with picture and voice", async () => {
    const id = await opened(ada, "a", ADAS);
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    await opened(ben, "b", ADAS, { id: "ben" });
    await call(ada, "a", "ben");
    await Promise.all([seesMoving(ada, "a", "ben"), seesMoving(ben, "b", id)]);
    await hangUp(ada, "a");
    await happens(ben, "b", "call closed");
  });

  test("data goes both ways", async () => {
    await talks("a", "ben");
    const [[, text, bytes]] = await heard(ben, "b");
    assert.deepEqual([text, bytes], ["hello", [1, 2, 3]]);
  });

  test("who is not there is unavailable", async () => {
    await ada.page.evaluate(() => globalThis.peers.a.peer.connect("nobody"));
    await happens(ada, "a", "peer-unavailable: Could not connect to peer nobody");
  });

  test("an id has one peer, and a wrong key none", async () => {
    await start(ada, "thief", ADAS, { id: "ben" });
    await happens(ada, "thief", 'unavailable-id: ID "ben" is taken');
    await start(ada, "stranger", ADAS, { id: "x", key: "other" });
    await happens(ada, "stranger", "invalid-key");
  });

  test("a peer that lost its socket takes its id up again, even while the server believes the old one there", async () => {
    await forget(ben, "b");
    await ben.page.evaluate(() => globalThis.peers.b.peer.disconnect());
    await happens(ben, "b", "disconnected");
    await ben.page.evaluate(() => globalThis.peers.b.peer.reconnect());
    await happens(ben, "b", "open");
    await forget(ben, "b");
    // Another socket of the same peer, as after a network that died without a word.
    await ben.page.evaluate((url) => {
      const token = globalThis.peers.b.peer.options.token;
      globalThis.second = new WebSocket(`${url.replace("http", "ws")}/peerjs/peerjs?key=peerjs&id=ben&token=${token}&version=1`);
    }, at(ADAS));
    await happens(ben, "b", "disconnected");
    await ben.page.evaluate(() => globalThis.peers.b.peer.reconnect());
    await happens(ben, "b", "open");
    await call(ada, "a", "ben");
    await seesMoving(ada, "a", "ben");
    await hangUp(ada, "a");
  });

  test("peers of two regions meet", async () => {
    await opened(ada, "west", ADAS, { id: "west" });
    await opened(ben, "east", BENS, { id: "east" });
    await call(ada, "west", "east");
    await Promise.all([seesMoving(ada, "west", "east"), seesMoving(ben, "east", "west")]);
    await hangUp(ada, "west");
    await talks("west", "east");
    assert.deepEqual((await heard(ben, "east"))[0], ["west", "hello", [1, 2, 3]]);
    await start(ben, "double", BENS, { id: "west" });
    await happens(ben, "double", "unavailable-id");
    await ben.page.evaluate(() => globalThis.peers.east.peer.connect("nobody"));
    await happens(ben, "east", "peer-unavailable");
  });

  test("everybody is listed, whatever node they are at", async () => {
    const id = await ada.page.evaluate(() => globalThis.peers.a.peer.id);
    const all = ["ben", "east", "west", id].sort();
    for (const [person, name] of [[ada, "a"], [ben, "east"]]) {
      // Nodes tell each other of a new one in their own time.
      for (const start = Date.now(); Date.now() - start < 10_000 && (await everybody(person, name)).length !== all.length; ) await new Promise((done) => setTimeout(done, 200));
      assert.deepEqual((await everybody(person, name)).sort(), all);
    }
  });

  test("a peer calls a room, and is a member among those of the web app", async () => {
    eva = await new Person("Eva", { url: at(ADAS) }).open();
    await eva.join("stage");
    await call(ben, "east", "room-stage", { name: "Ben by PeerJS" });
    await seesMoving(ben, "east", "room-stage");
    await eva.seesMoving("Ben by PeerJS");
    await eva.hears("Ben by PeerJS");
    await eva.shot("peerjs-room");
    // One more, at another node, and one who is watched by herself.
    await call(ada, "west", "room-stage");
    await seesMoving(ada, "west", "room-stage");
    await eva.seesMoving("west");
    const identity = await eva.page.evaluate(() => globalThis.weirRoom.local.identity);
    await call(ben, "east", `room-stage ${identity}`);
    await seesMoving(ben, "east", `room-stage ${identity}`);
    assert.deepEqual((await eva.names()).sort(), ["Ben by PeerJS", "Eva", "west"].sort());
    await hangUp(ben, "east");
    await eva.unsee(eva.tile("Ben by PeerJS"));
    await call(ben, "east", "room-stage", { token: "none of ours" });
    await happens(ben, "east", "peer-unavailable: Could not connect to peer room-stage");
    // Who is watched by herself is gone, and the call to her with her.
    await call(ben, "east", `room-stage ${identity}`);
    await seesMoving(ben, "east", `room-stage ${identity}`);
    await forget(ben, "east");
    await Promise.all([hangUp(ada, "west"), eva.close()]);
    await happens(ben, "east", `call closed room-stage ${identity}`);
  });

  test("a node that kept ids dies, and peers of the others go on", async () => {
    await post("/v1/admin/dev/node", { node: dev.regions.find((each) => each.region === THIRD).node, action: "kill" });
    // Whatever home the ids have now, both find each other, and nobody else gets them.
    for (const id of ["one", "two", "three", "four"]) {
      await opened(ben, id, BENS, { id });
      // What was on its way to the dead node is lost.
      await talks("west", id, 5);
    }
    await talks("west", "east");
    await start(ben, "again", BENS, { id: "west" });
    await happens(ben, "again", "unavailable-id");
  });

  test("a peer that is destroyed leaves its id to others", async () => {
    await ben.page.evaluate(() => globalThis.peers.east.peer.destroy());
    // Its node hears of it a moment later.
    for (let free = false; !free; ) {
      await start(ada, "heir", ADAS, { id: "east" });
      await ada.until("an answer", () => globalThis.peers.heir.events.length > 0);
      free = await ada.page.evaluate(() => globalThis.peers.heir.peer.open);
    }
  });
});
