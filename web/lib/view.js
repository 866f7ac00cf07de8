// Tells the server what is on screen: the size of every attached video in device pixels, whether it can be seen, how much it
// matters. Owns the observers; `room.js` sends what it reports. The server chooses layers by it.

/** @typedef {import("../weir-protocol.js").ViewItem} ViewItem */
/** @typedef {{ items: ViewItem[], limit_bps?: number }} Report */
/** @typedef {{ element: HTMLElement, track: string, priority: number, width: number, height: number, seen: boolean }} Shown */

/** Dragging a window edge fires every frame; the server needs the outcome. */
const REPORT_AFTER = 100;
/** A tab that is looked away from for a moment keeps its pictures. */
const HIDDEN_AFTER = 2_000;

export class View {
  #report;
  /** @type {Map<HTMLElement, Shown>} */
  #shown = new Map();
  #last = "";
  /** @type {number | null} */
  #limit = null;
  #pageHidden = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #hideTimer;
  #resize = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const shown = this.#shown.get(/** @type {HTMLElement} */ (target));
      if (!shown) continue;
      shown.width = contentRect.width;
      shown.height = contentRect.height;
    }
    this.#soon();
  });
  #intersect = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const shown = this.#shown.get(/** @type {HTMLElement} */ (target));
      if (shown) shown.seen = isIntersecting;
    }
    this.#soon();
  });
  #visibility = () => {
    clearTimeout(this.#hideTimer);
    const apply = () => {
      this.#pageHidden = document.hidden;
      this.#soon();
    };
    if (document.hidden) this.#hideTimer = setTimeout(apply, HIDDEN_AFTER);
    else apply();
  };

  /** @param {(report: Report) => void} report */
  constructor(report) {
    this.#report = report;
    document.addEventListener("visibilitychange", this.#visibility);
  }

  /**
   * Watches an element that shows a track until the returned function is called.
   * @param {HTMLElement} element
   * @param {string} track
   * @param {number} priority
   */
  watch(element, track, priority) {
    const { width, height } = element.getBoundingClientRect();
    const shown = { element, track, priority, width, height, seen: true };
    this.#shown.set(element, shown);
    this.#resize.observe(element);
    this.#intersect.observe(element);
    this.#soon();
    return () => {
      if (this.#shown.get(element) !== shown) return;
      this.#shown.delete(element);
      this.#resize.unobserve(element);
      this.#intersect.unobserve(element);
      this.#soon();
    };
  }

  /** No more than this is wanted, in bits per second. @param {number | null} bps */
  limit(bps) {
    this.#limit = bps;
    this.#soon();
  }

  /** Reports again even if nothing changed: another session is at the other end. */
  repeat() {
    this.#last = "";
    this.#soon();
  }

  close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#hideTimer);
    document.removeEventListener("visibilitychange", this.#visibility);
    this.#resize.disconnect();
    this.#intersect.disconnect();
    this.#shown.clear();
  }

  #soon() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const report = { items: this.#items(), ...(this.#limit !== null && { limit_bps: this.#limit }) };
      const text = JSON.stringify(report);
      if (text === this.#last) return;
      this.#last = text;
      this.#report(report);
    }, REPORT_AFTER);
  }

  /** One item per track: the largest place it is shown in. @returns {ViewItem[]} */
  #items() {
    const ratio = globalThis.devicePixelRatio || 1;
    /** @type {Map<string, ViewItem>} */
    const items = new Map();
    for (const { track, priority, width, height, seen } of this.#shown.values()) {
      const w = Math.round(width * ratio);
      const h = Math.round(height * ratio);
      const visible = seen && !this.#pageHidden && w > 0 && h > 0;
      const before = items.get(track);
      items.set(track, {
        track,
        w: Math.max(w, before?.w ?? 0),
        h: Math.max(h, before?.h ?? 0),
        visible: visible || (before?.visible ?? false),
        prio: Math.max(priority, before?.prio ?? 0),
      });
    }
    return [...items.values()];
  }
}
