// "Why is this tile blurry?": what the server says of a subscription, in words. Owns the words only; `tile.js` and `call.js` show them.

import { kbps } from "./format.js";

/** @typedef {import("../weir.js").MemberStats} MemberStats */

/** @type {Record<import("../weir-protocol.js").StreamReason, string>} */
const REASONS = {
  off_screen: "not on screen",
  bandwidth: "your connection carries no more",
  link: "a link between servers carries no more",
  busy: "the server has too much to do",
  muted: "turned off",
  no_media: "not sent by its owner",
  keyframe: "waits for a keyframe",
  quiet: "others are louder",
};

/**
 * What a track gets of what the screen calls for, and why not all of it.
 * @param {MemberStats | null} server @param {string} track
 * @returns {[string, string][]}
 */
export function why(server, track) {
  const found = server?.subscriptions.find((each) => each.track === track);
  if (!found) return [];
  const { kind, current, target, wanted, reason } = found;
  const words = (/** @type {import("../weir-protocol.js").Picture | null} */ picture) => (picture === null ? "nothing" : `${picture.h}p${picture.fps ?? ""}`);
  const goal = target !== null && target.h !== current?.h && target.h !== wanted?.h ? ` → ${words(target)}` : "";
  const what = kind === "video" ? `${words(current)}${goal}${wanted === null ? "" : ` of ${words(wanted)}`} · ` : "";
  /** @type {[string, string][]} */
  const told = [["server", `${what}${kbps(found.bps)}`]];
  if (reason !== null) told.push(["why", REASONS[reason] ?? reason]);
  return told;
}

/** What the path to this browser carries, and what is asked of it. @param {MemberStats | null} server @returns {[string, string][]} */
export function budget(server) {
  if (!server) return [];
  const { budget_bps: given, demand_bps: wants, estimate_bps: carries } = server;
  return [["budget", carries === null || kbps(carries) === kbps(given) ? kbps(given) : `${kbps(given)}, path ${kbps(carries)}`], ["wants", kbps(wants)]];
}
