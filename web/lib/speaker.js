// Plays every audio slot of the connection, whichever member it carries at the moment: a re-bound slot needs nothing done. Owns
// the audio elements and the output device. `room.js` feeds it.

export class Speaker {
  #onBlocked;
  /** @type {Map<string, HTMLAudioElement>} by mid */
  #elements = new Map();
  #sink = "";
  #blocked = false;

  /** @param {() => void} onBlocked */
  constructor(onBlocked) {
    this.#onBlocked = onBlocked;
  }

  /** @param {MediaStreamTrack} media @param {string} mid */
  add(media, mid) {
    const element = this.#elements.get(mid) ?? new Audio();
    this.#elements.set(mid, element);
    element.autoplay = true;
    element.srcObject = new MediaStream([media]);
    if (this.#sink) void this.#route(element).catch(() => {});
    element.play().catch((fault) => {
      if (fault?.name !== "NotAllowedError" || this.#blocked) return;
      this.#blocked = true;
      this.#onBlocked();
    });
  }

  async start() {
    this.#blocked = false;
    await Promise.all([...this.#elements.values()].map((element) => element.play().catch(() => {})));
  }

  /** @param {string} deviceId */
  async route(deviceId) {
    this.#sink = deviceId;
    await Promise.all([...this.#elements.values()].map((element) => this.#route(element)));
  }

  /** @param {HTMLAudioElement} element */
  async #route(element) {
    if ("setSinkId" in element) await element.setSinkId(this.#sink);
  }

  /** Lets go of everything: the connection is over. */
  clear() {
    for (const element of this.#elements.values()) {
      element.pause();
      element.srcObject = null;
    }
    this.#elements.clear();
  }
}
