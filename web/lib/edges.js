// Where a session may be carried: the edge it is at, and the others it can go to, nearest first. Owns the order in which they
// are tried; `signal.js` does the trying.

/** @typedef {import("../weir-protocol.js").Edge} Edge */
/** @typedef {import("../weir-protocol.js").EdgeAddress} EdgeAddress */

/** Attempts at the edge that was lost before another is asked: it may only have lost the socket, and would resume. */
const HERE_FIRST = 2;
/** Nor is it waited for longer than this, in milliseconds. */
const HERE_FOR = 2_000;

export class Edges {
  /** Of the edge that greeted last; before that, the one that the application named. @type {string} */
  here;
  /** @type {string[]} */
  others = [];
  #next = 0;
  /** It said that it is about to go. */
  #leaving = false;

  /** @param {string} url `ws:` or `wss:`. @param {string[]} [others] */
  constructor(url, others = []) {
    this.here = url;
    this.others = others;
  }

  /** An edge greeted. @param {string} url Where. @param {Edge | undefined} edge Which. @param {readonly EdgeAddress[]} [list] */
  greeted(url, edge, list = []) {
    this.here = url;
    this.#next = 0;
    this.#leaving = false;
    this.learn(edge, list);
  }

  /** @param {Edge | undefined} edge The one that tells. @param {readonly EdgeAddress[]} list */
  learn(edge, list) {
    const near = (/** @type {EdgeAddress} */ each) => Number(each.region !== edge?.region);
    this.others = list
      .filter(({ id, url }) => id !== edge?.id && /^https?:/.test(url))
      .sort((a, b) => near(a) - near(b))
      .map(({ url }) => socketUrl(url));
  }

  /** The edge goes away: it is asked last. */
  leaving() {
    this.#leaving = true;
  }

  /**
   * Whom to ask next.
   * @param {number} attempt The first after a loss is 1.
   * @param {number} lostFor Milliseconds.
   */
  next(attempt, lostFor) {
    if (this.others.length === 0 || (!this.#leaving && attempt <= HERE_FIRST && lostFor < HERE_FOR)) return this.here;
    const round = [...this.others, this.here];
    const url = round[this.#next % round.length] ?? this.here;
    this.#next += 1;
    return url;
  }
}

/** The room protocol's address at an edge. @param {string} url Such as `https://fra.example.org`. */
export function socketUrl(url) {
  return `${url.replace(/^http/, "ws").replace(/\/+$/, "")}/v1/ws`;
}
