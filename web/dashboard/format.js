// Figures as people read them, and what counts as bad.

/** @param {number} mbps */
export function rate(mbps) {
  if (mbps >= 100) return `${Math.round(mbps)} Mbps`;
  if (mbps >= 1) return `${mbps.toFixed(1)} Mbps`;
  return `${Math.round(mbps * 1000)} kbps`;
}

/** @param {number} ms */
export function millis(ms) {
  return ms >= 100 || ms === 0 ? `${Math.round(ms)} ms` : ms >= 10 ? `${ms.toFixed(0)} ms` : `${ms.toFixed(1)} ms`;
}

/** @param {number} share Of 1. */
export function percent(share) {
  if (share === 0) return "0 %";
  return share < 0.1 ? `${(share * 100).toFixed(1)} %` : `${Math.round(share * 100)} %`;
}

/** @param {number} at */
export function clock(at) {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

/** @param {number} seconds */
export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} d`;
}

/** How bad a loss is: `good`, `some`, `bad`, `worst`. People can talk up to `bad`. @param {number} share */
export function grade(share) {
  return share < 0.005 ? "good" : share < 0.02 ? "some" : share < 0.06 ? "bad" : "worst";
}

/** @param {string} track An id of one letter and 14 digits: its end differs. */
export const short = (track) => (track.length > 8 ? `…${track.slice(-5)}` : track);

/** @param {number} number @param {string} what */
export const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
