// How an object of the library says what happened: events with their details, and behind them one that says only that something
// changed, which comes at most once per frame or so. Owns that pace; which events there are is each object's.

/** Between two events `change`, in milliseconds. */
const CHANGE_EVERY = 16;

/** @template {Record<string, any>} Events */
export class News {
  #target;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {EventTarget} target Whose they are; it is the detail of `change`. */
  constructor(target) {
    this.#target = target;
  }

  /**
   * @template {keyof Events & string} K
   * @param {K} type @param {Events[K]} detail
   */
  tell(type, detail) {
    this.#target.dispatchEvent(new CustomEvent(type, { detail }));
    this.changed();
  }

  changed() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#target.dispatchEvent(new CustomEvent("change", { detail: this.#target }));
    }, CHANGE_EVERY);
  }
}

/**
 * `addEventListener` with the detail alone. Returns what ends it.
 * @param {EventTarget} target @param {string} type @param {(detail: any) => void} listener
 */
export function listen(target, type, listener) {
  /** @param {Event} event */
  const heard = (event) => listener(/** @type {CustomEvent} */ (event).detail);
  target.addEventListener(type, heard);
  return () => target.removeEventListener(type, heard);
}
