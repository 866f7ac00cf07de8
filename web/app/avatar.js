// A person without a picture: initials on a colour that follows from the identity, the same for everybody who looks.

import { html } from "./html.js";

/** @param {string} text */
function hue(text) {
  let hash = 2166136261;
  for (const char of text) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 16777619);
  // Names that differ in one letter must not look alike.
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
  return ((hash ^ (hash >>> 15)) >>> 0) % 360;
}

/** @param {string} name */
export function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const first = [...(words[0] ?? "?")][0] ?? "?";
  const last = words.length > 1 ? [...(words.at(-1) ?? "")][0] ?? "" : "";
  return (first + last).toUpperCase();
}

/** @param {{ name: string, identity: string, size?: "small" | "tile" }} props */
export function Avatar({ name, identity, size = "tile" }) {
  const at = hue(identity);
  const style = { background: `linear-gradient(140deg, hsl(${at} 38% 42%), hsl(${(at + 40) % 360} 42% 30%))` };
  return html`<span class="avatar avatar-${size}" style=${style} aria-hidden="true"><span>${initials(name)}</span></span>`;
}
