// One call: rings, connects two browsers, moves into the room's server when that is the better way or when it grows, and says
// why it is over. Owns the states and the order in which things happen; how a connection is made is `peer.js`'s, what happens in the
// room `inroom.js`'s, what this end sends `callsends.js`'s.

import { CallSends } from "./callsends.js";
import { CallViews } from "./callviews.js";
import { TEXT_MOST, Words } from "./callwords.js";
import { WeirError } from "./errors.js";
import { Files } from "./files.js";
import { InRoom } from "./inroom.js";
import { News, listen } from "./news.js";
import { Peer } from "./peer.js";
import { Speaker } from "./speaker.js";
import { betterThroughRoom, wayOf } from "./way.js";

/** @import * as api from "../weir.js" */
/** @typedef {import("./members.js").Member} Member */

/** When no path from browser to browser was found for so long, the room's server is taken. */
const PATH_WITHIN = 8_000;
/** How often the way is looked at, in milliseconds. */
const LOOK_EVERY = 2_000;
/** Looks in a row that must find the room better by time, so that one late packet moves nobody. */
const SURE = 3;
/** While a call moves, how often it is looked whether the room's pictures are there. */
const SWAP_EVERY = 50;
/** A voice that is silent sends next to nothing: it is not waited for any longer once the picture is there. */
const VOICE_WITHIN = 1_500;
/** A move that does not come about is given up, or taken as it is where there is no way back. */
const SWAP_WITHIN = 15_000;
/** A caller that is gone without a word does not ring for ever. */
const RING_MARGIN = 5_000;
/** Whoever is made anew at another edge is not in the call for a moment. */
const ALONE_FOR = 6_000;
/** The data channel is closed: the reason comes over the server, or never. */
const GONE_AFTER = 1_500;
const LINES_MOST = 1_000;

/** @implements {api.Call} */
export class Call extends EventTarget {
  /** @type {News<import("../weir.js").CallEvents>} */
  #news = new News(this);
  #host;
  #onEnd;
  /** @type {Peer | null} */
  #peer = null;
  /** @type {InRoom | null} */
  #inRoom = null;
  /** @type {Files | null} */
  #files = null;
  #speaker;
  /** @type {Words | null} */
  #words = null;
  #sends;
  #views;
  /** What comes from the other browser, and whether there is anything in it. */
  #theirs = { audio: /** @type {MediaStreamTrack | null} */ (null), video: /** @type {MediaStreamTrack | null} */ (null), hasAudio: false, hasVideo: false };
  /** What comes from the room now, not from the other browser. */
  #swapped = { audio: false, video: false };
  #theySwapped = false;
  /** @type {Promise<void> | null} */
  #moving = null;
  /** The other one's round trip to its edge. @type {number | null} */
  #theirEdgeRtt = null;
  #worse = 0;
  /** The other one's session is over, though its browser may still be there. */
  #sessionGone = false;
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  #timers = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #ringTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #aloneTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #lookTimer;
  #viaRoom;

  /** @type {api.CallState} */
  state = "ringing";
  /** @type {api.CallEndReason | null} */
  reason = null;
  /** @type {api.CallWay | null} */
  via = null;
  /** @type {number | null} */
  rtt = null;
  /** @type {number | null} */
  connectedAt = null;
  /** @type {api.CallLine[]} */
  chat = [];
  /** @type {import("./files.js").FileTransfer[]} */
  files = [];
  /** @type {Map<string, api.Invitation>} */
  invited = new Map();

