// The client library's own logic, in Node: the socket's resume against a server made of a few lines, ladders, SDP, layout.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { grid, pageSize } from "../../web/app/layout.js";
import { paged } from "../../web/app/tiles.js";
import { initials } from "../../web/app/avatar.js";
import { ladder, layers, scalable, sendEncodings, withOpusDtx } from "../../web/lib/encodings.js";
import { Edges, socketUrl } from "../../web/lib/edges.js";
import { FILE_MOST, Files } from "../../web/lib/files.js";
import { LocalMember } from "../../web/lib/members.js";
import { Publisher } from "../../web/lib/publisher.js";
import { Roster } from "../../web/lib/roster.js";
import { Signal } from "../../web/lib/signal.js";
import { betterThroughRoom, wayOf } from "../../web/lib/way.js";

/** Stands in for the browser's WebSocket; the test is the server. */
class Socket {
  static OPEN = 1;
  /** @type {Socket[]} */
  static all = [];
  readyState = 0;
  /** @type {any[]} */
  sent = [];
  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    Socket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
  }
  accept() {
    this.readyState = 1;
    this.onopen();
  }
  say(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }
  lose() {
    this.readyState = 3;
    this.onclose?.();
  }
  last(t) {
    return this.sent.filter((frame) => frame.t === t).at(-1);
  }
}

const WELCOME = { seq: 1, t: "welcome", sid: "s1", secret: "k1", room: "r", you: { pid: "m1" }, peers: [], chat: [], ice_servers: [], edge: {}, ping_ms: 5000, resume_ms: 30_000, limits: {} };

