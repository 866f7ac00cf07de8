// One presence in one room: joins the socket, the media and the records of who is there, and tells the application. Owns the
// order in which things happen; the parts own how. Public as `Room`, documented in `weir.d.ts`.

import { WeirError } from "./errors.js";
import { Media } from "./media.js";
import { LocalMember, Member, RemoteTrack } from "./members.js";
import { Publisher } from "./publisher.js";
import { Signal } from "./signal.js";
import { Speaker } from "./speaker.js";
import { Stats } from "./stats.js";
import { View } from "./view.js";

/** @import * as api from "../weir.js" */
/** @typedef {import("../weir.js").RoomEvents} RoomEvents */
/** @typedef {import("../weir-protocol.js").ServerMessage} ServerMessage */
/** @typedef {import("../weir-protocol.js").Chat} Chat */

/** Renders at most this often, in milliseconds. */
const CHANGE_EVERY = 16;
/** Older messages are the server's or nobody's to remember. */
const CHAT_MOST = 1_000;

/** @implements {api.Room} */
export class Room extends EventTarget {
  #options;
  #signal;
  /** @type {Media | null} */
  #media = null;
  #publisher;
  #speaker = new Speaker(() => this.#tell("audioblocked", {}));
  #stats = new Stats();
  #view = new View((items) => this.#signal.send({ t: "view", items }));
  /** Elements that show a track, by its id. @type {Map<string, Set<HTMLMediaElement>>} */
  #attached = new Map();
  /** @type {{ resolve: () => void, reject: (error: Error) => void } | null} */
  #joining = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #changeTimer;
  #onNetwork = () => this.#media?.restartIce();

  /** @type {import("../weir.js").RoomState} */
  state = "idle";
  name = "";
  local = new LocalMember();
  /** @type {Map<string, Member>} */
  members = new Map();
  /** @type {Chat[]} */
  chat = [];
  /** @type {import("../weir-protocol.js").Speaker[]} */
  speakers = [];
  /** @type {import("../weir-protocol.js").Edge | null} */
  edge = null;
  /** @type {number | null} */
  lostAt = null;

  /** @param {import("../weir.js").RoomOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    const { token } = options;
    this.#signal = new Signal({
      url: options.url ?? defaultUrl(),
      token: () => (isFresh(this.#newerToken) ? this.#newerToken : typeof token === "function" ? token() : token),
      client: options.client ?? "weir.js/0.1.0",
      opts: { auto_subscribe: options.autoSubscribe ?? true, adaptive: options.adaptive ?? true },
      on: {
        onWelcome: (welcome, fresh) => this.#welcomed(welcome, fresh),
        onResumed: (iceServers) => this.#resumed(iceServers),
        onMessage: (message) => this.#hear(message),
        onLost: () => {
          this.lostAt = Date.now();
          this.#enter("reconnecting");
        },
        onRefused: (error) => {
          // A server that lost its keys, as `weir dev` does, takes no token it gave before; the application's may do.
          const another = error.code === "unauthorized" && this.#newerToken !== "" && typeof token === "function";
          this.#newerToken = "";
          return another;
        },
        onClosed: (error, leave) => this.#ended(error, leave?.reason ?? null),
      },
    });
    this.#publisher = new Publisher(this.local, {
      media: () => this.#connection(),
      request: (body) => this.#signal.request(body),
      onChange: (track, what) => this.#tell("localtrack", { track, what }),
      onFault: (error) => this.#tell("fault", { error }),
    });
  }

  /** What the server sent in place of the token given; short-lived as that. */
  #newerToken = "";

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
    /** @param {Event} event */
    const heard = (event) => listener(/** @type {CustomEvent<RoomEvents[K]>} */ (event).detail);
    this.addEventListener(type, heard);
    return () => this.removeEventListener(type, heard);
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

  /** @param {MediaStreamTrack} media @param {{ source: import("../weir-protocol.js").Source, name?: string, muted?: boolean }} how */
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
    const elements = this.#attached.get(track.id) ?? new Set();
    this.#attached.set(track.id, elements.add(element));
    show(element, track.media);
    const unwatch = this.#view.watch(element, track.id, priority);
    return () => {
      unwatch();
      elements.delete(element);
      if (elements.size === 0 && this.#attached.get(track.id) === elements) this.#attached.delete(track.id);
    };
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
    this.#tell("reaction", { from: this.local.pid, emoji });
  }

