// One presence in one room: joins the socket, the media and the records of who is there, and tells the application. Owns the
// order in which things happen; the parts own how. Public as `Room`, documented in `weir.d.ts`.

import { Calls } from "./calls.js";
import { socketUrl } from "./edges.js";
import { WeirError } from "./errors.js";
import { Media } from "./media.js";
import { LocalMember } from "./members.js";
import { Move } from "./move.js";
import { News, listen } from "./news.js";
import { Pictures } from "./pictures.js";
import { Publisher } from "./publisher.js";
import { Roster } from "./roster.js";
import { Signal } from "./signal.js";
import { Speaker } from "./speaker.js";
import { Stats } from "./stats.js";
import { View } from "./view.js";

/** @import * as api from "../weir.js" */
/** @typedef {import("../weir.js").RoomEvents} RoomEvents */
/** @typedef {import("../weir-protocol.js").ServerMessage} ServerMessage */
/** @typedef {import("../weir-protocol.js").Chat} Chat */

/** An application that takes longer for a token, in milliseconds, while the last one still holds, is not waited for. */
const TOKEN_WITHIN = 1_000;
/** Older messages are the server's or nobody's to remember. */
const CHAT_MOST = 1_000;

/** @implements {api.Room} */
export class Room extends EventTarget {
  /** @type {News<import("../weir.js").RoomEvents>} */
  #news = new News(this);
  #options;
  #signal;
  /** @type {Media | null} */
  #media = null;
  #publisher;
  #speaker = new Speaker(() => this.#news.tell("audioblocked", {}));
  #stats = new Stats();
  #view = new View((report) => {
    for (const signal of [this.#signal, this.#move?.signal]) signal?.send({ t: "view", ...report });
  });
  #pictures = new Pictures();
  #roster;
  /** The session at the next edge, while media come up there. @type {Move | null} */
  #move = null;
  /** @type {{ resolve: () => void, reject: (error: Error) => void } | null} */
  #joining = null;
  #onNetwork = () => this.#media?.restartIce();
  /** @type {RTCIceServer[]} */
  #iceServers = [];

  /** @type {import("../weir.js").RoomState} */
  state = "idle";
  name = "";
  local = new LocalMember();
  /** @type {Chat[]} */
  chat = [];
  /** @type {import("../weir-protocol.js").Edge | null} */
  edge = null;
  /** @type {readonly import("../weir-protocol.js").EdgeAddress[]} */
  edges = [];
  /** @type {number | null} */
  lostAt = null;

  /** @param {import("../weir.js").RoomOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#signal = this.#newSignal(options.url ?? defaultUrl(), this.#signalHandlers());
    this.#roster = new Roster(this.local, {
      mediaOf: (id) => this.#media?.mediaOf(id) ?? null,
      show: (id, media, hold) => this.#pictures.show(id, media, hold),
      tell: (type, detail) => this.#news.tell(type, detail),
      changed: () => this.#news.changed(),
    });
    this.#publisher = new Publisher(this.local, {
      media: () => this.#connection(),
      request: (body) => this.#signal.request(body),
      onChange: (track, what) => this.#news.tell("localtrack", { track, what }),
      onFault: (error) => this.#news.tell("fault", { error }),
    });
    const { ringMs = 30_000, autoMove = true } = options.calls ?? {};
    this.calls = new Calls({
      room: this,
      request: (body, how) => this.#signal.request(body, how),
      iceServers: () => this.#iceServers,
      media: () => this.#media,
      watch: (element, track) => this.#view.watch(element, track, 0),
      relayOnly: options.relayOnly ?? false,
      ringMs,
      autoMove,
    });
  }

  /** What the server sent in place of the token given; short-lived as that. */
  #newerToken = "";
  /** The one that was said last. */
  #usedToken = "";

  /**
   * @param {string} url
   * @param {import("./signal.js").SignalHandlers} on
   * @param {{ others?: string[], wasIn?: boolean }} [how]
   */
  #newSignal(url, on, how = {}) {
    return new Signal({
      url,
      token: () => this.#token(),
      client: this.#options.client ?? "weir.js/0.1.0",
      opts: { auto_subscribe: this.#options.autoSubscribe ?? true, adaptive: this.#options.adaptive ?? true },
      ...how,
      on,
    });
  }