describe("the socket of a session", () => {
  let heard, signal;

  /** Lets promises and due timers run. */
  const settle = async (ms = 0) => {
    mock.timers.tick(ms);
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  };
  const socket = () => Socket.all.at(-1);
  const ready = async () => {
    signal.open();
    await settle();
    socket().accept();
    socket().say(WELCOME);
  };
  /** Loses the socket and opens the next. */
  const cut = async () => {
    socket().lose();
    await settle(1_000);
    socket().accept();
  };

  /** Waits out the pause before the next attempt. */
  const reopen = async () => {
    const { length } = Socket.all;
    for (let waited = 0; Socket.all.length === length && waited < 10_000; waited += 100) await settle(100);
    assert.equal(Socket.all.length, length + 1, "another attempt");
    socket().accept();
  };

  beforeEach(() => {
    mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_700_000_000_000 });
    globalThis.WebSocket = Socket;
    Socket.all = [];
    heard = { welcomes: [], messages: [], resumed: 0, lost: 0, again: false, closed: null, token: () => "jwt" };
    signal = new Signal({
      url: "ws://x/v1/ws",
      token: () => heard.token(),
      client: "test/1",
      opts: { auto_subscribe: true, adaptive: true },
      on: {
        onWelcome: (_, fresh) => heard.welcomes.push(fresh),
        onResumed: () => (heard.resumed += 1),
        onMessage: (message) => heard.messages.push(message),
        onLost: () => (heard.lost += 1),
        onRefused: () => heard.again,
        onClosed: (error) => (heard.closed = error),
      },
    });
  });
  afterEach(() => {
    signal.close();
    mock.timers.reset();
  });

  test("says hello first, with the token inside", async () => {
    signal.open();
    await settle();
    assert.equal(socket().protocol, "weir.v1");
    socket().accept();
    assert.deepEqual(socket().sent, [{ t: "hello", token: "jwt", client: "test/1", opts: { auto_subscribe: true, adaptive: true } }]);
  });

  test("resumes with the last sequence number, and delivers what is replayed once", async () => {
    await ready();
    socket().say({ seq: 2, t: "hand" });
    await cut();
    assert.equal(heard.lost, 1);
    assert.deepEqual(socket().last("hello").resume, { sid: "s1", secret: "k1", last_seq: 2 });
    socket().say({ seq: 0, t: "resumed", secret: "k2", ice_servers: [] });
    socket().say({ seq: 2, t: "hand" });
    socket().say({ seq: 3, t: "react" });
    assert.equal(heard.resumed, 0, "what was missed comes before the word that all is well");
    socket().say({ seq: 0, t: "pong", ts: socket().last("ping").ts });
    assert.equal(heard.resumed, 1);
    assert.deepEqual(heard.messages.map(({ seq }) => seq), [2, 3]);
    await cut();
    assert.equal(socket().last("hello").resume.secret, "k2", "the secret rotates");
    assert.equal(socket().last("hello").resume.last_seq, 3);
  });

  test("a request that was not acknowledged is made again, a message that came back is not", async () => {
    await ready();
    const [first, second] = ["one", "two"].map((cid) => signal.request({ t: "chat", cid, text: cid }));
    await cut();
    const third = signal.request({ t: "hand", up: true });
    socket().say({ seq: 0, t: "resumed", secret: "k2", ice_servers: [] });
    assert.equal(socket().last("chat"), undefined, "nothing is said again before the replay is over");
    socket().say({ seq: 2, t: "chat", cid: "one", id: "c1" });
    socket().say({ seq: 0, t: "pong", ts: socket().last("ping").ts });
    await first;
    assert.deepEqual(socket().sent.filter(({ t }) => t === "chat").map(({ cid }) => cid), ["two"]);
    socket().say({ seq: 0, t: "ack", id: socket().last("chat").id });
    socket().say({ seq: 0, t: "ack", id: socket().last("hand").id });
    await Promise.all([second, third]);
  });

  test("an offer is not repeated blindly", async () => {
    await ready();
    const offer = signal.request({ t: "offer", neg: 1, sdp: "", tracks: [] }, { resend: false });
    socket().lose();
    await assert.rejects(offer, { code: "connection_lost" });
    await assert.rejects(signal.request({ t: "offer", neg: 2, sdp: "", tracks: [] }, { resend: false }), { code: "connection_lost" });
  });

  test("a refusal rejects the request that it names", async () => {
    await ready();
    const request = signal.request({ t: "admin", op: "remove", target: "m2" });
    socket().say({ seq: 0, t: "err", id: socket().last("admin").id, code: "forbidden", msg: "not yours to say" });
    await assert.rejects(request, { code: "forbidden", message: "not yours to say" });
  });

  test("a session held no longer is not asked for", async () => {
    await ready();
    socket().lose();
    for (let waited = 0; waited < 40_000; waited += 2_000) {
      await settle(2_000);
      socket().lose();
    }
    await settle(10_000);
    socket().accept();
    assert.equal(socket().last("hello").resume, undefined);
    socket().say({ ...WELCOME, sid: "s2", you: { pid: "m2" } });
    assert.deepEqual(heard.welcomes, [true, true]);
  });

  test("a snapshot for the same member goes on, one for a new member starts anew", async () => {
    await ready();
    await cut();
    socket().say({ ...WELCOME, seq: 40, secret: "k2" });
    assert.deepEqual(heard.welcomes, [true, false]);
    const stale = signal.request({ t: "mute", track: "t1", muted: true });
    await cut();
    socket().say({ ...WELCOME, sid: "s2", you: { pid: "m2" } });
    await assert.rejects(stale, { code: "connection_lost" });
    assert.deepEqual(heard.welcomes, [true, false, true]);
  });

  test("silence is a loss", async () => {
    await ready();
    const old = socket();
    for (let waited = 0; waited < 20_000; waited += 1_000) await settle(1_000);
    assert.equal(heard.lost, 1);
    assert.notEqual(socket(), old);
  });

  test("a stop is the end; a first join that can't connect says so", async () => {
    await ready();
    socket().say({ seq: 0, t: "leave", reason: "removed", action: "stop", message: "bye" });
    assert.equal(heard.closed.code, "removed");
    await settle(60_000);
    assert.equal(Socket.all.length, 1);
  });

  test("a first join gives up after a few attempts", async () => {
    signal.open();
    for (let attempt = 0; attempt < 10 && !heard.closed; attempt += 1) {
      await settle(5_000);
      socket().lose();
    }
    assert.equal(heard.closed.code, "connection_failed");
    assert.equal(Socket.all.length, 3);
  });

  test("a wrong token is not tried again", async () => {
    signal.open();
    await settle();
    socket().accept();
    socket().say({ seq: 0, t: "err", id: null, code: "unauthorized", msg: "expired" });
    assert.equal(heard.closed.code, "unauthorized");
  });

  test("a wrong token is tried again if there is another", async () => {
    heard.again = true;
    signal.open();
    await settle();
    socket().accept();
    socket().say({ seq: 0, t: "err", id: null, code: "unauthorized", msg: "expired" });
    heard.again = false;
    await reopen();
    assert.equal(Socket.all.length, 2);
    socket().say(WELCOME);
    assert.deepEqual([heard.welcomes, heard.closed], [[true], null]);
  });

  test("who was in already waits for a full server", async () => {
    await ready();
    socket().say({ seq: 0, t: "leave", reason: "shutdown", action: "reconnect", message: "" });
    for (let attempt = 0; attempt < 3; attempt += 1) {
      await reopen();
      assert.equal(socket().last("hello").resume, undefined);
      socket().say({ seq: 0, t: "err", id: null, code: "full", msg: "about to stop" });
    }
    assert.equal(heard.closed, null);
    await reopen();
    socket().say({ ...WELCOME, you: { pid: "m9" } });
    assert.deepEqual(heard.welcomes, [true, true]);
  });

  test("a pong may come back a hair off: not every JSON keeps all the digits of a number", async () => {
    await ready();
    await cut();
    socket().say({ seq: 0, t: "resumed", secret: "k2", ice_servers: [] });
    const { ts } = socket().last("ping");
    assert.equal(ts * 8, Math.round(ts * 8), "few enough to survive");
    socket().say({ seq: 0, t: "pong", ts: ts - 1 });
    assert.equal(heard.resumed, 0, "one from before");
    socket().say({ seq: 0, t: "pong", ts: ts * (1 + Number.EPSILON) });
    assert.equal(heard.resumed, 1);
  });

  test("a token that never comes does not hold up the next attempt", async () => {
    await ready();
    heard.token = () => new Promise(() => {});
    socket().lose();
    await settle(1_000);
    assert.equal(Socket.all.length, 1);
    heard.token = () => "jwt";
    await settle(10_000);
    await settle(10_000);
    assert.ok(Socket.all.length > 1);
  });

  describe("with other edges", () => {
    const EDGES = [
      { id: "fra", region: "eu", url: "http://x" },
      { id: "sin", region: "asia", url: "http://sin" },
      { id: "ber", region: "eu", url: "https://ber/" },
    ];
    const there = async () => {
      signal.open();
      await settle();
      socket().accept();
      socket().say({ ...WELCOME, edge: { id: "fra", region: "eu" }, edges: EDGES });
    };
    /** The address of the next attempt. */
    const next = async () => {
      const { length } = Socket.all;
      for (let waited = 0; Socket.all.length === length && waited < 10_000; waited += 50) await settle(50);
      return socket().url;
    };

    test("two attempts at the own edge, then the others, near ones first, and the own one again", async () => {
      await there();
      const start = Date.now();
      const asked = [];
      for (let attempt = 0; attempt < 6; attempt += 1) {
        socket().lose();
        asked.push(await next());
      }
      assert.deepEqual(asked, ["ws://x/v1/ws", "ws://x/v1/ws", "wss://ber/v1/ws", "ws://sin/v1/ws", "ws://x/v1/ws", "wss://ber/v1/ws"]);
      assert.ok(Date.now() - start < 4_000, `${Date.now() - start} ms`);
    });

    test("an edge that swallows everything is given up after a moment", async () => {
      await there();
      socket().lose();
      assert.equal(await next(), "ws://x/v1/ws");
      const start = Date.now();
      assert.equal(await next(), "wss://ber/v1/ws");
      assert.ok(Date.now() - start < 4_000, `${Date.now() - start} ms`);
    });

    test("the session is asked back only where it was, and joined anew elsewhere", async () => {
      await there();
      socket().lose();
      await next();
      socket().lose();
      await next();
      socket().lose();
      await next();
      socket().accept();
      assert.equal(socket().last("hello").resume, undefined, "another edge has no such session");
      socket().lose();
      await next();
      socket().lose();
      assert.equal(await next(), "ws://x/v1/ws");
      socket().accept();
      assert.equal(socket().last("hello").resume.sid, "s1", "it was the network after all");
    });

    test("who joined elsewhere stays there", async () => {
      await there();
      for (let attempt = 0; attempt < 3; attempt += 1) {
        socket().lose();
        await next();
      }
      socket().accept();
      socket().say({ ...WELCOME, sid: "s2", you: { pid: "m2" }, edge: { id: "ber", region: "eu" }, edges: EDGES });
      assert.deepEqual(heard.welcomes, [true, true]);
      socket().lose();
      assert.equal(await next(), "wss://ber/v1/ws");
      socket().accept();
      assert.equal(socket().last("hello").resume.sid, "s2");
    });

    test("an edge that says it stops is asked last", async () => {
      await there();
      socket().say({ seq: 0, t: "leave", reason: "shutdown", action: "reconnect", message: "" });
      assert.equal(await next(), "wss://ber/v1/ws");
      socket().lose();
      assert.equal(await next(), "ws://sin/v1/ws");
      socket().lose();
      assert.equal(await next(), "ws://x/v1/ws");
    });

    test("an edge that refuses does not end the call while there are others", async () => {
      await there();
      socket().say({ seq: 0, t: "leave", reason: "shutdown", action: "reconnect", message: "" });
      await next();
      socket().accept();
      socket().say({ seq: 0, t: "err", id: null, code: "unauthorized", msg: "another key" });
      assert.equal(heard.closed, null);
      assert.equal(await next(), "ws://sin/v1/ws");
    });

    test("a newer list replaces the one before", async () => {
      await there();
      socket().say({ seq: 2, t: "edges", edges: EDGES.slice(0, 2) });
      socket().say({ seq: 0, t: "leave", reason: "shutdown", action: "reconnect", message: "" });
      assert.equal(await next(), "ws://sin/v1/ws");
    });

    test("an edge whose media are silent is asked whether it is there", async () => {
      await there();
      signal.probe();
      socket().say({ seq: 0, t: "pong", ts: socket().last("ping").ts });
      await settle(2_500);
      assert.equal(heard.lost, 0);
      await settle(100);
      signal.probe();
      await settle(2_500);
      assert.equal(heard.lost, 1);
    });

    test("addresses that are none are left out", () => {
      const edges = new Edges("ws://x/v1/ws");
      edges.greeted("ws://x/v1/ws", { id: "a", region: "eu" }, [{ id: "b", region: "eu", url: "javascript:alert(1)" }, { id: "c", region: "eu", url: "https://c" }]);
      assert.deepEqual(edges.others, ["wss://c/v1/ws"]);
      assert.equal(socketUrl("http://localhost:8080/"), "ws://localhost:8080/v1/ws");
    });
  });

  test("frames that are no JSON hurt nobody", async () => {
    await ready();
    socket().onmessage({ data: "{" });
    socket().say({ seq: 2, t: "something_new" });
    assert.equal(heard.messages.length, 1);
  });
});