  /** @param {boolean} up */
  async setHand(up) {
    this.local.hand = up;
    this.#changed();
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
    return this.#stats.sample(
      media.connection,
      (mid) => media.trackAt(mid),
      (mid) => media.sentAt(mid),
      (id) => this.#remoteTrack(id)?.track.rid ?? null,
    );
  }

  /** @param {"socket" | "ice"} fault */
  simulate(fault) {
    if (fault === "socket") this.#signal.dropSocket();
    else this.#media?.restartIce();
  }

  // ---- what the server says ----

  /** @param {import("./signal.js").Welcome} welcome @param {boolean} fresh */
  #welcomed(welcome, fresh) {
    this.name = welcome.room;
    this.edge = welcome.edge;
    this.local.pid = welcome.you.pid;
    this.local.identity = welcome.you.identity;
    this.local.name = welcome.you.name;
    this.local.grants = welcome.you.grants;
    if (fresh) this.#renewMedia(welcome.ice_servers);
    else this.#media?.setIceServers(rtcServers(welcome.ice_servers));
    this.#reconcile(welcome.peers);
    for (const message of welcome.chat) this.#addChat(message);
    if (fresh) this.#publisher.republish();
    else this.#media?.resumed();
    // A session made anew lost the hand that was up.
    if (fresh && this.local.hand) void this.setHand(true).catch(() => {});
    this.#up();
  }

  /** @param {import("../weir-protocol.js").IceServer[]} iceServers */
  #resumed(iceServers) {
    this.#media?.setIceServers(rtcServers(iceServers));
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

  /** @param {import("../weir-protocol.js").IceServer[]} iceServers */
  #renewMedia(iceServers) {
    this.#media?.close();
    this.#speaker.clear();
    for (const member of this.members.values()) for (const track of member.tracks.values()) this.#setMedia(track, null);
    this.#media = new Media({
      iceServers: rtcServers(iceServers),
      videoCodec: this.#options.videoCodec ?? "vp8",
      red: this.#options.red ?? true,
      on: {
        sendOffer: (offer) => this.#signal.request({ t: "offer", ...offer }, { resend: false }),
        onBound: (id, _mid, media) => {
          const found = this.#remoteTrack(id);
          if (found) this.#setMedia(found.track, media);
        },
        onAudioSlot: (media, mid) => this.#speaker.add(media, mid),
        onState: (state) => this.#tell("mediastate", { state }),
        onData: (data) => this.#tell("data", { data }),
        onError: (error) => this.#tell("fault", { error }),
        onDead: () => this.#signal.rejoin(),
      },
    });
  }

  /** @param {ServerMessage} message */
  #hear(message) {
    switch (message.t) {
      case "answer":
        return void this.#media?.answered(message);
      case "need_slots":
        return this.#media?.needSlots(message.audio, message.video);
      case "bind":
        return this.#media?.bind(message.mid, message.track);
      case "peer_joined":
        return this.#joined(message.peer);
      case "peer_left":
        return this.#left(message.pid, message.reason);
      case "peer_updated":
        return this.#updated(message);
      case "track_added": {
        const member = this.members.get(message.pid);
        return member && this.#addTrack(member, message.track);
      }
      case "track_removed": {
        const member = this.members.get(message.pid);
        return member && this.#removeTrack(member, message.track);
      }
      case "track_muted":
        return this.#muted(message.pid, message.track, message.muted);
      case "layers":
        return this.#media?.setActiveLayers(message.track, message.active);
      case "stream_state": {
        const found = this.#remoteTrack(message.track);
        if (!found) return;
        found.track.streaming = message.state;
        found.track.rid = message.rid;
        return this.#tell("streamstate", { track: found.track });
      }
      case "speakers":
        return this.#spoke(message.speakers);
      case "quality":
        for (const quality of message.peers) {
          const member = quality.pid === this.local.pid ? this.local : this.members.get(quality.pid);
          if (member) member.quality = quality;
        }
        return this.#tell("quality", { peers: message.peers });
      case "chat":
        return this.#addChat(message);
      case "react":
        return this.#tell("reaction", { from: message.from, emoji: message.emoji });
      case "mute_request": {
        const track = [...this.local.tracks.values()].find(({ id }) => id === message.track);
        if (!track) return;
        void this.#publisher.setMuted(track, true).catch(() => {});
        return this.#tell("muterequest", { track, by: message.by });
      }
      case "token":
        this.#newerToken = message.jwt;
        return;
      default:
        // `welcome`, `resumed`, `leave`, `ack`, `err` and `pong` end in `signal.js`; what a newer server adds is not for us.
        return;
    }
  }

  /** Makes the records what a snapshot says, and tells the differences. @param {import("../weir-protocol.js").Peer[]} peers */
  #reconcile(peers) {
    const present = new Set(peers.map(({ pid }) => pid));
    for (const pid of [...this.members.keys()]) if (!present.has(pid)) this.#left(pid, "timed_out");
    for (const peer of peers) {
      const member = this.members.get(peer.pid);
      if (!member) {
        this.#joined(peer);
        continue;
      }
      this.#updated({ pid: peer.pid, name: peer.name, attrs: peer.attrs, hand: peer.hand, away: peer.away });
      const published = new Set(peer.tracks.map(({ id }) => id));
      for (const id of [...member.tracks.keys()]) if (!published.has(id)) this.#removeTrack(member, id);
      for (const track of peer.tracks) {
        if (member.tracks.has(track.id)) this.#muted(peer.pid, track.id, track.muted);
        else this.#addTrack(member, track);
      }
    }
  }

  /** @param {import("../weir-protocol.js").Peer} peer */
  #joined(peer) {
    if (peer.pid === this.local.pid || this.members.has(peer.pid)) return;
    const { tracks } = peer;
    const member = new Member({ ...peer, tracks: [] });
    this.members.set(peer.pid, member);
    this.#tell("memberjoined", { member });
    for (const track of tracks) this.#addTrack(member, track);
  }

  /** @param {string} pid @param {import("../weir-protocol.js").LeaveReason} reason */
  #left(pid, reason) {
    const member = this.members.get(pid);
    if (!member) return;
    for (const id of [...member.tracks.keys()]) this.#removeTrack(member, id);
    this.members.delete(pid);
    this.speakers = this.speakers.filter((speaker) => speaker.pid !== pid);
    this.#tell("memberleft", { member, reason });
  }

  /** @param {Omit<Extract<ServerMessage, { t: "peer_updated" }>, "t">} update */
  #updated({ pid, name, attrs, hand, away }) {
    if (pid === this.local.pid) {
      this.local.name = name;
      this.local.hand = hand;
      return this.#changed();
    }
    const member = this.members.get(pid);
    if (!member) return;
    Object.assign(member, { name, attrs, hand, away });
    this.#tell("memberupdated", { member });
  }

  /** @param {Member} member @param {import("../weir-protocol.js").Track} published */
  #addTrack(member, published) {
    if (member.tracks.has(published.id)) return;
    const track = new RemoteTrack(member.pid, published);
    track.media = this.#media?.mediaOf(track.id) ?? null;
    member.tracks.set(track.id, track);
    this.#tell("trackadded", { track, member });
  }

  /** @param {Member} member @param {string} id */
  #removeTrack(member, id) {
    const track = member.tracks.get(id);
    if (!track) return;
    member.tracks.delete(id);
    this.#setMedia(track, null);
    this.#tell("trackremoved", { track, member });
  }

  /** @param {string} pid @param {string} id @param {boolean} muted */
  #muted(pid, id, muted) {
    const member = this.members.get(pid);
    const track = member?.tracks.get(id);
    if (!member || !track || track.muted === muted) return;
    track.muted = muted;
    this.#tell("trackmuted", { track, member });
  }

  /** @param {import("../weir-protocol.js").Speaker[]} speakers */
  #spoke(speakers) {
    for (const { pid } of this.speakers) this.#setLevel(pid, 0);
    for (const { pid, level } of speakers) this.#setLevel(pid, level);
    this.speakers = speakers;
    this.#tell("speakers", { speakers });
  }

  /** @param {string} pid @param {number} level */
  #setLevel(pid, level) {
    const member = pid === this.local.pid ? this.local : this.members.get(pid);
    if (member) member.level = level;
  }

  /** @param {Chat} message */
  #addChat({ id, cid, from, name, to, text, at }) {
    if (this.chat.some((known) => known.id === id)) return;
    const message = { id, cid, from, name, to, text, at };
    this.chat = [...this.chat.slice(1 - CHAT_MOST), message];
    this.#tell("chat", { message });
  }

  /** @param {string} id */
  #remoteTrack(id) {
    for (const member of this.members.values()) {
      const track = member.tracks.get(id);
      if (track) return { member, track };
    }
    return null;
  }

  /** @param {RemoteTrack} track @param {MediaStreamTrack | null} media */
  #setMedia(track, media) {
    if (track.media === media) return;
    track.media = media;
    for (const element of this.#attached.get(track.id) ?? []) show(element, media);
    this.#tell("trackbound", { track });
  }

  // ---- state and events ----

  #connection() {
    if (!this.#media) throw new WeirError("bad_state", "Connect to the room first.");
    return this.#media;
  }

  /** @param {WeirError} error @param {import("../weir-protocol.js").LeaveReason | null} reason */
  #ended(error, reason) {
    globalThis.removeEventListener("online", this.#onNetwork);
    this.#publisher.close();
    this.#media?.close();
    this.#speaker.clear();
    this.#view.close();
    this.#attached.clear();
    this.#enter("closed");
    this.#joining?.reject(error);
    this.#joining = null;
    this.#tell("closed", { error, reason });
  }

  /** @param {import("../weir.js").RoomState} state */
  #enter(state) {
    if (this.state === state) return;
    this.state = state;
    this.#tell("state", { state });
  }

  /**
   * @template {keyof RoomEvents} K
   * @param {K} type
   * @param {RoomEvents[K]} detail
   */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
    this.#changed();
  }

  #changed() {
    this.#changeTimer ??= setTimeout(() => {
      this.#changeTimer = undefined;
      this.dispatchEvent(new CustomEvent("change", { detail: this }));
    }, CHANGE_EVERY);
  }
}

/** @param {HTMLMediaElement} element @param {MediaStreamTrack | null} media */
function show(element, media) {
  const shown = element.srcObject instanceof MediaStream ? element.srcObject.getTracks()[0] ?? null : null;
  if (shown === media) return;
  element.srcObject = media ? new MediaStream([media]) : null;
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
