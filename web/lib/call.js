// One call: rings, connects two browsers, moves into the room's server when that is the better way or when it grows, and says why it
// is over. Owns the states and what is said to the others; the connection from browser to browser is `calldirect.js`'s, what happens
// in the room `callmove.js`'s, who was asked to join `callinvites.js`'s, what this end sends `callsends.js`'s, who is seen where
// `callviews.js`'s, what is written and sent `calltalk.js`'s.

import { Direct } from "./calldirect.js";
import { CallInvites } from "./callinvites.js";
import { CallMove } from "./callmove.js";
import { CallSends } from "./callsends.js";
import { CallTalk } from "./calltalk.js";
import { CallViews } from "./callviews.js";
import { WeirError } from "./errors.js";
import { IN_CALL } from "./inroom.js";
import { News, listen } from "./news.js";

/** @import * as api from "../weir.js" */
/** @typedef {import("./members.js").Member} Member */

/** When no path from browser to browser was found for so long, the room's server is taken. */
const PATH_WITHIN = 8_000;
/** A caller that is gone without a word does not ring for ever. */
const RING_MARGIN = 5_000;
/** The other one's session was replaced: its client says within this that it is still in the call, or another one has taken its place. */
const BACK_WITHIN = 6_000;
/** The other browser has closed the connection: the reason comes over the server, or never. */
const GONE_AFTER = 3_000;
/** Who is being made anew is not found for a moment: when they are looked for again. */
const AGAIN_AFTER = 1_500;

/** @implements {api.Call} */
export class Call extends EventTarget {
  /** @type {News<import("../weir.js").CallEvents>} */
  #news = new News(this);
  #host;
  #onEnd;
  /** @type {Direct | null} */
  #direct = null;
  /** @type {CallMove} */
  #move;
  /** @type {CallSends} */
  #sends;
  /** @type {CallViews} */
  #views;
  #invites;
  #talk;
  /** The other one's session is over, though its browser may still be there. */
  #sessionGone = false;
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  #timers = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #ringTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #backTimer;
  #viaRoom;
  /** Who rings, where that may be several. @type {Set<string>} */
  #ringers = new Set();

