// Who is in a call and which element shows whom, whichever way the picture comes: from the other browser, or from the room's server.
// Owns what the elements play; the ways are `calldirect.js`'s and `callmove.js`'s.

/** @import * as api from "../weir.js" */
/** @typedef {{ identity: string, shows: string, undo: (() => void) | null }} View */

/**
 * @typedef {object} ViewsSetup
 * @property {import("./room.js").Room} room
 * @property {{ pid: string, identity: string, name: string }} other The one who was called, or who called.
 * @property {() => import("./calldirect.js").Direct | null} direct
 * @property {() => import("./callmove.js").CallMove} move
 */

export class CallViews {
  #setup;
  /** @type {Map<HTMLMediaElement, View>} */
  #views = new Map();

  /** @param {ViewsSetup} setup */
  constructor(setup) {
    this.#setup = setup;
  }

  /** Everybody else. @returns {api.CallParty[]} */
  get parties() {
    const { room, other } = this.#setup;
    const [move, direct] = [this.#setup.move(), this.#setup.direct()];
    const inRoom = move.members.map(({ pid, identity, name }) => ({
      pid,
      identity,
      name,
      microphone: move.track(identity, "microphone") != null,
      camera: move.track(identity, "camera") != null,
    }));
    if (!direct && move.begun) return inRoom;
    const { pid, identity } = other;
    const seen = inRoom.find((party) => party.identity === identity);
    const first = { pid, identity, name: room.members.get(pid)?.name ?? other.name, microphone: direct?.hasAudio ?? false, camera: direct?.hasVideo ?? false };
    return [seen && move.seesRoom ? seen : first, ...inRoom.filter((party) => party.identity !== identity)];
  }

  /** How somebody is seen now. @param {string} identity @returns {{ direct: MediaStreamTrack | null } | { track: import("./members.js").RemoteTrack | null }} */
  #seen(identity) {
    const [move, direct] = [this.#setup.move(), this.#setup.direct()];
    return direct && identity === this.#setup.other.identity && !move.seesRoom ? { direct: direct.picture } : { track: move.track(identity, "camera") };
  }

  /** @param {HTMLVideoElement} element @param {string} pid */
  attach(element, pid) {
    const { room, other } = this.#setup;
    /** @type {View} */
    const view = { identity: pid === other.pid ? other.identity : room.members.get(pid)?.identity ?? "", shows: "", undo: null };
    this.#views.set(element, view);
    this.place();
    return () => {
      if (this.#views.get(element) !== view) return;
      this.#views.delete(element);
      if (view.undo) view.undo();
      else element.srcObject = null;
    };
  }

  /** The elements that show somebody. @param {string} identity */
  of(identity) {
    return [...this.#views].filter(([, view]) => view.identity === identity).map(([element]) => element);
  }

  /** Gives each element what it should show now. */
  place() {
    for (const [element, view] of this.#views) {
      const seen = this.#seen(view.identity);
      const source = "direct" in seen ? seen.direct : seen.track;
      if (view.shows === (source?.id ?? "")) continue;
      view.shows = source?.id ?? "";
      view.undo?.();
      view.undo = null;
      if ("direct" in seen) element.srcObject = seen.direct && new MediaStream([seen.direct]);
      // The element keeps its last picture until the next one is there.
      else if (seen.track) view.undo = this.#setup.room.attach(element, seen.track);
    }
  }

  close() {
    for (const [element, { undo }] of this.#views) {
      undo?.();
      element.srcObject = null;
    }
    this.#views.clear();
  }
}