describe("who is in the room", () => {
  const camera = { id: "t1", kind: "video", source: "camera", name: "", muted: false, layers: [], path: [] };
  const ben = (pid, tracks = [camera]) => ({ pid, identity: "ben", name: "Ben", attrs: {}, node: "e1", region: "eu", hand: false, away: false, tracks });
  let roster, told, reasons;

  beforeEach(() => {
    mock.timers.enable({ apis: ["setTimeout"] });
    told = [];
    reasons = [];
    roster = new Roster(new LocalMember(), {
      mediaOf: () => null,
      show: (id, media, hold) => told.push(`${media ? "shows" : hold ? "holds" : "clears"} ${id}`),
      tell: (type, { member, reason }) => {
        if (/^member(joined|left)$/.test(type)) told.push(`${type} ${member.pid}`);
        if (reason) reasons.push(reason);
      },
      changed: () => {},
    });
    roster.joined(ben("m1"));
    roster.bind(roster.find("t1").track, /** @type {any} */ ({}));
    told.length = 0;
  });
  afterEach(() => {
    roster.close();
    mock.timers.reset();
  });

  test("whoever is replaced stays until the newer session is told of, and then is one person at every moment", () => {
    roster.left("m1", "replaced");
    assert.deepEqual([...roster.members.keys()], ["m1"]);
    // The server takes the slot away meanwhile.
    roster.bind(roster.find("t1").track, null);
    mock.timers.tick(500);
    roster.joined(ben("m2", []));
    assert.deepEqual([...roster.members.keys()], ["m2"]);
    assert.deepEqual(told, ["holds t1", "memberleft m1", "memberjoined m2"]);
    mock.timers.tick(60_000);
    assert.equal(roster.members.size, 1);
  });

  test("whoever is replaced and does not come is gone after a second", () => {
    roster.left("m1", "replaced");
    roster.left("m1", "replaced");
    mock.timers.tick(1_000);
    assert.deepEqual([told.at(-1), roster.members.size], ["memberleft m1", 0]);
  });

  test("whoever leaves is gone at once, also when they were replaced before", () => {
    roster.left("m1", "replaced");
    roster.left("m1", "left");
    assert.deepEqual([told.at(-1), roster.members.size], ["memberleft m1", 0]);
  });

  test("whoever is there under another name of session in a snapshot went nowhere", () => {
    for (const patient of [false, true]) {
      const [before, after] = patient ? ["m2", "m3"] : ["m1", "m2"];
      told.length = 0;
      roster.reconcile([ben(after, [])], { patient });
      assert.deepEqual([...roster.members.keys()], [after]);
      assert.deepEqual(told.filter((each) => each.startsWith("member")), [`memberleft ${before}`, `memberjoined ${after}`]);
      assert.deepEqual(reasons.splice(0), ["replaced"]);
    }
  });

  test("a camera that is turned off leaves no picture of somebody who stays", () => {
    roster.bind(roster.find("t1").track, null);
    assert.deepEqual(told, ["clears t1"]);
  });
});

