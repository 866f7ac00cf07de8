// Emoji that rise over the stage for a moment.

import { html, useCallback, useRef, useState } from "./html.js";

/** @typedef {{ key: number, emoji: string, name: string, lane: number }} Rising */

const RISES_FOR = 3_400;
const MOST = 24;

export function useReactions() {
  const [rising, setRising] = useState(/** @type {Rising[]} */ ([]));
  const next = useRef(1);
  const rise = useCallback((/** @type {string} */ emoji, /** @type {string} */ name) => {
    const key = next.current++;
    setRising((before) => [...before.slice(1 - MOST), { key, emoji, name, lane: (key * 37) % 100 }]);
    setTimeout(() => setRising((before) => before.filter((each) => each.key !== key)), RISES_FOR);
  }, []);
  return { rising, rise };
}

/** @param {{ rising: Rising[] }} props */
export function Reactions({ rising }) {
  return html`<div class="reactions" aria-live="polite" data-testid="reactions">
    ${rising.map(
      ({ key, emoji, name, lane }) => html`<div key=${key} class="reaction" style=${{ left: `${lane}%` }} data-testid="reaction"><span class="reaction-emoji">${emoji}</span><span class="reaction-name">${name}</span></div>`,
    )}
  </div>`;
}
