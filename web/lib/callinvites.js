// Who was rung to join a call that is on, and has not come: rings, hears their answers, and gives them up after a while. Owns the list;
// `call.js` passes on what they say.

import { WeirError } from "./errors.js";

/** @import * as api from "../weir.js" */

/** How long it can be seen why somebody did not come, in milliseconds. */
const SHOWN_FOR = 8_000;

/**
 * @typedef {object} InvitesSetup
 * @property {import("./calls.js").Host} host
 * @property {() => string} call Its name, as of now.
 * @property {{ audio: boolean, video: boolean }} media
 * @property {(invitation: api.Invitation) => void} tell
 * @property {() => void} changed
 * @property {(ms: number, step: () => void) => void} later
 */

export class CallInvites {
  #setup;
  /** @type {Map<string, api.Invitation>} */
  all = new Map();

  /** @param {InvitesSetup} setup */
  constructor(setup) {
    this.#setup = setup;
  }

  /** Rings somebody. @param {string} pid */
  async add(pid) {
    const { host, call, media, later } = this.#setup;
    const member = host.room.members.get(pid);
    if (!member) throw new WeirError("not_found", "That person is not here any more.");
    if (this.#rings(pid)) return;
    /** @type {api.Invitation} */
    const invitation = { pid, name: member.name, state: "ringing" };
    this.#set(invitation);
    try {
      await host.request({ t: "call", to: pid, call: call(), media, room: true });
    } catch (fault) {
      this.#drop(invitation);
      throw fault;
    }
    later(host.ringMs, () => {
      if (this.all.get(pid) !== invitation) return;
      this.#end(pid, "timeout");
      this.over(pid, "timeout");
    });
  }

  /** What somebody who may have been rung answers. @param {string} pid @param {boolean} ok @param {api.CallEndReason | null} why @returns {boolean} whether they come */
  replied(pid, ok, why) {
    if (!this.#rings(pid)) return false;
    if (!ok) this.over(pid, why ?? "declined");
    else this.here([pid]);
    return ok;
  }

  /** They are in the call, whoever rang them. @param {string[]} pids */
  here(pids) {
    for (const pid of pids) if (this.all.delete(pid)) this.#setup.changed();
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
    for (const pid of this.all.keys()) if (this.#rings(pid)) this.#end(pid, "cancelled");
  }

  /** @param {string} pid */
  #rings(pid) {
    return this.all.get(pid)?.state === "ringing";
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