describe("what one publishes", () => {
  test("is muted or not as was said last, also while the server had no name for it", async () => {
    const media = /** @type {any} */ (Object.assign(new EventTarget(), { kind: "audio", enabled: true, readyState: "live", stop: () => {} }));
    const local = new LocalMember();
    local.grants = { ...local.grants, publish: true };
    const asked = [];
    let answer;
    const connection = { publish: () => new Promise((done) => (answer = done)), setMuted: () => {}, unpublish: () => {} };
    const publisher = new Publisher(local, {
      media: () => /** @type {any} */ (connection),
      request: async (body) => void asked.push(body),
      onChange: () => {},
      onFault: () => {},
    });
    const published = publisher.publish(media, { source: "microphone", muted: true });
    await publisher.setMicrophone(true, {});
    answer("t1");
    const track = await published;
    assert.deepEqual(asked, [{ t: "mute", track: "t1", muted: false }]);
    // And on the connection that follows.
    publisher.republish();
    await publisher.setMicrophone(false, {});
    answer("t2");
    await new Promise((done) => setTimeout(done));
    assert.deepEqual([track.id, asked.at(-1)], ["t2", { t: "mute", track: "t2", muted: true }]);
    await publisher.setMicrophone(true, {});
    assert.deepEqual([asked.length, asked.at(-1)], [3, { t: "mute", track: "t2", muted: false }]);
  });
});

