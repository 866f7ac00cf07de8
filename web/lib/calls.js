// Calls with other members of the room: who rings whom, one call at a time, busy when there is one, and what happens when two
// ring each other at once. Owns the call of now; `room.js` passes on what the server says. Public as `room.calls`.

import { Call } from "./call.js";
import { WeirError } from "./errors.js";
import { listen } from "./news.js";

/** @import * as api from "../weir.js" */
/** @typedef {import("./members.js").Member} Member */
/** @typedef {import("../weir-protocol.js").ServerMessage} ServerMessage */

/**
 * What a call needs of its room.
 * @typedef {object} Host
 * @property {import("./room.js").Room} room
 * @property {(body: import("../weir-protocol.js").ClientMessage, how?: { resend?: boolean }) => Promise<void>} request
 * @property {() => RTCIceServer[]} iceServers
 * @property {() => import("./media.js").Media | null} media
 * @property {(element: HTMLMediaElement, track: string) => () => void} watch Reports a place on the page for a track that is not shown there yet.
 * @property {boolean} relayOnly
 * @property {number} ringMs
 * @property {boolean} autoMove
 */

/** Calls that are over: what was said about them may come late. */
const OVER_MOST = 64;
/** Who has left or declined a call may be asked back into it. Until then it is the same ring, or the word to come along, come late. */
const BACK_AFTER = 5_000;
/** Who was given up may be asked again at once. @type {ReadonlySet<api.CallEndReason | null>} */
const GIVEN_UP = new Set(["timeout", "cancelled"]);

/** @implements {api.Calls} */
export class Calls extends EventTarget {
  #host;
  /** Whether somebody would notice a ring. */
  #listens = false;
  /** By name, and why as far as this end knows. @type {Map<string, { why: api.CallEndReason | null, at: number }>} */
  #over = new Map();
  #onHide = () => this.current?.hangUp();
  /** @type {Call | null} */
  current = null;

  /** @param {Host} host */
  constructor(host) {
    super();
    this.#host = host;
    host.room.on("memberjoined", ({ member }) => this.current?.memberJoined(/** @type {Member} */ (member)));
    host.room.on("memberupdated", ({ member }) => this.current?.memberUpdated(/** @type {Member} */ (member)));
    host.room.on("memberleft", ({ member, reason }) => this.current?.memberLeft(/** @type {Member} */ (member), reason));
    host.room.on("chat", ({ message }) => this.current?.roomChat(message));
    host.room.on("closed", () => this.#closed());
    globalThis.addEventListener?.("pagehide", this.#onHide);
  }

  /** @override @param {string} type @param {any} listener @param {any} [options] */
  addEventListener(type, listener, options) {
    this.#listens ||= type === "incoming";
    super.addEventListener(type, listener, options);
  }

  /**
   * @template {keyof api.CallsEvents} K
   * @param {K} type @param {(detail: api.CallsEvents[K]) => void} listener
   */
  on(type, listener) {
    return listen(this, type, listener);
  }

  /** @param {string} pid @param {api.CallOptions} [options] */
  call(pid, options = {}) {
    const { room } = this.#host;
    const member = room.members.get(pid);
    if (!member) throw new WeirError("not_found", "That person is not here any more.");
    if (this.current) throw new WeirError("bad_state", "You are in a call already.");
    if (!room.local.grants.publish || !room.local.grants.data) throw new WeirError("forbidden", "You may not make calls in this room.");
    const media = { audio: Boolean(options.audio ?? true), video: Boolean(options.video ?? true) };
    const call = this.#begin({ id: crypto.randomUUID(), member, outgoing: true, media, room: false });
    call.ring(options);
    return call;
  }

  /** What the server says of calls. @param {ServerMessage} message @returns {boolean} whether it was that */
  hear(message) {
    switch (message.t) {
      case "call":
        this.#rung(message);
        return true;
      case "call_reply":
        if (message.ok) this.#tellOver(message);
        this.#about(message)?.replied(message.from, message.ok, message.why);
        return true;
      case "call_end":
        if (!this.#about(message)) this.#remember(message.call);
        this.#about(message)?.endedBy(message.from, message.why);
        return true;
      case "p2p":
        if (message.desc) this.#tellOver(message);
        this.#about(message)?.signaled(message);
        return true;
      default:
        return false;
    }
  }

  /** @param {{ call: string }} message */
  #about({ call }) {
    return this.current?.id === call ? this.current : null;
  }

  /** Whoever goes on with a call that is over here missed its end. @param {{ call: string, from: string }} message */
  #tellOver({ call, from }) {
    if (this.#over.has(call)) this.#host.request({ t: "call_end", to: from, call, why: "hung_up" }).catch(() => {});
  }

  /** @param {Extract<ServerMessage, { t: "call" }>} message */
  #rung({ from, call: id, media, room: viaRoom }) {
    const { room } = this.#host;
    const member = room.members.get(from);
    const { current } = this;
    if (!member) return;
    if (current?.id === id) return viaRoom ? current.rungBy(from) : current.rungAgain(member);
    const over = this.#over.get(id);
    if (over && viaRoom && (GIVEN_UP.has(over.why) || Date.now() - over.at > BACK_AFTER)) this.#over.delete(id);
    // The answer was lost with a session of theirs.
    else if (over) return over.why === "declined" ? this.#refuse(from, id, "declined") : undefined;
    const able = this.#listens && room.local.grants.publish && room.local.grants.data;
    if (!able) return this.#refuse(from, id, "unavailable");
    const alone = !current?.parties.some(({ identity }) => identity !== member.identity);
    if (current?.identity === member.identity && alone && !viaRoom) {
      // Both rang: the one with the smaller name of session stays the caller, and the other one has thereby accepted.
      if (current.state === "ringing" && current.outgoing) return room.local.pid < from ? this.#remember(id) : current.yield(id);
      // They begin anew: their end of the old call is gone.
      current.end(current.state === "ringing" ? "cancelled" : "left");
    } else if (current) {
      return this.#refuse(from, id, "busy");
    }
    const call = this.#begin({ id, member, outgoing: false, media, room: viaRoom });
    call.rung();
    this.dispatchEvent(new CustomEvent("incoming", { detail: { call } }));
  }

  /** @param {string} to @param {string} call @param {import("../weir-protocol.js").CallEnd} why */
  #refuse(to, call, why) {
    this.#host.request({ t: "call_reply", to, call, ok: false, why }).catch(() => {});
  }

  /** @param {ConstructorParameters<typeof Call>[1]} what */
  #begin(what) {
    const call = new Call(this.#host, what, (ended) => {
      this.#remember(ended.id, ended.reason);
      if (this.current === ended) this.current = null;
      this.dispatchEvent(new CustomEvent("ended", { detail: { call: ended } }));
    });
    this.current = call;
    this.dispatchEvent(new CustomEvent("call", { detail: { call } }));
    return call;
  }

  /** @param {string} id @param {api.CallEndReason | null} [why] */
  #remember(id, why = null) {
    // The newest last.
    this.#over.delete(id);
    this.#over.set(id, { why, at: Date.now() });
    for (const oldest of this.#over.keys()) {
      if (this.#over.size <= OVER_MOST) break;
      this.#over.delete(oldest);
    }
  }

  /** The session was made anew, here or at another edge. */
  renewed() {
    this.current?.renewed();
  }

  #closed() {
    globalThis.removeEventListener?.("pagehide", this.#onHide);
    this.current?.end("left");
  }
}
