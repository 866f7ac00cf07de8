// Single-key shortcuts. Owns when a key is meant for us and when for a field, a menu or the browser.

import { useEffect, useRef } from "./html.js";

/** What the help shows, in its order. @type {[string, string][]} */
export const SHORTCUTS = [
  ["m", "Microphone on or off"],
  ["v", "Camera on or off"],
  ["s", "Share the screen"],
  ["h", "Raise or lower the hand"],
  ["c", "Chat"],
  ["p", "People"],
  ["l", "Grid or speaker view"],
  ["i", "Statistics"],
  ["f", "Full screen"],
  ["?", "This help"],
  ["Esc", "Close a panel or a menu"],
];

/** @param {Record<string, () => void>} keys */
export function useKeys(keys) {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.repeat) return;
      const target = /** @type {HTMLElement} */ (event.target);
      const typing = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
      if (typing && event.key !== "Escape") return;
      if (document.querySelector("dialog[open]")) return;
      const action = latest.current[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}