describe("how tracks are encoded", () => {
  test("a large camera has three layers, a small one fewer, smallest first", () => {
    for (const [width, height, rids] of [[1280, 720, "qhf"], [960, 540, "qhf"], [640, 360, "qh"], [720, 1280, "qhf"], [320, 180, "q"]]) {
      assert.equal(ladder("camera", width, height).map(({ rid }) => rid).join(""), rids, `${width}x${height}`);
    }
    const [q, h, f] = ladder("camera", 1280, 720);
    assert.deepEqual([q.scale, h.scale, f.scale], [4, 2, 1]);
    assert.deepEqual([q.maxBitrate, h.maxBitrate, f.maxBitrate], [150_000, 500_000, 1_700_000]);
  });

  test("one layer has no rid, neither in the encodings nor in what is announced", () => {
    const rungs = ladder("camera", 320, 180);
    assert.equal("rid" in sendEncodings(rungs, "vp8")[0], false);
    assert.equal(layers(rungs, { width: 320, height: 180 })[0].rid, null);
  });

  test("VP9 simulcast is not mistaken for SVC", () => {
    for (const encoding of sendEncodings(ladder("camera", 1280, 720), "vp9")) assert.equal(encoding.scalabilityMode, "L1T1");
    for (const encoding of sendEncodings(ladder("camera", 1280, 720), "vp8")) assert.equal(encoding.scalabilityMode, "L1T3");
    assert.equal("scalabilityMode" in sendEncodings(ladder("camera", 1280, 720), "h264")[0], false);
  });

  test("a camera in VP9 or AV1 is one stream of spatial layers where the browser keeps the mode", () => {
    const rungs = ladder("camera", 1280, 720);
    assert.equal(scalable(rungs, "camera", "vp8"), rungs);
    assert.equal(scalable(rungs, "screen_share", "vp9"), rungs);
    const before = globalThis.RTCPeerConnection;
    try {
      globalThis.RTCPeerConnection = class {
        addTransceiver(_kind, { sendEncodings }) {
          return { sender: { getParameters: () => ({ encodings: sendEncodings }) } };
        }
        close() {}
      };
      const one = scalable(rungs, "camera", "vp9");
      assert.deepEqual(one.map(({ scale, spatial, maxBitrate }) => [scale, spatial, maxBitrate]), [[1, 3, 2_350_000]]);
      const [encoding] = sendEncodings(one, "vp9");
      assert.deepEqual([encoding.scalabilityMode, "rid" in encoding], ["L3T3_KEY", false]);
      assert.equal(scalable(ladder("camera", 320, 180), "camera", "av1")[0].spatial, undefined);
    } finally {
      globalThis.RTCPeerConnection = before;
    }
  });

  test("DTX is asked for on microphones only, once", () => {
    const line = (mid) => `m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:${mid}\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n`;
    const sdp = `v=0\r\n${line("0")}${line("1")}`;
    const once = withOpusDtx(sdp, new Set(["1"]));
    assert.equal(once, sdp.replace(/(.*)useinbandfec=1/s, "$1useinbandfec=1;usedtx=1"));
    assert.equal(withOpusDtx(once, new Set(["1"])), once);
    const bare = "m=audio 9 X 96\r\na=mid:1\r\na=rtpmap:96 opus/48000/2\r\n";
    assert.match(withOpusDtx(bare, new Set(["1"])), /a=fmtp:96 usedtx=1\r\n$/);
  });
});

