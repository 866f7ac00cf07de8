// The WebSocket of one session: opens it, says hello, pings, notices silence, resumes after a loss, joins anew when the session
// is gone, and at another edge when the own one does not answer. Owns sequence numbers and the requests still waiting for an answer; knows nothing of media or of what a
// message means. `room.js` is its only caller.

import { Edges } from "./edges.js";
import { WeirError } from "./errors.js";

/** @typedef {import("../weir-protocol.js").ClientMessage} ClientMessage */
/** @typedef {import("../weir-protocol.js").ServerMessage} ServerMessage */
/** @typedef {Extract<ServerMessage, { t: "welcome" }>} Welcome */
/** @typedef {Extract<ServerMessage, { t: "leave" }>} Leave */
/** @typedef {{ id: number, body: ClientMessage, sent: boolean, resend: boolean, resolve: () => void, reject: (e: Error) => void }} Pending */

/**
 * What the owner hears.
 * @typedef {object} SignalHandlers
 * @property {(welcome: Welcome, fresh: boolean) => void} onWelcome A room snapshot. `fresh` is false when the same member goes on.
 * @property {(iceServers: import("../weir-protocol.js").IceServer[]) => void} onResumed Missed events were all delivered before this.
 * @property {(message: ServerMessage) => void} onMessage Every other event, in order, each once.
 * @property {() => number | undefined} [frozen] For how long a picture stood since this was asked last, in milliseconds.
 * @property {() => void} onLost The socket is gone; it is being opened again.
 * @property {(error: WeirError) => boolean} onRefused A join was refused; whether another attempt may fare better.
 * @property {(error: WeirError, leave: Leave | null) => void} onClosed For good.
 */

/** A first attempt follows at once; then the wait doubles from this, in milliseconds. */
const BACKOFF_FIRST = 300;
/** Raising it makes a long outage cheaper for the server and recovery slower. */
const BACKOFF_MOST = 5_000;
/** How long a socket may take to open and greet. */
const OPEN_TIMEOUT = 8_000;
/** The same where another edge could be asked instead. */
const OPEN_TIMEOUT_OF_SEVERAL = 3_000;
/** After this long without any edge that takes the member, a refusal is believed. */
const REFUSED_FOR = 30_000;
/** How long an answer may take that is asked for because the media are silent. */
const PROBE = 2_000;
/** Attempts of a first join before the caller is told; a session that was up once tries for ever. */
const FIRST_ATTEMPTS = 3;

export class Signal {
  #edges;
  #token;
  #client;
  #opts;
  #on;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {{ url: string, sid: string, secret: string, lastSeq: number, holdMs: number, pid: string } | null} */
  #session = null;
  /** Where the socket of now leads, and whether it asked for the session back. */
  #url = "";
  #resuming = false;
  /** Greeted, and whatever was missed has been delivered: requests may flow. */
  #ready = false;
  #closed = false;
  #attempts = 0;
  #nextId = 1;
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  /** When the session's socket was lost, to know when it can't be resumed any more. */
  #lostAt = 0;
  #pingMs = 5_000;
  /** Milliseconds; of the last ping. @type {number | null} */
  rtt = null;
  #lastHeard = 0;
  /** The `ts` of the ping whose pong says that a replay is over. @type {number | null} */
  #barrier = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #openTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pingTimer;
  /** @type {import("../weir-protocol.js").IceServer[]} */
  #resumedServers = [];
  #retryNow = () => this.#hurry();

  /**
   * @param {object} setup
   * @param {string} setup.url `ws:` or `wss:`.
   * @param {() => string | Promise<string>} setup.token Asked again for each attempt.
   * @param {string} setup.client
   * @param {import("../weir-protocol.js").HelloOptions} setup.opts
   * @param {string[]} [setup.others] Further edges that may be asked; the ones that greet name their own.
   * @param {boolean} [setup.wasIn] The member was in the room before, so that it is tried for ever.
   * @param {SignalHandlers} setup.on
   */
  constructor({ url, token, client, opts, others = [], wasIn = false, on }) {
    this.#edges = new Edges(url, others);
    if (wasIn) this.#lostAt = Date.now();
    this.#token = token;
    this.#client = client;
    this.#opts = opts;
    this.#on = on;
  }

