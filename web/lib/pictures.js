// Which elements show which track, and how one stream takes over from another in an element without a dark moment. Owns what
// the elements play; `room.js` says what there is to play.

/** A picture whose stream ended stays this long, in milliseconds, for a stream that takes over. A longer stay shows the past. */
const HOLD = 4_000;

export class Pictures {
  /** Elements that show a track, by its id. @type {Map<string, Set<HTMLMediaElement>>} */
  #attached = new Map();
  /** Elements whose picture goes unless something else comes. @type {Map<HTMLMediaElement, ReturnType<typeof setTimeout>>} */
  #fading = new Map();

  /** @param {HTMLMediaElement} element @param {{ id: string, media: MediaStreamTrack | null }} track */
  attach(element, { id, media }) {
    const elements = this.#attached.get(id) ?? new Set();
    this.#attached.set(id, elements.add(element));
    if (media) this.#play(element, media);
    else this.#fade(element);
    return () => {
      if (!elements.delete(element)) return;
      if (elements.size === 0 && this.#attached.get(id) === elements) this.#attached.delete(id);
      this.#fade(element);
    };
  }

  /** Whether anything shows it. @param {string} id */
  shows(id) {
    return this.#attached.has(id);
  }

  /**
   * A track plays as something else, or as nothing.
   * @param {string} id @param {MediaStreamTrack | null} media
   * @param {boolean} hold Keep the last picture for a while: the track is expected back.
   */
  show(id, media, hold) {
    for (const element of this.#attached.get(id) ?? []) {
      if (media) this.#play(element, media);
      else if (hold) this.#fade(element);
      else this.#clear(element);
    }
  }

  close() {
    for (const timer of this.#fading.values()) clearTimeout(timer);
    this.#fading.clear();
    this.#attached.clear();
  }

  /** @param {HTMLMediaElement} element @param {MediaStreamTrack} media */
  #play(element, media) {
    this.#stay(element);
    const stream = element.srcObject;
    if (!(stream instanceof MediaStream)) {
      element.srcObject = new MediaStream([media]);
      return;
    }
    const before = stream.getTracks();
    if (before.length === 1 && before[0] === media) return;
    // Within one stream the element keeps its last picture until the new track has one; a new stream would empty it.
    for (const track of before) stream.removeTrack(track);
    stream.addTrack(media);
    // It may have paused itself when the track before ended.
    void element.play?.().catch(() => {});
  }

  /** @param {HTMLMediaElement} element */
  #fade(element) {
    if (!element.srcObject || this.#fading.has(element)) return;
    this.#fading.set(element, setTimeout(() => this.#clear(element), HOLD));
  }

  /** @param {HTMLMediaElement} element */
  #stay(element) {
    clearTimeout(this.#fading.get(element));
    this.#fading.delete(element);
  }

  /** @param {HTMLMediaElement} element */
  #clear(element) {
    this.#stay(element);
    element.srcObject = null;
  }
}