describe("where tiles go", () => {
  test("any number fits, and none is cut off", () => {
    for (let count = 1; count <= 30; count += 1) {
      for (const [width, height] of [[1280, 700], [390, 700], [800, 300], [300, 900]]) {
        const cells = grid(count, width, height, 8);
        assert.ok(cells.columns * cells.rows >= count);
        assert.ok(cells.columns * (cells.width + 8) - 8 <= width && cells.rows * (cells.height + 8) - 8 <= height, `${count} in ${width}x${height}`);
        const shape = cells.width / cells.height;
        assert.ok(shape > 0.7 && shape < 1.85, `${count} in ${width}x${height}: ${shape}`);
      }
    }
    assert.equal(grid(2, 1280, 600, 8).columns, 2);
    assert.equal(grid(2, 390, 800, 8).columns, 1, "on a phone they are stacked");
  });

  test("whoever speaks on a later page takes the place of the quietest", () => {
    const tiles = Array.from({ length: 10 }, (_, index) => ({ key: `m${index}`, pid: `m${index}`, local: index === 0, what: "camera" }));
    const keys = (spoke) => paged(tiles, 4, 0, new Map(spoke)).map(({ key }) => key);
    assert.deepEqual(keys([]), ["m0", "m1", "m2", "m3"]);
    assert.deepEqual(keys([["m1", 5], ["m2", 6], ["m8", 7]]), ["m0", "m1", "m2", "m8"]);
    const all = [0, 1, 2].flatMap((page) => paged(tiles, 4, page, new Map([["m8", 7]])).map(({ key }) => key));
    assert.equal(new Set(all).size, 10, "nobody is on two pages or on none");
    assert.ok(pageSize(390, 700) <= 8 && pageSize(1280, 700) > 12);
  });

  test("initials", () => {
    for (const [name, wanted] of [["Ada Lovelace", "AL"], ["Ada", "A"], ["  élodie de marchand ", "ÉM"], ["", "?"], ["👩‍🚀 Sally", "👩S"]]) assert.equal(initials(name), wanted);
  });
});