  /** @type {api.CallState} */
  state = "ringing";
  /** @type {api.CallEndReason | null} */
  reason = null;
  /** @type {number | null} */
  connectedAt = null;

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
    this.id = id;
    this.pid = member.pid;
    this.identity = member.identity;
    this.name = member.name;
    this.outgoing = outgoing;
    this.media = media;
    const direct = () => this.#direct;
    const over = () => this.#over;
    const changed = () => this.#news.changed();
    const onFault = (/** @type {unknown} */ fault) => this.#fault(fault);
    const later = (/** @type {number} */ ms, /** @type {() => void} */ step) => this.#later(ms, step);
    this.#sends = new CallSends({
      room: host.room,
      send: async (kind, track) => {
        await this.#direct?.send(kind, track);
        // A device that took longer to open than the call to move.
        if (track) await this.#move.add(kind, track);
      },
      inRoom: () => this.#move.begun,
      over,
      changed: () => this.#tellSends(),
      onFault,
    });
    this.#views = new CallViews({ room: host.room, other: this, direct, move: () => this.#move });
    this.#move = new CallMove({
      host,
      call: () => this.id,
      identity: this.identity,
      direct,
      sends: this.#sends,
      views: this.#views,
      over,
      // Said late it would be a ring.
      ask: () => void this.#say({ t: "call", to: this.pid, call: this.id, media, room: true }, { resend: false }).catch(() => {}),
      onThrough: () => this.state === "connecting" && this.#enter("connected"),
      onLetGo: () => this.#letGo(),
      onFailed: () => this.end("failed", true),
      onAlone: () => this.end("left", true),
      awaits: () => this.#invites.coming,
      changed: () => {
        this.#invites.here(this.#move.members.map(({ pid }) => pid));
        changed();
      },
      onFault,
      later,
    });
    this.#invites = new CallInvites({ host, call: () => this.id, media, tell: (invitation) => this.#news.tell("invitation", { invitation }), changed, later, onNobody: () => this.#move.look() });
    this.#talk = new CallTalk({ room: host.room, other: this, direct, move: () => this.#move, news: this.#news });
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
    this.#ringOut();
    void this.#sends.capture(options);
  }

  rung() {
    this.#ringTimer = setTimeout(() => this.end("timeout"), this.#host.ringMs + RING_MARGIN);
  }

  #ringOut(until = Date.now() + BACK_WITHIN) {
    const { id } = this;
    const rings = () => this.state === "ringing" && this.id === id;
    this.#say({ t: "call", to: this.pid, call: id, media: this.media, room: false }).catch((fault) => {
      if (!rings() || this.#saidAgain(fault)) return;
      if (this.#mayComeBack(fault, until)) return this.#later(AGAIN_AFTER, () => rings() && this.#ringOut(until));
      this.end(fault?.code === "not_found" ? "left" : "failed");
    });
  }

  /** @param {api.CallOptions} [options] */
  async accept(options = {}) {
    if (this.state !== "ringing" || this.outgoing) return;
    clearTimeout(this.#ringTimer);
    this.#enter("connecting");
    const captured = this.#sends.capture({ video: this.media.video, ...options });
    if (!this.#viaRoom) this.#connect(true);
    // The others may come into the room while devices open here.
    this.#agree();
    if (!this.#viaRoom) return;
    await captured;
    if (!this.#over) await this.#move.start();
  }

  /** Says that this end has accepted. */
  #agree(until = Date.now() + BACK_WITHIN) {
    if (this.#over) return;
    this.#say({ t: "call_reply", to: this.pid, call: this.id, ok: true }).catch((fault) => {
      if (this.#saidAgain(fault)) return;
      if (this.#mayComeBack(fault, until)) return this.#later(AGAIN_AFTER, () => this.#agree(until));
      this.end("failed");
    });
  }

  /** They are still shown, and not found: their session is being made anew, or their edge does not know them yet. @param {any} fault @param {number} until */
  #mayComeBack(fault, until) {
    return fault?.code === "not_found" && Date.now() < until && this.#host.room.members.has(this.pid);
  }

  decline() {
    if (this.state !== "ringing" || this.outgoing) return;
    for (const to of new Set([this.pid, ...this.#ringers])) this.#say({ t: "call_reply", to, call: this.id, ok: false, why: "declined" }).catch(() => {});
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
    // Its own ring may come late.
    this.#say({ t: "call_end", to: this.pid, call: this.id, why: "cancelled" }).catch(() => {});
    this.id = id;
    this.outgoing = false;
    this.#enter("connecting");
    this.#connect(true);
    this.#agree();
  }

  // ---- what the others say ----

  /** The same ring again: the caller's session was made anew, or it came twice. @param {Member} member */
  rungAgain(member) {
    if (member.identity !== this.identity || this.outgoing || this.#viaRoom) return;
    this.pid = member.pid;
    this.#isBack();
    if (this.state === "connecting") this.#agree();
  }

  /** Somebody in a call that goes through the room asks this end in, or along. @param {string} from */
  rungBy(from) {
    if (this.state === "ringing") this.#ringers.add(from);
    else this.moveAsked(from);
  }

  /** The other one, at whichever of its sessions: while it moves to another edge it has two. @param {string} from */
  #isOther(from) {
    return from === this.pid || this.#host.room.members.get(from)?.identity === this.identity;
  }

  /** @param {string} from @param {boolean} ok @param {import("../weir-protocol.js").CallEnd | null} why */
  replied(from, ok, why) {
    if (this.#invites.replied(from, ok, why)) return void this.toRoom().catch((error) => this.#fault(error));
    if (!this.#isOther(from)) return;
    this.#isBack();
    if (this.state !== "ringing" || !this.outgoing) return;
    if (!ok) return this.end(why ?? "declined");
    clearTimeout(this.#ringTimer);
    this.#enter("connecting");
    this.#connect(false);
  }

  /** @param {string} from @param {import("../weir-protocol.js").CallEnd} why */
  endedBy(from, why) {
    this.#invites.stops(from);
    const identity = this.#move.who(from);
    if (this.#isOther(from)) this.#without(this.identity, why);
    else if (identity !== null) this.#without(identity, why);
  }

  /** One of those in it has gone. @param {string} gone Whose identity that is. @param {api.CallEndReason} why */
  #without(gone, why) {
    // Of several the others stay: in the room, or on their way there, or at the other end of the direct connection still.
    const others = this.#move.members.some(({ identity }) => identity !== gone) || this.#invites.coming || (gone !== this.identity && this.#direct);
    if (!others) this.end(why);
    else if (gone === this.identity) this.#letGo();
  }

  /** @param {Pick<import("../weir-protocol.js").PeerSignalFrom, "from" | "desc" | "cand">} signal */
  signaled({ from, desc, cand }) {
    if (!this.#isOther(from)) return;
    this.#isBack();
    this.#direct?.hear({ desc, cand });
  }

  /** Somebody in the call goes on through the room, and so does everybody. @param {string} from */
  moveAsked(from) {
    if (from === this.pid && this.state !== "ringing") void this.toRoom(true).catch((error) => this.#fault(error));
  }

  /** @param {Member} member */
  memberJoined(member) {
    this.#invites.joined(member);
    if (member.identity !== this.identity) return;
    if (member.pid !== this.pid) {
      // The same person under another name of session: at another edge, or after theirs was lost.
      this.pid = member.pid;
      this.#sessionGone = false;
      // They ask into the call, or are in it, and do not say so again.
      if (this.#viaRoom) this.#isBack();
      if (this.state === "ringing" && this.outgoing) this.#ringOut();
      this.#direct?.renewed();
    }
    this.memberUpdated(member);
  }

  /** @param {Member} member */
  memberUpdated(member) {
    if (member.attrs[IN_CALL] !== this.id) return;
    // What said so may be lost: that somebody comes, is back, asks this end to come along.
    if (this.#invites.rings(member.pid)) this.replied(member.pid, true, null);
    if (member.pid !== this.pid) return;
    this.#isBack();
    if (!this.#move.begun) this.moveAsked(member.pid);
  }

  /** @param {Member} member @param {import("../weir-protocol.js").LeaveReason} reason */
  memberLeft({ pid }, reason) {
    this.#invites.left(pid, reason);
    if (pid !== this.pid) return;
    // They tried to move to another edge, and stay where they were.
    const stays = [...this.#host.room.members.values()].find((member) => member.identity === this.identity && member.pid !== pid);
    if (stays) return this.memberJoined(stays);
    if (this.#move.through && !this.#direct) return; // Who is left over is seen there.
    if (this.#direct?.connected && (reason === "replaced" || reason === "timed_out")) this.#sessionGone = true;
    else if (reason === "replaced" && this.state === "ringing" && this.outgoing) return; // Their new session is rung too.
    else if (reason === "replaced") this.#backTimer ??= setTimeout(() => this.#without(this.identity, "left"), BACK_WITHIN);
    else this.#without(this.identity, "left");
  }

  /** The other one's client is still in the call. */
  #isBack() {
    clearTimeout(this.#backTimer);
    this.#backTimer = undefined;
  }

  /** The own session was made anew: what was said on the old one may be lost. */
  renewed() {
    if (this.state === "ringing" && this.outgoing) this.#ringOut();
    if (this.state === "connecting" && !this.outgoing) this.#agree();
    this.#invites.renewed();
    this.#move.renewed();
    this.#direct?.renewed();
  }

  // ---- the connection from browser to browser ----

  /** @param {boolean} polite */
  #connect(polite) {
    const direct = new Direct({
      host: this.#host,
      pid: () => this.pid,
      polite,
      tracks: this.#sends.tracks,
      on: {
        send: (signal) => {
          // What is lost with a connection to the server is made good by the next look for a path.
          this.#say({ t: "p2p", to: this.pid, call: this.id, ...signal }).catch(() => {});
        },
        onState: (state) => this.#directState(state),
        onPicture: () => this.#views.place(),
        onOpen: () => this.#tellSends(),
        onDead: () => (this.#move.begun ? this.#letGo() : this.end("failed", true)),
        onClosed: () => this.#later(GONE_AFTER, () => this.#direct === direct && (this.#move.begun ? this.#letGo() : this.end("left"))),
        onBetter: () => this.#moveByItself(),
        onChat: (text) => this.#talk.said(this.name, text),
        onFile: (transfer) => this.#talk.offered(transfer),
        onSwapped: () => this.#move.theySwapped(),
        onBlocked: () => this.#news.tell("audioblocked", {}),
        changed: () => this.#news.changed(),
      },
    });
    this.#direct = direct;
    this.#later(PATH_WITHIN, () => this.state === "connecting" && this.#moveByItself());
  }

  /** @param {RTCPeerConnectionState} state */
  #directState(state) {
    if (state === "connected" && this.state === "connecting") this.#enter("connected");
    else if (state === "disconnected" && this.#sessionGone) this.#without(this.identity, "left");
    this.#news.changed();
  }

  #letGo() {
    this.#direct?.close();
    this.#direct = null;
    this.#move.look();
    this.#news.changed();
  }

  /** From browser to browser and back, in milliseconds. */
  get rtt() {
    return this.#direct?.rtt ?? null;
  }

  /** @returns {api.CallWay | null} */
  get via() {
    return this.#move.through ? "room" : this.#direct?.via ?? null;
  }

  // ---- words and files ----

  get chat() {
    return this.#talk.lines;
  }

  get files() {
    return this.#talk.files;
  }

  /** @param {string} text */
  sendChat(text) {
    return this.#talk.say(text);
  }

  /** @param {import("../weir-protocol.js").Chat} message */
  roomChat(message) {
    this.#talk.saidInRoom(message);
  }

  get canSendFiles() {
    return this.#talk.canSendFiles;
  }

  /** @param {File} file */
  sendFile(file) {
    return this.#talk.send(file);
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

  #tellSends() {
    this.#direct?.say({ t: "sends", audio: this.microphone, video: this.camera });
    this.#news.changed();
  }

  // ---- through the room ----

  /** Moves the media into the room's server; resolves once they come from there. @param {boolean} [asked] The others know. */
  async toRoom(asked = false) {
    // Who was added to a call in the room begins there, once devices are open.
    if (!this.#over && !this.#viaRoom) await this.#move.begin(asked);
  }

  /** One of both begins; the other one follows. */
  #moveByItself() {
    if (this.outgoing && this.#host.autoMove && !this.#move.begun && !this.#move.failed) void this.toRoom().catch((error) => this.#fault(error));
  }

  /** Rings one more; once they accept, everybody goes on through the room. @param {string} pid */
  async add(pid) {
    if (this.state !== "connected") throw new WeirError("bad_state", "The call is not connected yet.");
    if (this.parties.some((party) => party.pid === pid)) throw new WeirError("bad_state", "That person is in the call already.");
    await this.#invites.add(pid);
  }

  get invited() {
    return this.#invites.all;
  }

  // ---- who is seen where ----

  get parties() {
    return this.#views.parties;
  }

  /** @param {HTMLVideoElement} element @param {string} pid */
  attach(element, pid) {
    return this.#views.attach(element, pid);
  }

  get #over() {
    return this.state === "ended";
  }

  async stats() {
    return { via: this.via, rtt: this.rtt, reports: this.#direct ? await this.#direct.stats() : null };
  }

  /** Looks for a path anew, as after a change of network. */
  restartIce() {
    this.#direct?.restartIce();
  }

  startAudio() {
    return Promise.all([this.#direct?.startAudio(), this.#host.room.startAudio()]).then(() => {});
  }

  // ---- the end ----

  /** @param {api.CallEndReason} reason @param {boolean} [tell] */
  end(reason, tell = false) {
    if (this.state === "ended") return;
    if (tell) {
      const why = reason === "left" ? "hung_up" : reason;
      for (const { pid } of this.parties) this.#say({ t: "call_end", to: pid, call: this.id, why }).catch(() => {});
    }
    this.#invites.cancel();
    for (const timer of [this.#ringTimer, this.#backTimer, ...this.#timers]) clearTimeout(timer);
    this.state = "ended";
    this.reason = reason;
    this.#move.close();
    this.#direct?.close();
    this.#direct = null;
    this.#views.close();
    this.#sends.stop();
    this.#news.tell("state", { state: "ended" });
    this.#onEnd(this);
  }

  /** @param {import("../weir-protocol.js").ClientMessage} body @param {{ resend?: boolean }} [how] */
  #say(body, how) {
    return this.#host.request(body, how);
  }

  /** Whether what could not be said is said again: the session was made anew, which {@link renewed} is told of. @param {unknown} fault */
  #saidAgain(fault) {
    return fault instanceof WeirError && (fault.code === "connection_lost" || fault.code === "closed");
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
