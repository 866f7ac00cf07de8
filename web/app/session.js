// What this browser remembers: the tab's identity, the person's name and devices, rooms visited; and where join tokens come from.
// Owns the storage keys. A browser that forbids storage only forgets.

import { WeirError } from "../weir.js";

const PREFERENCES = "weir.preferences";
const ROOMS = "weir.rooms";
const IDENTITY = "weir.identity";
const IN_CALL = "weir.in-call";
const ROOMS_MOST = 5;

/** @param {Storage | undefined} storage @param {string} key */
function read(storage, key) {
  try {
    return JSON.parse(storage?.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

/** @param {Storage | undefined} storage @param {string} key @param {unknown} value */
function write(storage, key, value) {
  try {
    if (value === null) storage?.removeItem(key);
    else storage?.setItem(key, JSON.stringify(value));
  } catch {
    // Private windows may refuse; nothing depends on it.
  }
}

/** Name, devices, and whether camera and microphone start on. */
export const preferences = {
  get: () => ({ name: "", camera: "", microphone: "", output: "", cameraOn: true, microphoneOn: true, cameraHeight: 720, theme: "dark", ...read(globalThis.localStorage, PREFERENCES) }),
  /** @param {Record<string, unknown>} changes */
  set: (changes) => write(globalThis.localStorage, PREFERENCES, { ...preferences.get(), ...changes }),
};

/** What a camera may be asked for, by picture height. */
export const CAMERA_HEIGHTS = [360, 720, 1080];

/** How the camera is to be opened. */
export function cameraOptions() {
  const { camera, cameraHeight } = preferences.get();
  const height = CAMERA_HEIGHTS.includes(cameraHeight) ? cameraHeight : 720;
  return { deviceId: camera, height, width: (height * 16) / 9 };
}

// A link may ask for another quality, as it may for another codec: `/room/x?video=360&codec=vp9`.
{
  const asked = Number(new URLSearchParams(location.search).get("video"));
  if (CAMERA_HEIGHTS.includes(asked)) preferences.set({ cameraHeight: asked });
}

/** Dark unless somebody chose otherwise: faces look best on dark. `system` follows the computer. */
export function applyTheme() {
  document.documentElement.dataset.theme = preferences.get().theme;
}

export const rooms = {
  /** @returns {string[]} newest first */
  get: () => read(globalThis.localStorage, ROOMS) ?? [],
  /** @param {string} name */
  visit: (name) => write(globalThis.localStorage, ROOMS, [name, ...rooms.get().filter((each) => each !== name)].slice(0, ROOMS_MOST)),
};

/** One per tab, and it survives a reload: the server then replaces the session of before. */
export function tabIdentity() {
  let identity = read(globalThis.sessionStorage, IDENTITY);
  if (typeof identity !== "string") {
    identity = `web-${crypto.randomUUID().slice(0, 13)}`;
    write(globalThis.sessionStorage, IDENTITY, identity);
  }
  return identity;
}

/** The room this tab is in, so that a reload goes straight back. */
export const inCall = {
  get: () => read(globalThis.sessionStorage, IN_CALL),
  /** @param {string | null} room */
  set: (room) => write(globalThis.sessionStorage, IN_CALL, room),
};

/** A token that came with the link, or was typed in. Kept out of the address bar once read. */
let given = "";
{
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token) {
    given = token;
    write(globalThis.sessionStorage, `weir.token.${location.pathname}`, token);
    history.replaceState(null, "", location.pathname + location.search);
  } else {
    given = read(globalThis.sessionStorage, `weir.token.${location.pathname}`) ?? "";
  }
}

/** @param {string} token */
export function giveToken(token) {
  given = token.trim();
}

/**
 * A join token: the given one, or in development one that the server hands out.
 * @param {string} room @param {string} name
 * @returns {Promise<string>}
 */
export async function joinToken(room, name) {
  if (given) return given;
  const response = await fetch("/v1/dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ room, name, identity: tabIdentity() }),
  });
  if (!response.ok) throw new WeirError("unauthorized", "This server needs an invitation: a link with a token, or the token itself.");
  return (await response.json()).token;
}

/** Why somebody could not join, fit to be shown. @param {unknown} fault */
export function joinFault(fault) {
  return fault instanceof WeirError ? fault : new WeirError("connection_failed", "The server can't be reached.", fault);
}

/** Whether a room may be called so. @param {string} name */
export function roomSlug(name) {
  return name
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 64);
}

const FIRST = ["amber", "brisk", "calm", "clear", "early", "gentle", "golden", "lunar", "quiet", "silver", "still", "sunny"];
const SECOND = ["brook", "delta", "falls", "harbor", "lagoon", "meadow", "rapids", "ridge", "river", "shore", "spring", "tide"];

export function randomRoom() {
  const [a = 0, b = 0, c = 0] = crypto.getRandomValues(new Uint32Array(3));
  return `${FIRST[a % FIRST.length]}-${SECOND[b % SECOND.length]}-${(c % 900) + 100}`;
}
