// What is asked of the admin listener. Owns addresses and how long an answer may take.

const PATIENCE = 3_000;

/** An answer that says no; `message` is fit to be shown. */
export class Refusal extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @param {string} path @param {RequestInit} [how] @returns {Promise<any>} */
async function ask(path, how = {}) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE), ...how });
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(response.status, body?.error?.message ?? `the node answered ${response.status}`);
  return body;
}

/** @param {string} path @param {unknown} body */
const tell = (path, body) => ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export const cascade = () => ask("/v1/admin/cascade");
export const rooms = () => ask("/v1/admin/rooms");
export const dev = () => ask("/v1/admin/dev");
export const drain = (/** @type {string} */ node) => tell(`/v1/admin/drain?node=${encodeURIComponent(node)}`, {});
export const breakPath = (/** @type {string} */ from, /** @type {string} */ to, /** @type {object} */ impairment) => tell("/v1/admin/dev/path", { from, to, both: true, impairment });
export const act = (/** @type {string} */ node, /** @type {"kill" | "start" | "drain"} */ action) => tell("/v1/admin/dev/node", { node, action });