describe("the way of a call", () => {
  const pair = (local, remote, more = {}) => [
    { id: "T", type: "transport", selectedCandidatePairId: "P" },
    { id: "P", type: "candidate-pair", localCandidateId: "L", remoteCandidateId: "R", currentRoundTripTime: 0.12 },
    { id: "L", type: "local-candidate", candidateType: local, protocol: "udp", ...more },
    { id: "R", type: "remote-candidate", candidateType: remote },
  ];

  test("is read from what the browser counts", () => {
    assert.deepEqual(wayOf(pair("host", "srflx")), { relayed: false, bothRelayed: false, rttMs: 120, protocol: "udp" });
    assert.deepEqual(wayOf(pair("relay", "prflx", { relayProtocol: "tls" })), { relayed: true, bothRelayed: false, rttMs: 120, protocol: "tcp" });
    assert.equal(wayOf(pair("relay", "relay"))?.bothRelayed, true);
    // Firefox names no pair on the transport.
    const [, chosen, ...ends] = pair("host", "relay");
    assert.equal(wayOf([{ ...chosen, nominated: true, state: "succeeded" }, ...ends])?.relayed, true);
    assert.equal(wayOf([]), null);
    assert.equal(wayOf(pair("host", "host").slice(0, 3)), null);
  });

  test("is left for the room where that is clearly better", () => {
    const way = (rttMs, relayed = false, bothRelayed = false) => ({ relayed, bothRelayed, rttMs, protocol: /** @type {const} */ ("udp") });
    const near = { own: 20, theirs: 30, sameEdge: true };
    assert.ok(betterThroughRoom({ way: way(10, true, true), own: null, theirs: null, sameEdge: false }), "two relays are two servers already");
    assert.ok(betterThroughRoom({ way: way(300), ...near }));
    assert.ok(!betterThroughRoom({ way: way(90), ...near }), "a little longer is no reason");
    assert.ok(!betterThroughRoom({ way: way(300), own: 200, theirs: 90, sameEdge: true }));
    assert.ok(!betterThroughRoom({ way: way(300), ...near, sameEdge: false }), "how far the edges are apart is not known");
    for (const unknown of [{ way: null, ...near }, { way: way(null), ...near }, { way: way(300), ...near, theirs: null }]) assert.ok(!betterThroughRoom(unknown));
  });
});