  /** The application's server may be the edge that was lost: then what held a moment ago must do. */
  async #token() {
    const { token } = this.#options;
    if (isFresh(this.#newerToken)) return (this.#usedToken = this.#newerToken);
    const asked = Promise.resolve(typeof token === "function" ? token() : token);
    if (!isFresh(this.#usedToken)) return (this.#usedToken = await asked);
    const before = this.#usedToken;
    const late = new Promise((resolve) => setTimeout(resolve, TOKEN_WITHIN, before));
    return (this.#usedToken = await Promise.race([asked.catch(() => before), late]));
  }

  /** @returns {import("./signal.js").SignalHandlers} */
  #signalHandlers() {
    return {
      onWelcome: (welcome, fresh) => this.#welcomed(welcome, fresh),
      onResumed: (iceServers) => this.#resumed(iceServers),
      onMessage: (message) => this.#hear(message),
      frozen: () => this.#stats.frozen(this.#media?.connection),
      onLost: () => {
        // The next session is on its way already: it replaces this one.
        if (this.#move) return this.#signal.close();
        this.lostAt = Date.now();
        this.#enter("reconnecting");
      },
      onRefused: (error) => {
        // A server that lost its keys, as `weir dev` does, takes no token it gave before; the application's may do.
        const another = error.code === "unauthorized" && this.local.pid !== "" && typeof this.#options.token === "function" && !this.#askedAgain;
        this.#askedAgain = true;
        this.#newerToken = "";
        this.#usedToken = "";
        return another;
      },
      onClosed: (error, leave) => {
        if (this.#move && leave?.reason === "replaced") return;
        this.#ended(error, leave?.reason ?? null);
      },
    };
  }

  /** After a refusal the application's token gets one more chance. */
  #askedAgain = false;

  get members() {
    return this.#roster.members;
  }

  get speakers() {
    return this.#roster.speakers;
  }

  get mediaState() {
    return this.#media?.state ?? "new";
  }

  get rtt() {
    return this.#signal.rtt;
  }

  /** @returns {Promise<void>} */
  connect() {
    if (this.state !== "idle") return Promise.reject(new WeirError("bad_state", "This room was joined before."));
    this.#enter("connecting");
    globalThis.addEventListener("online", this.#onNetwork);
    return new Promise((resolve, reject) => {
      this.#joining = { resolve, reject };
      this.#signal.open();
    });
  }

  leave() {
    if (this.state === "closed") return;
    this.#signal.close();
    this.#ended(new WeirError("left", "You left the room."), "left");
  }

  /**
   * @template {keyof RoomEvents} K
   * @param {K} type
   * @param {(detail: RoomEvents[K]) => void} listener
   */
  on(type, listener) {
    return listen(this, type, listener);
  }

  // ---- publishing ----

  /** @param {boolean} on @param {import("../weir.js").CameraOptions & { media?: MediaStreamTrack }} [options] */
  setCamera(on, options = {}) {
    return this.#publisher.setCamera(on, options);
  }

  /** @param {boolean} on @param {import("../weir.js").MicrophoneOptions & { media?: MediaStreamTrack }} [options] */
  setMicrophone(on, options = {}) {
    return this.#publisher.setMicrophone(on, options);
  }

  /** @param {boolean} on @param {import("../weir.js").ScreenOptions} [options] */
  setScreenShare(on, options = {}) {
    return this.#publisher.setScreenShare(on, options);
  }

  /** @param {MediaStreamTrack} media @param {{ source: import("../weir-protocol.js").Source, name?: string, muted?: boolean, owned?: boolean }} how `owned`: the room stops it. */
  publish(media, how) {
    return this.#publisher.publish(media, how);
  }

  /** @param {import("../weir.js").LocalTrack} track */
  unpublish(track) {
    return this.#publisher.unpublish(this.#own(track));
  }

  /** @param {import("../weir.js").LocalTrack} track @param {boolean} muted */
  setMuted(track, muted) {
    return this.#publisher.setMuted(this.#own(track), muted);
  }

  /** @param {import("../weir.js").LocalTrack} track @param {MediaStreamTrack} media */
  replace(track, media) {
    return this.#publisher.replace(this.#own(track), media);
  }

  /** @param {import("../weir.js").LocalTrack} track */
  #own(track) {
    const own = this.local.tracks.get(track.cid);
    if (!own) throw new WeirError("not_found", "The track is not published.");
    return own;
  }

  // ---- receiving ----

  /**
   * @param {HTMLMediaElement} element
   * @param {import("../weir.js").RemoteTrack} track
   * @param {{ priority?: number }} [options]
   */
  attach(element, track, { priority = 0 } = {}) {
    const detach = this.#pictures.attach(element, track);
    const unwatch = this.#view.watch(element, track.id, priority);
    return () => {
      unwatch();
      detach();
    };
  }

  /** @param {number | null} bps */
  limitDownload(bps) {
    this.#view.limit(bps === null ? null : Math.min(Math.max(0, Math.round(bps)), 0xffffffff));
  }

  /** @param {readonly import("../weir.js").RemoteTrack[]} tracks @param {boolean} on */
  subscribe(tracks, on) {
    return this.#signal.request({ t: "subscribe", tracks: tracks.map(({ id }) => id), on });
  }

  startAudio() {
    return this.#speaker.start();
  }

  /** @param {string} deviceId */
  setAudioOutput(deviceId) {
    return this.#speaker.route(deviceId);
  }

  // ---- talking ----

  /** @param {string} text @param {string} [to] */
  sendChat(text, to) {
    return this.#signal.request({ t: "chat", cid: crypto.randomUUID(), text, ...(to !== undefined && { to }) });
  }

  /** @param {string} emoji */
  async react(emoji) {
    await this.#signal.request({ t: "react", emoji }, { resend: false });
    // The server tells the others only.
    this.#news.tell("reaction", { from: this.local.pid, emoji });
  }

  /** @param {boolean} up */
  async setHand(up) {
    this.local.hand = up;
    this.#news.changed();
    await this.#signal.request({ t: "hand", up });
  }

  /** @param {string} name */
  setName(name) {
    return this.#signal.request({ t: "meta", name });
  }

  /** @param {Record<string, string | null>} attrs */
  setAttributes(attrs) {
    return this.#signal.request({ t: "meta", attrs });
  }

  /** @param {import("../weir-protocol.js").AdminOp} op @param {string} pid */
  admin(op, pid) {
    return this.#signal.request({ t: "admin", op, target: pid });
  }

  /** @param {string | ArrayBuffer | ArrayBufferView<ArrayBuffer>} data */
  sendData(data) {
    const channel = this.#media?.data;
    if (channel?.readyState !== "open") return false;
    // The DOM's overloads can't take a union.
    channel.send(/** @type {any} */ (data));
    return true;
  }

  async stats() {
    const media = this.#connection();
    if (this.#stats.due()) void this.#signal.request({ t: "stats" }, { resend: false }).catch(() => {});
    return this.#stats.sample(
      media.connection,
      (mid) => media.trackAt(mid),
      (mid) => media.sentAt(mid),
      (id) => this.#roster.find(id)?.track.rid ?? null,
    );
  }

  /** @param {"socket" | "ice" | "session" | "move"} fault */
  simulate(fault) {
    if (fault === "socket") this.#signal.dropSocket();
    else if (fault === "session") this.#signal.rejoin();
    else if (fault === "move") this.#migrate(this.edges.find(({ id }) => id !== this.edge?.id)?.url ?? globalThis.location.origin, 10_000);
    else this.#media?.restartIce();
  }

  // ---- what the server says ----

  /** @param {import("./signal.js").Welcome} welcome @param {boolean} fresh */
  #welcomed(welcome, fresh) {
    this.#introduced(welcome);
    if (fresh) this.#renewMedia(welcome);
    else this.#media?.setIceServers(this.#iceServers);
    this.#roster.reconcile(welcome.peers, { patient: fresh });
    for (const message of welcome.chat) this.#addChat(message);
    if (fresh) this.#publisher.republish();
    else this.#media?.resumed();
    // A session made anew lost the hand that was up.
    if (fresh && this.local.hand) void this.setHand(true).catch(() => {});
    this.#up();
    if (fresh) this.calls.renewed();
  }

  /** @param {import("./signal.js").Welcome} welcome */
  #introduced({ room, edge, edges = [], you, ice_servers }) {
    this.#iceServers = rtcServers(ice_servers);
    this.name = room;
    this.edge = edge;
    this.edges = edges;
    this.#askedAgain = false;
    this.local.pid = you.pid;
    this.local.pids.add(you.pid);
    this.local.identity = you.identity;
    this.local.name = you.name;
    this.local.grants = you.grants;
  }

  /** @param {import("../weir-protocol.js").IceServer[]} iceServers */
  #resumed(iceServers) {
    this.#iceServers = rtcServers(iceServers);
    this.#media?.setIceServers(this.#iceServers);
    this.#media?.resumed();
    this.#up();
  }

  #up() {
    this.lostAt = null;
    this.#view.repeat();
    this.#enter("connected");
    this.#joining?.resolve();
    this.#joining = null;
  }

  /** @param {import("./signal.js").Welcome} welcome */
  #renewMedia(welcome) {
    this.#media?.close();
    this.#speaker.clear();
    // The same tracks are about to come from another edge: their last pictures stay until then.
    for (const track of this.#roster.tracks()) this.#roster.bind(track, null, true);
    this.#media = this.#newMedia(welcome, this.#signal, this.#mediaHandlers());
  }

  /**
   * @param {import("./signal.js").Welcome} welcome
   * @param {Signal} signal Of the same session.
   * @param {Omit<import("./media.js").MediaHandlers, "sendOffer">} on May be replaced later, one by one.
   */
  #newMedia(welcome, signal, on) {
    const handlers = /** @type {import("./media.js").MediaHandlers} */ (on);
    handlers.sendOffer = (offer) => signal.request({ t: "offer", ...offer }, { resend: false });
    return new Media({
      iceServers: rtcServers(welcome.ice_servers),
      relayOnly: this.#options.relayOnly ?? false,
      videoCodec: this.#options.videoCodec ?? "vp8",
      red: this.#options.red ?? true,
      on: handlers,
    });
  }

