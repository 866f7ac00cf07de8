// Numbers and times as people read them.

/** @param {number} bps */
export function kbps(bps) {
  return bps >= 1_000_000 ? `${(bps / 1_000_000).toFixed(1)} Mbps` : `${Math.round(bps / 1000)} kbps`;
}

/** @param {number} count */
export function bytes(count) {
  return count >= 1_000_000 ? `${(count / 1_000_000).toFixed(1)} MB` : count >= 1_000 ? `${Math.round(count / 1_000)} kB` : `${count} bytes`;
}

/** @param {number} share Of 1. */
export function percent(share) {
  return share > 0 && share < 0.01 ? "<1 %" : `${Math.round(share * 100)} %`;
}

/** @param {number} at Milliseconds since the Unix epoch. */
export function clock(at) {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/** @param {number} ms */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