describe("files of a call", () => {
  /** Two channels that are each other's other end. */
  function ends() {
    const channel = () =>
      Object.assign(new EventTarget(), {
        readyState: "open",
        bufferedAmount: 0,
        bufferedAmountLowThreshold: 0,
        sent: [],
        send(data) {
          this.sent.push(data);
          queueMicrotask(() => this.other.onmessage?.({ data: data instanceof Uint8Array ? data.buffer : data }));
        },
      });
    const [here, there] = [channel(), channel()];
    here.other = there;
    there.other = here;
    return { here, there };
  }
  const quiet = { offered: () => {}, changed: () => {} };

  test("arrive as they were sent, and several at once", async () => {
    const { here, there } = ends();
    const sender = new Files(here, quiet);
    const got = [];
    new Files(there, { ...quiet, offered: (transfer) => (got.push(transfer), transfer.accept()) });
    const texts = ["", "x".repeat(100_000), "the end"];
    const sent = texts.map((text, index) => sender.send(new Blob([text]), `file ${index}`));
    assert.deepEqual(await Promise.all(sent.map(({ finished }) => finished)), ["done", "done", "done"]);
    assert.deepEqual(await Promise.all(got.map(({ blob }) => blob.text())), texts);
    assert.equal(sender.busy, false);
  });

  test("an other end that breaks the rules gets nowhere", () => {
    const { here, there } = ends();
    const offered = [];
    new Files(here, { ...quiet, offered: (transfer) => offered.push(transfer) });
    const say = (words) => here.onmessage({ data: typeof words === "string" ? words : JSON.stringify(words) });
    const chunk = (id, bytes) => {
      const data = new Uint8Array(4 + bytes);
      new DataView(data.buffer).setUint32(0, id);
      here.onmessage({ data: data.buffer });
    };
    for (const odd of ["", "[", "null", "7", { t: "accept", id: 1 }, { t: "done", id: 1 }, { t: "stop" }, { t: "offer" }]) say(odd);
    for (const size of [-1, 0.5, "9", FILE_MOST + 1, null]) say({ t: "offer", id: 1, name: "a", size });
    assert.equal(offered.length, 0);
    say({ t: "offer", id: 1, name: "../../etc/\u202Epasswd\u0000", size: 10, type: 5 });
    assert.equal(offered[0].name, "....etcpasswd");
    chunk(1, 5);
    assert.equal(offered[0].bytes, 0, "not accepted yet");
    offered[0].accept();
    chunk(1, 5);
    chunk(2, 5);
    here.onmessage({ data: new ArrayBuffer(2) });
    chunk(1, 6);
    assert.equal(offered[0].state, "stopped", "more than was offered");
    for (let id = 10; id < 100; id += 1) say({ t: "offer", id, name: "n", size: 1 });
    assert.equal(offered.length, 1 + 16);
    assert.equal(there.sent.length, 0);
  });

  test("names and kinds that are no text harm nothing", () => {
    const { here } = ends();
    const offered = [];
    new Files(here, { ...quiet, offered: (transfer) => offered.push(transfer) });
    const say = (text) => here.onmessage({ data: text });
    say('{"t":"offer","id":1,"name":{"toString":1,"valueOf":1},"size":1,"type":{"toString":1}}');
    say('{"t":"stop","id":{"valueOf":1,"toString":1}}');
    say(JSON.stringify({ t: "offer", id: 2, name: "a\u2028b\u2029\r\nc\\..\\d", size: 1 }));
    assert.deepEqual(offered.map(({ name }) => name), ["file", "abc..d"]);
  });

  test("what comes in chunks of a byte takes no more memory than the file", async () => {
    setFlagsFromString("--expose-gc");
    const held = () => {
      runInNewContext("gc")();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      return heapUsed + arrayBuffers;
    };
    const { here } = ends();
    const offered = [];
    new Files(here, { ...quiet, offered: (transfer) => offered.push(transfer) });
    const size = 200_000;
    here.onmessage({ data: JSON.stringify({ t: "offer", id: 1, name: "slow", size }) });
    offered[0].accept();
    const before = held();
    const chunk = (...bytes) => here.onmessage({ data: Uint8Array.of(0, 0, 0, 1, ...bytes).buffer });
    for (let at = 0; at < size - 1; at += 1) {
      chunk(at % 251);
      chunk();
    }
    const more = held() - before;
    assert.ok(more < 2_000_000, `${more} bytes are held`);
    chunk((size - 1) % 251);
    assert.equal(await offered[0].finished, "done");
    assert.ok(new Uint8Array(await offered[0].blob.arrayBuffer()).every((byte, at) => byte === at % 251));
  });
});
