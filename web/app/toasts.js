// Short notices that go away by themselves, read out politely by screen readers.

import { html, useCallback, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";

/** @typedef {{ key: number, text: string, icon?: any, bad?: boolean, about?: string, action?: { label: string, run: () => void } }} Toast */

const STAYS = 5_000;
const MOST = 4;

export function useToasts() {
  const [toasts, setToasts] = useState(/** @type {Toast[]} */ ([]));
  const next = useRef(1);
  const dismiss = useCallback((/** @type {number} */ key) => setToasts((before) => before.filter((each) => each.key !== key)), []);
  const toast = useCallback((/** @type {Omit<Toast, "key">} */ notice) => {
    const key = next.current++;
    setToasts((before) => [...before.slice(1 - MOST), { ...notice, key }]);
    setTimeout(() => dismiss(key), STAYS);
  }, []);
  const dismissAbout = useCallback((/** @type {string} */ about) => setToasts((before) => before.filter((each) => each.about !== about)), []);
  return { toasts, toast, dismiss, dismissAbout };
}

/** @param {{ toasts: Toast[], onDismiss: (key: number) => void }} props */
export function Toasts({ toasts, onDismiss }) {
  return html`<div class="toasts" role="status" aria-live="polite" data-testid="toasts">
    ${toasts.map(
      ({ key, text, icon, bad, action }) => html`<div key=${key} class=${`toast ${bad ? "bad" : ""}`} data-testid="toast">
        ${icon && html`<${Icon} name=${icon} size=${20} />`}
        <span>${text}</span>
        ${action &&
        html`<button
          class="link"
          onClick=${() => {
            onDismiss(key);
            action.run();
          }}
        >
          ${action.label}
        </button>`}
      </div>`,
    )}
  </div>`;
}
