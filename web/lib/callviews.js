// Which element shows whom in a call, whichever way the picture comes: from the other browser, or from the room's server. Owns what
// the elements play; `call.js` says who is seen by which way.

/** @typedef {import("./members.js").RemoteTrack} RemoteTrack */
/** @typedef {{ identity: string, shows: string, undo: (() => void) | null }} View */

export class CallViews {
  #room;
  #seen;
  /** @type {Map<HTMLMediaElement, View>} */
  #views = new Map();

  /**
   * @param {import("./room.js").Room} room
   * @param {(identity: string) => { direct: MediaStreamTrack | null } | { track: RemoteTrack | null }} seen How somebody is seen now.
   */
  constructor(room, seen) {
    this.#room = room;
    this.#seen = seen;
  }

  /** @param {HTMLVideoElement} element @param {string} identity */
  attach(element, identity) {
    /** @type {View} */
    const view = { identity, shows: "", undo: null };
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
      else if (seen.track) view.undo = this.#room.attach(element, seen.track);
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