  /**
   * @param {import("./calls.js").Host} host
   * @param {{ id: string, member: Member, outgoing: boolean, media: { audio: boolean, video: boolean }, room: boolean }} what
   * @param {(call: Call) => void} onEnd
   */
  constructor(host, { id, member, outgoing, media, room }, onEnd) {
    super();
    this.#host = host;
    this.#onEnd = onEnd;
    this.#viaRoom = room;
    this.#speaker = new Speaker(() => this.#news.tell("audioblocked", {}));
    this.#sends = new CallSends({
      room: host.room,
      peer: () => this.#peer,
      inRoom: () => this.#moving !== null,
      over: () => this.#over,
      changed: () => this.#sendsChanged(),
      onFault: (fault) => this.#fault(fault),
    });
    this.#views = new CallViews(host.room, (who) =>
      who === this.identity && !this.#swapped.video ? { direct: this.#theirs.video } : { track: this.#inRoom?.track(who, "camera") ?? null },
    );
    this.id = id;
    this.pid = member.pid;
    this.identity = member.identity;
    this.name = member.name;
    this.outgoing = outgoing;
    this.media = media;
  }

  /**
   * @template {keyof api.CallEvents} K
   * @param {K} type @param {(detail: api.CallEvents[K]) => void} listener
   */
  on(type, listener) {
    return listen(this, type, listener);
  }

  // ---- ringing ----

  /** @param {api.CallOptions} options */
  ring(options) {
    this.#ringTimer = setTimeout(() => this.end("timeout", true), this.#host.ringMs);
    this.#say({ t: "call", to: this.pid, call: this.id, media: this.media, room: false }).catch((fault) => this.end(fault?.code === "not_found" ? "left" : "failed"));
    void this.#sends.capture(options);
  }

  rung() {
    this.#ringTimer = setTimeout(() => this.end("timeout"), this.#host.ringMs + RING_MARGIN);
  }

  /** @param {api.CallOptions} [options] */
  async accept(options = {}) {
    if (this.state !== "ringing" || this.outgoing) return;
    clearTimeout(this.#ringTimer);
    this.#enter("connecting");
    const captured = this.#sends.capture({ video: this.media.video, ...options });
    if (this.#viaRoom) {
      await captured;
      if (this.#over) return;
      this.#enterRoom();
    } else {
      this.#connect(true);
    }
    await this.#say({ t: "call_reply", to: this.pid, call: this.id, ok: true }).catch(() => this.end("failed"));
    if (this.#viaRoom) await this.#publish();
  }

  decline() {
    if (this.state !== "ringing" || this.outgoing) return;
    this.#say({ t: "call_reply", to: this.pid, call: this.id, ok: false, why: "declined" }).catch(() => {});
    this.end("declined");
  }

  hangUp() {
    if (this.state === "ended") return;
    if (this.state === "ringing" && !this.outgoing) return this.decline();
    this.end(this.state === "ringing" ? "cancelled" : "hung_up", true);
  }

  /** The other one rang too, and its call is the one: this end has accepted by that. @param {string} id */
  yield(id) {
    clearTimeout(this.#ringTimer);
    this.id = id;
    this.outgoing = false;
    this.#enter("connecting");
    this.#connect(true);
    this.#say({ t: "call_reply", to: this.pid, call: id, ok: true }).catch(() => this.end("failed"));
  }

  // ---- what the others say ----

  /** @param {string} from @param {boolean} ok @param {import("../weir-protocol.js").CallEnd | null} why */
  replied(from, ok, why) {
    const invitation = this.invited.get(from);
    if (invitation) {
      if (ok) {
        this.invited.delete(from);
        void this.toRoom().catch((error) => this.#fault(error));
      } else {
        this.#invitation(from, why ?? "declined");
      }
      return this.#news.changed();
    }
    if (this.state !== "ringing" || !this.outgoing || from !== this.pid) return;
    if (!ok) return this.end(why ?? "declined");
    clearTimeout(this.#ringTimer);
    this.#enter("connecting");
    this.#connect(false);
  }

  /** @param {string} from @param {import("../weir-protocol.js").CallEnd} why */
  endedBy(from, why) {
    if (!this.#inRoom) return from === this.pid ? this.end(why) : undefined;
    // Of several, one has gone; the attribute of the member says so too.
    const others = this.#inRoom.members.filter(({ pid }) => pid !== from);
    if (others.length === 0) this.end(why);
  }

  /** @param {Pick<import("../weir-protocol.js").PeerSignalFrom, "from" | "desc" | "cand">} signal */
  signaled({ from, desc, cand }) {
    if (from === this.pid) void this.#peer?.hear({ desc, cand });
  }

  /** Somebody in the call goes on through the room, and so does everybody. @param {string} from */
  moveAsked(from) {
    if (from === this.pid && this.state !== "ringing") void this.toRoom(true).catch((error) => this.#fault(error));
  }

  /** @param {Member} member */
  memberJoined(member) {
    if (member.identity !== this.identity || member.pid === this.pid) return;
    // The same person under another name of session: at another edge, or after theirs was lost.
    this.pid = member.pid;
    this.#sessionGone = false;
    if (this.#peer && !this.#peer.connected) this.#peer.restartIce();
  }

  /** @param {Member} member @param {import("../weir-protocol.js").LeaveReason} reason */
  memberLeft({ pid }, reason) {
    if (this.invited.has(pid)) this.#invitation(pid, "left");
    if (pid !== this.pid) return;
    if (this.#inRoom && !this.#peer) return; // Who is left over is seen by `#alone`.
    const passing = reason === "replaced" || reason === "timed_out";
    if (passing && this.#peer?.connected) this.#sessionGone = true;
    else this.end("left");
  }

  /** The own session was made anew. */
  renewed() {
    this.#inRoom?.renewed();
    this.#peer?.setIceServers(this.#host.iceServers());
    if (this.#peer && !this.#peer.connected) this.#peer.restartIce();
  }

  // ---- the connection from browser to browser ----

  /** @param {boolean} polite */
  #connect(polite) {
    const peer = new Peer({
      iceServers: this.#host.iceServers(),
      relayOnly: this.#host.relayOnly,
      polite,
      on: {
        send: (signal) => {
          // What is lost with a connection to the server is made good by the next look for a path.
          this.#say({ t: "p2p", to: this.pid, call: this.id, ...signal }).catch(() => {});
        },
        onTrack: (track) => this.#arrived(track),
        onState: (state) => this.#peerState(state),
        onDead: () => (this.#inRoom ? this.#letGo() : this.end("failed", true)),
      },
    });
    this.#peer = peer;
    this.#files = new Files(peer.files, {
      offered: (transfer) => {
        this.files = [...this.files, transfer];
        this.#news.tell("file", { transfer });
      },
      changed: () => this.#news.changed(),
    });
    const words = new Words(peer.words, {
      onChat: (text) => this.#line({ own: false, name: this.name, text }),
      onSends: (audio, video) => {
        Object.assign(this.#theirs, { hasAudio: audio, hasVideo: video });
        this.#news.changed();
      },
      onEdge: (rtt) => (this.#theirEdgeRtt = rtt),
      onSwapped: () => {
        this.#theySwapped = true;
        this.#letGoSoon();
      },
    });
    this.#words = words;
    peer.words.onopen = () => this.#sendsChanged();
    peer.words.onclose = () => this.#later(GONE_AFTER, () => this.#peer === peer && !this.#inRoom && this.end("left"));
    for (const kind of /** @type {const} */ (["audio", "video"])) void peer.send(kind, this.#sends.tracks[kind]);
    this.#lookTimer = setInterval(() => void this.#look(), LOOK_EVERY);
    this.#later(PATH_WITHIN, () => {
      if (this.state === "connecting" && this.outgoing && this.#host.autoMove) void this.toRoom().catch((error) => this.#fault(error));
    });
  }

  /** @param {RTCPeerConnectionState} state */
  #peerState(state) {
    if (state === "connected") {
      if (this.state === "connecting") this.#enter("connected");
      void this.#look();
    } else if (state === "disconnected" && this.#sessionGone) {
      this.end("left");
    }
    this.#news.changed();
  }

  /** @param {MediaStreamTrack} track */
  #arrived(track) {
    const kind = /** @type {"audio" | "video"} */ (track.kind);
    this.#theirs[kind] = track;
    if (kind === "audio") this.#speaker.add(track, "peer");
    this.#views.place();
  }

  async #look() {
    const peer = this.#peer;
    if (!peer?.connected || this.state === "ended") return;
    const way = wayOf((await peer.connection.getStats()).values());
    if (!way || this.#peer !== peer) return;
    this.rtt = way.rttMs;
    if (this.via !== "room") this.via = way.relayed ? "relayed" : "direct";
    const { room } = this.#host;
    this.#words?.say({ t: "edge", rtt: room.rtt });
    const sameEdge = room.members.get(this.pid)?.node === room.edge?.id;
    this.#worse = betterThroughRoom({ way, own: room.rtt, theirs: this.#theirEdgeRtt, sameEdge }) ? this.#worse + 1 : 0;
    // One of both begins; the other one follows.
    if (this.outgoing && this.#host.autoMove && !this.#moving && (way.bothRelayed || this.#worse >= SURE)) void this.toRoom().catch((error) => this.#fault(error));
    this.#news.changed();
  }

  // ---- words from browser to browser ----

  /** @param {{ own: boolean, name: string, text: string }} said */
  #line(said) {
    const line = { ...said, at: Date.now() };
    this.chat = [...this.chat.slice(1 - LINES_MOST), line];
    this.#news.tell("chat", { line });
  }

  /** @param {string} text */
  async sendChat(text) {
    if (new TextEncoder().encode(text).length > TEXT_MOST) throw new WeirError("too_large", `A message may have ${TEXT_MOST} bytes at most.`);
    if (this.#inRoom && this.via === "room") {
      await Promise.all(this.#inRoom.members.map(({ pid }) => this.#host.room.sendChat(text, pid)));
    } else if (!this.#words?.say({ t: "chat", text })) {
      throw new WeirError("bad_state", "The call is not connected yet.");
    }
    this.#line({ own: true, name: this.#host.room.local.name, text });
  }

  /** @param {import("../weir-protocol.js").Chat} message */
  roomChat({ from, to, name, text }) {
    const { local } = this.#host.room;
    if (to === local.pid && from !== local.pid && this.#inRoom?.members.some(({ pid }) => pid === from)) this.#line({ own: false, name, text });
  }

  /** @param {File} file */
  sendFile(file) {
    if (!this.#files || !this.canSendFiles) throw new WeirError("bad_state", "Files go from browser to browser: not while the call goes through the server.");
    const transfer = this.#files.send(file);
    this.files = [...this.files, transfer];
    this.#news.changed();
    return transfer;
  }

  get canSendFiles() {
    return this.#peer?.files.readyState === "open" && !this.#moving;
  }

  // ---- what this end sends ----

  /** @param {boolean} on @param {api.MicrophoneOptions} [options] */
  setMicrophone(on, options) {
    return this.#sends.setMicrophone(on, options);
  }

  /** @param {boolean} on @param {api.CameraOptions} [options] */
  setCamera(on, options) {
    return this.#sends.setCamera(on, options);
  }

  get microphone() {
    return this.#sends.microphone;
  }

  get camera() {
    return this.#sends.camera;
  }

  /** What one's own camera shows. */
  get preview() {
    return this.#sends.tracks.video;
  }

  #sendsChanged() {
    this.#words?.say({ t: "sends", audio: this.microphone, video: this.camera });
    this.#news.changed();
  }

  // ---- through the room ----

  /** Moves the media into the room's server; resolves once they come from there. @param {boolean} [asked] The others know. */
  toRoom(asked = false) {
    this.#moving ??= this.#move(asked);
    return this.#moving;
  }

  /** @param {boolean} asked */
  async #move(asked) {
    if (this.state === "ended" || this.#viaRoom) return;
    this.#enterRoom();
    if (!asked) await this.#say({ t: "call", to: this.pid, call: this.id, media: this.media, room: true });
    await this.#publish();
    await this.#swap();
  }

  #enterRoom() {
    this.#inRoom = new InRoom(this.#host, this.id, () => this.#roomChanged());
    if (this.#viaRoom) this.#moving = Promise.resolve();
  }

  async #publish() {
    await this.#inRoom?.join(this.#sends.tracks, !this.microphone).catch((error) => this.#fault(error));
    if (!this.#viaRoom || this.state !== "connecting") return;
    this.via = "room";
    this.#swapped = { audio: true, video: true };
    this.#enter("connected");
    this.#roomChanged();
  }

  /** Takes what the room's server sends once it flows, a voice and a picture each at its time. */
  async #swap() {
    const start = Date.now();
    const connected = this.#peer?.connected === true;
    let pictureAt = 0;
    /** @type {(() => void)[]} */
    const early = [];
    while (this.state !== "ended" && this.#inRoom && !(this.#swapped.audio && this.#swapped.video)) {
      await new Promise((resolve) => setTimeout(resolve, SWAP_EVERY));
      const flows = await this.#inRoom.flows(this.identity);
      const waited = Date.now() - start;
      const there = this.#inRoom.members.some(({ identity }) => identity === this.identity);
      if (waited > SWAP_WITHIN && !there && this.#peer?.connected) return this.#stayDirect();
      if (early.length === 0) early.push(...this.#reserve());
      const late = waited > SWAP_WITHIN;
      // Without a direct connection there is nothing to lose, and nothing said of what the other one sends.
      if (!connected && there) this.#swapped = { audio: true, video: true };
      if (!this.#swapped.video && (flows.video || (there && !this.#theirs.hasVideo) || late)) {
        this.#swapped.video = true;
        pictureAt = Date.now();
        this.#views.place();
      }
      const silent = pictureAt > 0 && Date.now() - pictureAt > VOICE_WITHIN;
      if (!this.#swapped.audio && (flows.audio || (there && !this.#theirs.hasAudio) || silent || late)) {
        this.#swapped.audio = true;
        this.#speaker.clear();
      }
    }
    for (const undo of early) undo();
    if (this.state === "ended") return;
    this.via = "room";
    if (this.state === "connecting") this.#enter("connected");
    this.#views.place();
    if (!this.#words?.say({ t: "swapped" })) this.#letGo();
    this.#letGoSoon();
    this.#news.changed();
  }

  /** Where the other one's picture will be shown is told beforehand, so that the right size comes at once. */
  #reserve() {
    const track = this.#inRoom?.track(this.identity, "camera");
    return track ? this.#views.of(this.identity).map((element) => this.#host.watch(element, track.id)) : [];
  }

  /** The other one did not come along. */
  #stayDirect() {
    this.#inRoom?.leave();
    this.#inRoom = null;
    this.#swapped = { audio: false, video: false };
    this.#views.place();
    this.#fault(new WeirError("negotiation_failed", "The call could not be moved to the server; it goes on as before."));
  }

  /** Once both see each other through the room, and no file is on its way, nothing needs the direct connection any more. */
  #letGoSoon() {
    if (!this.#theySwapped || this.via !== "room") return;
    if (this.#files?.busy) return void this.#later(500, () => this.#letGoSoon());
    for (const kind of /** @type {const} */ (["audio", "video"])) void this.#peer?.send(kind, null);
    // What this end said last should arrive.
    this.#later(300, () => this.#letGo());
  }

  #letGo() {
    clearInterval(this.#lookTimer);
    this.#files?.close();
    this.#files = null;
    this.#peer?.close();
    this.#peer = null;
    this.#words = null;
    this.#speaker.clear();
    this.rtt = null;
    this.#news.changed();
  }

  #roomChanged() {
    const others = this.#inRoom?.members ?? [];
    if (others.length > 0 || this.#peer) {
      clearTimeout(this.#aloneTimer);
      this.#aloneTimer = undefined;
    } else if (this.state === "connected") {
      this.#aloneTimer ??= setTimeout(() => this.end("left", true), ALONE_FOR);
    }
    this.#views.place();
    this.#news.changed();
  }

  /** Rings one more; once they accept, everybody goes on through the room. @param {string} pid */
  async add(pid) {
    const member = this.#host.room.members.get(pid);
    if (this.state !== "connected") throw new WeirError("bad_state", "The call is not connected yet.");
    if (!member || this.parties.some((party) => party.pid === pid)) throw new WeirError("not_found", "That person is not here any more, or in the call already.");
    this.invited.set(pid, { pid, name: member.name, state: "ringing" });
    this.#news.changed();
    try {
      await this.#say({ t: "call", to: pid, call: this.id, media: this.media, room: true });
    } catch (fault) {
      this.invited.delete(pid);
      this.#news.changed();
      throw fault;
    }
    this.#later(this.#host.ringMs, () => {
      if (this.invited.get(pid)?.state !== "ringing") return;
      this.#say({ t: "call_end", to: pid, call: this.id, why: "timeout" }).catch(() => {});
      this.#invitation(pid, "timeout");
    });
  }

  /** @param {string} pid @param {api.Invitation["state"]} state */
  #invitation(pid, state) {
    const known = this.invited.get(pid);
    if (!known) return;
    this.invited.set(pid, { ...known, state });
    this.#news.tell("invitation", { invitation: { ...known, state } });
    this.#later(8_000, () => this.invited.get(pid)?.state === state && this.invited.delete(pid) && this.#news.changed());
  }

  // ---- who is seen where ----

  /** @returns {api.CallParty[]} */
  get parties() {
    const { room } = this.#host;
    const inRoom = (this.#inRoom?.members ?? []).map(({ pid, identity, name }) => ({
      pid,
      identity,
      name,
      microphone: this.#inRoom?.track(identity, "microphone") != null,
      camera: this.#inRoom?.track(identity, "camera") != null,
    }));
    if (!this.#peer && this.#inRoom) return inRoom;
    const { pid, identity } = this;
    const name = room.members.get(pid)?.name ?? this.name;
    const direct = { pid, identity, name, microphone: this.#theirs.hasAudio, camera: this.#theirs.hasVideo };
    const seen = inRoom.find((party) => party.identity === identity);
    const first = seen && this.#swapped.video ? seen : direct;
    return [first, ...inRoom.filter((party) => party.identity !== identity)];
  }

  /** @param {HTMLVideoElement} element @param {string} pid */
  attach(element, pid) {
    const identity = pid === this.pid ? this.identity : this.#host.room.members.get(pid)?.identity ?? "";
    return this.#views.attach(element, identity);
  }

  get #over() {
    return this.state === "ended";
  }

  async stats() {
    return { via: this.via, rtt: this.rtt, reports: this.#peer ? await this.#peer.connection.getStats() : null };
  }

  /** Looks for a path anew, as after a change of network. */
  restartIce() {
    this.#peer?.restartIce();
  }

  startAudio() {
    return Promise.all([this.#speaker.start(), this.#host.room.startAudio()]).then(() => {});
  }

  // ---- the end ----

  /** @param {api.CallEndReason} reason @param {boolean} [tell] */
  end(reason, tell = false) {
    if (this.state === "ended") return;
    if (tell) {
      const why = reason === "left" ? "hung_up" : reason;
      const ringing = [...this.invited.values()].filter(({ state }) => state === "ringing").map(({ pid }) => pid);
      for (const { pid } of this.parties) this.#say({ t: "call_end", to: pid, call: this.id, why }).catch(() => {});
      for (const pid of ringing) this.#say({ t: "call_end", to: pid, call: this.id, why: "cancelled" }).catch(() => {});
    }
    for (const timer of [this.#ringTimer, this.#aloneTimer, ...this.#timers]) clearTimeout(timer);
    this.#inRoom?.leave();
    this.#letGo();
    this.#views.close();
    this.#sends.stop();
    this.reason = reason;
    this.#enter("ended");
    this.#onEnd(this);
  }

  /** @param {import("../weir-protocol.js").ClientMessage} body */
  #say(body) {
    return this.#host.request(body);
  }

  /** @param {number} ms @param {() => void} step */
  #later(ms, step) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (this.state !== "ended") step();
    }, ms);
    this.#timers.add(timer);
  }

  /** @param {unknown} fault */
  #fault(fault) {
    if (this.state === "ended") return;
    this.#news.tell("fault", { error: fault instanceof WeirError ? fault : new WeirError("negotiation_failed", "Something went wrong in the call.", fault) });
  }

  /** @param {api.CallState} state */
  #enter(state) {
    if (this.state === state) return;
    this.state = state;
    if (state === "connected") this.connectedAt = Date.now();
    this.#news.tell("state", { state });
  }
}