  /** @returns {Omit<import("./media.js").MediaHandlers, "sendOffer">} */
  #mediaHandlers() {
    return {
      onBound: (id, _mid, media) => {
        const found = this.#roster.find(id);
        if (found) this.#roster.bind(found.track, media);
      },
      onAudioSlot: (media, mid) => this.#speaker.add(media, mid),
      onState: (state) => {
        if (state === "disconnected") this.#signal.probe();
        this.#news.tell("mediastate", { state });
      },
      onData: (data) => this.#news.tell("data", { data }),
      onError: (error) => this.#news.tell("fault", { error }),
      onDead: () => this.#signal.rejoin(),
    };
  }

  // ---- moving to another edge ----

  /** @param {string} url @param {number} within Milliseconds until this edge ends the session. */
  #migrate(url, within) {
    if (this.#move || !/^https?:/.test(url)) return;
    const others = this.#signal.addresses;
    let late = false;
    this.#move = new Move({
      within,
      openSignal: (on) => this.#newSignal(socketUrl(url), on),
      openMedia: (welcome, signal, on) => this.#newMedia(welcome, signal, on),
      publish: (media) => {
        this.#view.repeat();
        return this.#publisher.prepare(media);
      },
      shown: () => this.#moving(),
      late: () => (late ||= !this.#signal.isUp),
      onReady: (move) => this.#adopt(move),
      onFailed: () => {
        this.#move = null;
        if (!this.#signal.isOver) return; // Still here; when this edge ends the session, the next of the list is asked.
        this.lostAt = Date.now();
        this.#enter("reconnecting");
        this.#signal = this.#newSignal(others[0] ?? socketUrl(url), this.#signalHandlers(), { others, wasIn: true });
        this.#signal.open();
      },
    });
    this.#news.tell("migrating", { url });
  }

  /** Tracks whose picture is shown and moves. */
  #moving() {
    const moves = (/** @type {import("./members.js").RemoteTrack} */ { id, kind, muted, media, streaming }) =>
      kind === "video" && !muted && media !== null && streaming !== "paused" && this.#pictures.shows(id);
    return this.#roster.tracks().filter(moves).map(({ id }) => id);
  }

  /** The new session takes over. @param {Move} move */
  #adopt(move) {
    const { welcome, media } = move;
    if (!welcome || !media) return;
    const before = { signal: this.#signal, media: this.#media };
    this.#move = null;
    this.#signal = move.signal;
    this.#media = media;
    this.#stats = new Stats();
    Object.assign(move.signalHandlers, this.#signalHandlers());
    Object.assign(move.mediaHandlers, this.#mediaHandlers());
    this.#introduced(welcome);
    this.#roster.reconcile(welcome.peers, { patient: true });
    for (const message of welcome.chat) this.#addChat(message);
    for (const message of move.heard) this.#hear(message);
    for (const track of this.#roster.tracks()) this.#roster.bind(track, media.mediaOf(track.id), true);
    this.#speaker.clear();
    for (const voice of move.voices) this.#speaker.add(voice.media, voice.mid);
    this.#publisher.adopt(move.published);
    if (this.local.hand) void this.setHand(true).catch(() => {});
    before.signal.close();
    before.media?.close();
    this.#news.tell("mediastate", { state: media.state });
    this.#up();
    this.calls.renewed();
  }

  /** @param {ServerMessage} message */
  #hear(message) {
    if (this.#media?.hear(message) || this.calls.hear(message)) return;
    switch (message.t) {
      case "peer_joined":
        return this.#roster.joined(message.peer);
      case "peer_left":
        return this.#roster.left(message.pid, message.reason);
      case "peer_updated":
        return this.#roster.updated(message);
      case "track_added":
        return this.#roster.trackAdded(message.pid, message.track);
      case "track_removed":
        return this.#roster.trackRemoved(message.pid, message.track);
      case "track_muted":
        return this.#roster.muted(message.pid, message.track, message.muted);
      case "stream_state": {
        const found = this.#roster.find(message.track);
        if (!found) return;
        found.track.streaming = message.state;
        found.track.rid = message.rid;
        // A server from before it gave reasons leaves it out.
        found.track.reason = message.reason ?? null;
        return this.#news.tell("streamstate", { track: found.track });
      }
      case "path": {
        const found = this.#roster.find(message.track);
        if (!found) return;
        found.track.path = message.nodes;
        return this.#news.tell("path", { track: found.track });
      }
      case "edges":
        this.edges = message.edges;
        return this.#news.changed();
      case "migrate":
        return this.#migrate(message.url, message.deadline_ms);
      case "speakers":
        return this.#roster.spoke(message.speakers);
      case "quality":
        return this.#roster.rated(message.peers);
      case "stats":
        return this.#stats.hear(message.stats);
      case "chat":
        return this.#addChat(message);
      case "react":
        return this.#news.tell("reaction", { from: message.from, emoji: message.emoji });
      case "mute_request": {
        const track = [...this.local.tracks.values()].find(({ id }) => id === message.track);
        if (!track) return;
        void this.#publisher.setMuted(track, true).catch(() => {});
        return this.#news.tell("muterequest", { track, by: message.by });
      }
      case "token":
        this.#newerToken = message.jwt;
        return;
      default:
        // `welcome`, `resumed`, `leave`, `ack`, `err` and `pong` end in `signal.js`; what a newer server adds is not for us.
        return;
    }
  }

  /** @param {Chat} message */
  #addChat({ id, cid, from, name, to, text, at }) {
    if (this.chat.some((known) => known.id === id)) return;
    const message = { id, cid, from, name, to, text, at };
    this.chat = [...this.chat.slice(1 - CHAT_MOST), message];
    this.#news.tell("chat", { message });
  }

  // ---- state and events ----

  #connection() {
    if (!this.#media) throw new WeirError("bad_state", "Connect to the room first.");
    return this.#media;
  }

  /** @param {WeirError} error @param {import("../weir-protocol.js").LeaveReason | null} reason */
  #ended(error, reason) {
    globalThis.removeEventListener("online", this.#onNetwork);
    this.#move?.cancel();
    this.#move = null;
    this.#publisher.close();
    this.#media?.close();
    this.#speaker.clear();
    this.#view.close();
    this.#pictures.close();
    this.#roster.close();
    this.#enter("closed");
    this.#joining?.reject(error);
    this.#joining = null;
    this.#news.tell("closed", { error, reason });
  }

  /** @param {import("../weir.js").RoomState} state */
  #enter(state) {
    if (this.state === state) return;
    this.state = state;
    this.#news.tell("state", { state });
  }
}

/** Whether a token will hold for a few seconds more. @param {string} jwt */
function isFresh(jwt) {
  try {
    const [, claims = ""] = jwt.split(".");
    const { exp } = JSON.parse(atob(claims.replace(/-/g, "+").replace(/_/g, "/")));
    return exp * 1000 > Date.now() + 10_000;
  } catch {
    return false;
  }
}

function defaultUrl() {
  const { protocol, host } = globalThis.location;
  return `${protocol === "https:" ? "wss" : "ws"}://${host}/v1/ws`;
}

/** @param {import("../weir-protocol.js").IceServer[]} servers @returns {RTCIceServer[]} */
function rtcServers(servers) {
  return servers.map(({ urls, username, credential }) => ({
    urls,
    ...(username !== null && { username }),
    ...(credential !== null && { credential }),
  }));
}