  open() {
    globalThis.addEventListener?.("online", this.#retryNow);
    void this.#connect();
  }

  /** Every edge that may be asked, the one of now last. */
  get addresses() {
    return [...this.#edges.others, this.#edges.here];
  }

  /** Greeted, and the socket is open. */
  get isUp() {
    return this.#ready && this.#socket !== null;
  }

  /** Closed for good. */
  get isOver() {
    return this.#closed;
  }

  /** The media are silent: is the edge there at all? */
  probe() {
    const socket = this.#socket;
    if (!socket || !this.#ready) return;
    const asked = Date.now();
    this.#ping();
    setTimeout(() => this.#lastHeard < asked && this.#lost(socket), PROBE);
  }

  /** Says goodbye and ends it. Pending requests are rejected; `onClosed` isn't called. */
  close() {
    if (this.#closed) return;
    this.#transmit({ t: "bye" });
    this.#finish(new WeirError("closed", "The room was left."));
  }

  /** Closes the socket as a network fault would; the session goes on. For tests and for the console. */
  dropSocket() {
    const socket = this.#socket;
    if (socket) this.#lost(socket);
  }

  /** Gives the session up and joins as a new member: its media are beyond repair. */
  rejoin() {
    this.#session = null;
    this.dropSocket();
  }

  /**
   * Sends what is only worth something now; dropped while there is no socket.
   * @param {ClientMessage} body
   */
  send(body) {
    if (this.#ready) this.#transmit(body);
  }

  /**
   * Sends and waits for the server's `ack`. Kept over a lost socket and sent again, unless `resend` is false: then it is
   * rejected with `connection_lost`.
   * @param {ClientMessage} body
   * @param {{ resend?: boolean }} [how]
   * @returns {Promise<void>}
   */
  request(body, { resend = true } = {}) {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new WeirError("closed", "The room was left."));
      if (!resend && !this.#ready) return reject(new WeirError("connection_lost", "There is no connection at the moment."));
      const pending = { id: this.#nextId++, body, sent: false, resend, resolve, reject };
      this.#pending.set(pending.id, pending);
      if (this.#ready) this.#transmitRequest(pending);
    });
  }

  async #connect() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#attempts += 1;
    const url = this.#edges.next(this.#attempts, this.#lostAt === 0 ? 0 : Date.now() - this.#lostAt);
    /** @type {string} */
    let token;
    try {
      token = await within(OPEN_TIMEOUT, this.#token());
    } catch (fault) {
      // No token yet may be the same outage that cost the socket; a session that was up once is worth another try.
      if (this.#session) return this.#retryLater();
      const error = fault instanceof WeirError ? fault : new WeirError("unauthorized", "No token could be had.", fault);
      return this.#fail(error, null);
    }
    if (this.#closed || this.#socket) return;
    const socket = new WebSocket(url, "weir.v1");
    this.#socket = socket;
    this.#url = url;
    this.#openTimer = setTimeout(() => this.#lost(socket), this.#edges.others.length > 0 ? OPEN_TIMEOUT_OF_SEVERAL : OPEN_TIMEOUT);
    socket.onopen = () => {
      if (this.#session && Date.now() - this.#lostAt > this.#session.holdMs) this.#session = null;
      // Only the edge that has it can give it back; it is kept in case that one is the next to answer after all.
      const session = this.#session?.url === url ? this.#session : null;
      this.#resuming = session !== null;
      this.#transmit({
        t: "hello",
        token,
        client: this.#client,
        opts: this.#opts,
        ...(session && { resume: { sid: session.sid, secret: session.secret, last_seq: session.lastSeq } }),
      });
    };
    socket.onmessage = (event) => {
      if (this.#socket === socket) this.#hear(event.data);
    };
    socket.onclose = () => this.#lost(socket);
    socket.onerror = () => {};
  }

  /** @param {unknown} data */
  #hear(data) {
    this.#lastHeard = Date.now();
    /** @type {import("../weir-protocol.js").ServerFrame} */
    let frame;
    try {
      frame = JSON.parse(String(data));
    } catch {
      return; // Not ours to mend; the server is at fault, and silence or a later frame will show it.
    }
    const session = this.#session;
    if (frame.seq > 0 && frame.t !== "welcome" && session) {
      if (frame.seq <= session.lastSeq) return; // A replay overlaps what had already arrived.
      session.lastSeq = frame.seq;
    }
    switch (frame.t) {
      case "welcome":
        return this.#welcomed(frame);
      case "resumed":
        if (session) session.secret = frame.secret;
        this.#resumedServers = frame.ice_servers;
        this.#greeted();
        // Frames come in order, so the pong of a ping sent now arrives after everything that was missed.
        this.#barrier = this.#ping();
        return;
      case "ack":
        return this.#settle(frame.id, null);
      case "err":
        return this.#refused(frame);
      case "pong":
        this.rtt = Math.max(0, performance.now() - frame.ts);
        if (this.#barrier !== null && frame.ts >= this.#barrier) {
          this.#barrier = null;
          this.#flush();
          this.#on.onResumed(this.#resumedServers);
        }
        return;
      case "leave":
        return this.#left(frame);
      case "chat":
        this.#settleChat(frame.cid);
        return this.#on.onMessage(frame);
      case "edges":
        this.#edges.learn(this.#at, frame.edges);
        return this.#on.onMessage(frame);
      default:
        return this.#on.onMessage(frame);
    }
  }

  /** @type {import("../weir-protocol.js").Edge | undefined} */
  #at;

  /** @param {Welcome & { seq: number }} welcome */
  #welcomed(welcome) {
    const same = this.#session?.pid === welcome.you.pid;
    this.#at = welcome.edge;
    this.#edges.greeted(this.#url, welcome.edge, welcome.edges);
    this.#session = {
      url: this.#url,
      sid: welcome.sid,
      secret: welcome.secret,
      lastSeq: welcome.seq,
      holdMs: welcome.resume_ms,
      pid: welcome.you.pid,
    };
    this.#pingMs = Math.max(1_000, welcome.ping_ms);
    this.#greeted();
    if (same) for (const { cid } of welcome.chat) this.#settleChat(cid);
    else this.#rejectStale();
    this.#on.onWelcome(welcome, !same);
    this.#flush();
  }

  #greeted() {
    clearTimeout(this.#openTimer);
    this.#attempts = 0;
    clearInterval(this.#pingTimer);
    this.#pingTimer = setInterval(() => {
      const socket = this.#socket;
      if (socket && Date.now() - this.#lastHeard > Math.max(2.5 * this.#pingMs, 6_000)) return this.#lost(socket);
      this.#ping();
    }, this.#pingMs);
  }

  #ping() {
    // Eighths have few digits in decimals and are exact in binary: they survive anybody's JSON.
    const ts = Math.round(performance.now() * 8) / 8;
    const frozen = this.#on.frozen?.();
    this.#transmit({ t: "ping", ts, ...(this.rtt !== null && { rtt: Math.round(this.rtt) }), ...(frozen !== undefined && { frozen_ms: frozen }) });
    return ts;
  }

  #flush() {
    this.#ready = true;
    for (const pending of this.#pending.values()) this.#transmitRequest(pending);
  }

  /** A new member has none of the old one's tracks: only what names nothing of the past can still be said. */
  #rejectStale() {
    for (const pending of [...this.#pending.values()]) {
      const { t } = pending.body;
      if (pending.sent || (t !== "chat" && t !== "hand" && t !== "meta")) {
        this.#settle(pending.id, new WeirError("connection_lost", "The connection was lost before it arrived."));
      }
    }
  }

  /** @param {Extract<ServerMessage, { t: "err" }>} frame */
  #refused(frame) {
    const error = new WeirError(frame.code, frame.msg);
    if (frame.id !== null && frame.id !== undefined && this.#pending.has(frame.id)) return this.#settle(frame.id, error);
    const greeting = this.#session === null || (!this.#ready && this.#barrier === null);
    if (!greeting) return;
    // A session that can't be had back is joined anew. A server that is full or about to stop may not be so for long, for
    // somebody who was in already.
    const passing = this.#lostAt !== 0 && (error.code === "full" || error.code === "internal" || error.code === "rate_limited");
    const others = this.#lostAt !== 0 && this.#edges.others.length > 0 && Date.now() - this.#lostAt < REFUSED_FOR;
    // A server that is full names others: each is asked once.
    const elsewhere = this.#lostAt === 0 && error.code === "full" && this.#attempts <= this.#edges.others.length;
    if (elsewhere) this.#edges.leaving();
    if (this.#resuming || passing || elsewhere || this.#on.onRefused(error) || others) {
      if (this.#resuming) this.#session = null;
      if (this.#socket) this.#lost(this.#socket);
      return;
    }
    this.#fail(error, null);
  }

  /** @param {Leave} leave */
  #left(leave) {
    const socket = this.#socket;
    if (leave.action === "stop") return this.#fail(new WeirError(leave.reason, leave.message), leave);
    if (leave.action === "reconnect") this.#session = null;
    if (leave.reason === "shutdown") this.#edges.leaving();
    if (socket) this.#lost(socket);
  }

  /** @param {WebSocket} socket */
  #lost(socket) {
    if (this.#socket !== socket) return;
    this.#socket = null;
    clearTimeout(this.#openTimer);
    clearInterval(this.#pingTimer);
    socket.onclose = null;
    socket.onmessage = null;
    socket.close();
    if (this.#closed) return;
    const wasUp = this.#ready;
    this.#ready = false;
    this.#barrier = null;
    if (wasUp) this.#lostAt = Date.now();
    for (const pending of [...this.#pending.values()]) {
      if (!pending.resend && pending.sent) this.#settle(pending.id, new WeirError("connection_lost", "The connection was lost."));
    }
    if (wasUp) this.#on.onLost();
    if (!this.#session && !wasUp && this.#lostAt === 0 && this.#attempts >= FIRST_ATTEMPTS) {
      return this.#fail(new WeirError("connection_failed", "The server can't be reached."), null);
    }
    this.#retryLater();
  }

  #retryLater() {
    if (this.#closed || this.#retryTimer !== undefined) return;
    // Where there are several edges, each is asked once before the wait grows.
    const rounds = Math.floor(this.#attempts / (1 + this.#edges.others.length));
    const most = Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** Math.min(rounds, 10));
    // Full jitter keeps a room that lost its server from coming back in one instant. Nothing is gained by waiting at first.
    const wait = this.#attempts === 0 ? Math.random() * 100 : most * (0.3 + 0.7 * Math.random());
    this.#retryTimer = setTimeout(() => void this.#connect(), wait);
  }

  /** The network is back: what was left of the wait is waived. */
  #hurry() {
    if (this.#retryTimer === undefined) return;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    void this.#connect();
  }

  /** @param {ClientMessage} body @param {number} [id] */
  #transmit(body, id) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify(id === undefined ? body : { id, ...body }));
  }

  /** @param {Pending} pending */
  #transmitRequest(pending) {
    pending.sent = true;
    this.#transmit(pending.body, pending.id);
  }

  /**
   * An own message that came back was accepted, though its ack may be lost: sending it again would double it.
   * @param {string} cid
   */
  #settleChat(cid) {
    for (const pending of [...this.#pending.values()]) {
      if (pending.body.t === "chat" && pending.body.cid === cid) this.#settle(pending.id, null);
    }
  }

  /** @param {number} id @param {WeirError | null} error */
  #settle(id, error) {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    if (error) pending.reject(error);
    else pending.resolve();
  }

  /** @param {WeirError} error @param {Leave | null} leave */
  #fail(error, leave) {
    if (this.#closed) return;
    this.#finish(error);
    this.#on.onClosed(error, leave);
  }

  /** @param {WeirError} error */
  #finish(error) {
    this.#closed = true;
    this.#ready = false;
    globalThis.removeEventListener?.("online", this.#retryNow);
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#openTimer);
    clearInterval(this.#pingTimer);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onclose = null;
      socket.onmessage = null;
      socket.close();
    }
    for (const id of [...this.#pending.keys()]) this.#settle(id, error);
  }
}

/**
 * A promise that is waited for no longer than that.
 * @template T @param {number} ms @param {T | Promise<T>} promise @returns {Promise<T>}
 */
function within(ms, promise) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new WeirError("connection_failed", "The server does not answer.")), ms);
    Promise.resolve(promise)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer));
  });
}
