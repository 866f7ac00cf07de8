// Who was rung to join a call that is on, and has not come: rings, hears their answers, rings anew where a session was made anew, and
// gives them up after a while. Owns the list; `call.js` passes on what they say.

import { WeirError } from "./errors.js";

/** @import * as api from "../weir.js" */

/** How long it can be seen why somebody did not come, in milliseconds. */
const SHOWN_FOR = 8_000;
/** Whoever has accepted is there within this, devices opened and all. */
const COME_WITHIN = 20_000;

/**
 * @typedef {object} InvitesSetup
 * @property {import("./calls.js").Host} host
 * @property {() => string} call Its name, as of now.
 * @property {{ audio: boolean, video: boolean }} media
 * @property {(invitation: api.Invitation) => void} tell
 * @property {() => void} changed
 * @property {() => void} onNobody Nobody is on their way any more.
 * @property {(ms: number, step: () => void) => void} later
 */

export class CallInvites {
  #setup;
  /** @type {Map<string, api.Invitation>} */
  all = new Map();
  /** Who has accepted and is not in it yet: identities by session. @type {Map<string, string>} */
  #coming = new Map();

  /** @param {InvitesSetup} setup */
  constructor(setup) {
    this.#setup = setup;
  }

  /** Rings somebody. @param {string} pid */
  async add(pid) {
    const { host } = this.#setup;
    const member = host.room.members.get(pid);
    if (!member) throw new WeirError("not_found", "That person is not here any more.");
    if (this.rings(pid)) return;
    await this.#ring({ pid, identity: member.identity, name: member.name, state: "ringing" });
  }

  /** @param {api.Invitation} invitation */
  async #ring(invitation) {
    const { host, later } = this.#setup;
    const { pid } = invitation;
    this.#set(invitation);
    later(host.ringMs, () => {
      if (this.all.get(pid) !== invitation) return;
      this.#end(pid, "timeout");
      this.over(pid, "timeout");
    });
    try {
      await this.#say(pid);
    } catch (fault) {
      // It may have been said, and is said again once the own session is back.
      if (fault instanceof WeirError && (fault.code === "connection_lost" || fault.code === "closed")) return;
      this.#drop(invitation);
      throw fault;
    }
  }

  /** @param {string} pid */
  #say(pid) {
    const { host, call, media } = this.#setup;
    return host.request({ t: "call", to: pid, call: call(), media, room: true });
  }

  /** The own session was made anew: what was said on the old one may be lost. */
  renewed() {
    for (const pid of this.all.keys()) if (this.rings(pid)) this.#say(pid).catch(() => {});
  }

  /** Somebody is there, maybe under another name of session than the one that was rung. @param {import("./members.js").Member} member */
  joined({ pid, identity }) {
    for (const invitation of [...this.all.values()]) {
      if (invitation.state !== "ringing" || invitation.identity !== identity || invitation.pid === pid) continue;
      this.all.delete(invitation.pid);
      this.#ring({ ...invitation, pid }).catch(() => {});
    }
    for (const [before, who] of [...this.#coming]) if (who === identity && this.#coming.delete(before)) this.#coming.set(pid, who);
  }

  /** @param {string} pid @param {import("../weir-protocol.js").LeaveReason} reason */
  left(pid, reason) {
    // Their newer session is rung.
    if (reason === "replaced") return;
    const identity = this.all.get(pid)?.identity ?? this.#coming.get(pid);
    const stays = [...this.#setup.host.room.members.values()].find((member) => member.identity === identity && member.pid !== pid);
    if (stays) return this.joined(stays);
    this.over(pid, "left");
    this.#came(pid);
  }

  /** Somebody says that they do not come, or not any more. @param {string} from */
  stops(from) {
    const identity = this.#setup.host.room.members.get(from)?.identity;
    for (const [pid, who] of [...this.#coming]) if (pid === from || who === identity) this.#came(pid);
  }

  /** Somebody has accepted, and is not in it yet. */
  get coming() {
    return this.#coming.size > 0;
  }

  /** @param {string} pid Is in it, or does not come. */
  #came(pid) {
    if (this.#coming.delete(pid) && !this.coming) this.#setup.onNobody();
  }

  /** What somebody who may have been rung answers. @param {string} pid @param {boolean} ok @param {api.CallEndReason | null} why @returns {boolean} whether they come */
  replied(pid, ok, why) {
    const invitation = this.#ringing(pid);
    if (!invitation) return false;
    if (!ok) this.over(invitation.pid, why ?? "declined");
    else {
      const { identity } = invitation;
      this.#coming.set(invitation.pid, identity);
      this.#setup.later(COME_WITHIN, () => [...this.#coming].forEach(([pid, who]) => who === identity && this.#came(pid)));
      this.#drop(invitation);
    }
    return ok;
  }

  /** They are in the call, whoever rang them. @param {string[]} pids */
  here(pids) {
    for (const pid of pids) {
      this.#coming.delete(pid);
      if (this.all.delete(pid)) this.#setup.changed();
    }
  }

  /** They do not come. @param {string} pid @param {api.CallEndReason} why */
  over(pid, why) {
    const known = this.all.get(pid);
    if (known?.state !== "ringing") return;
    const invitation = { ...known, state: why };
    this.#set(invitation);
    this.#setup.tell(invitation);
    this.#setup.later(SHOWN_FOR, () => this.#drop(invitation));
  }

  /** The call is over. */
  cancel() {
    for (const pid of this.all.keys()) if (this.rings(pid)) this.#end(pid, "cancelled");
  }

  /** @param {string} pid */
  rings(pid) {
    return this.#ringing(pid) !== undefined;
  }

  /** The ring of somebody, by whichever of their sessions: who moves to another edge has two. @param {string} pid */
  #ringing(pid) {
    const identity = this.all.get(pid)?.identity ?? this.#setup.host.room.members.get(pid)?.identity;
    return [...this.all.values()].find((invitation) => invitation.state === "ringing" && (invitation.pid === pid || invitation.identity === identity));
  }

  /** @param {string} pid @param {import("../weir-protocol.js").CallEnd} why */
  #end(pid, why) {
    this.#setup.host.request({ t: "call_end", to: pid, call: this.#setup.call(), why }).catch(() => {});
  }

  /** @param {api.Invitation} invitation */
  #set(invitation) {
    this.all.set(invitation.pid, invitation);
    this.#setup.changed();
  }

  /** @param {api.Invitation} invitation */
  #drop(invitation) {
    if (this.all.get(invitation.pid) === invitation && this.all.delete(invitation.pid)) this.#setup.changed();
  }
}
