// A button that opens a small menu: arrow keys walk it, Escape and a click elsewhere close it, focus returns to the button.

import { html, useLayoutEffect, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";

/**
 * @typedef {object} Item
 * @property {string} label
 * @property {() => void} onSelect
 * @property {any} [icon]
 * @property {boolean} [checked] One of several: shown as a radio item.
 * @property {string} [hint] A shortcut.
 * @property {boolean} [danger]
 * @property {string} [testid]
 */

/**
 * @param {object} props
 * @param {string} props.label
 * @param {unknown} props.children What the button shows.
 * @param {string} props.className Of the button.
 * @param {{ title?: string, row?: boolean, items: Item[] }[]} props.groups A row is of symbols, side by side.
 * @param {string} [props.testid]
 * @param {string} [props.align] `start`, `center` or `end`.
 * @param {boolean} [props.below]
 */
export function Menu({ label, children, className, groups, testid, align = "center", below = false }) {
  const [open, setOpen] = useState(false);
  const root = useRef(/** @type {HTMLElement | null} */ (null));
  const button = useRef(/** @type {HTMLElement | null} */ (null));
  const items = () => /** @type {HTMLElement[]} */ ([...(root.current?.querySelectorAll('[role^="menuitem"]') ?? [])]);

  /** @param {boolean} [refocus] */
  const close = (refocus = true) => {
    setOpen(false);
    if (refocus) button.current?.focus();
  };

  // Before the next key can come.
  useLayoutEffect(() => {
    if (!open) return undefined;
    const all = items();
    (all.find((item) => item.getAttribute("aria-checked") === "true") ?? all[0])?.focus();
    const outside = (/** @type {Event} */ event) => !root.current?.contains(/** @type {Node} */ (event.target)) && close(false);
    document.addEventListener("pointerdown", outside, true);
    return () => document.removeEventListener("pointerdown", outside, true);
  }, [open]);

  /** @param {KeyboardEvent} event */
  const walk = (event) => {
    const all = items();
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (step !== undefined) all[(at + step + all.length) % all.length]?.focus();
    else if (event.key === "Home") all[0]?.focus();
    else if (event.key === "End") all.at(-1)?.focus();
    else if (event.key === "Escape") close();
    else if (event.key === "Tab") return close(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return html`<div class="menu-root" ref=${root}>
    <button ref=${button} type="button" class=${className} aria-haspopup="menu" aria-expanded=${open} aria-label=${label} title=${label} data-testid=${testid} onClick=${() => setOpen(!open)}>${children}</button>
    ${open &&
    html`<div class=${`menu ${groups.every(({ row }) => row) ? "menu-snug" : ""} menu-${align} ${below ? "menu-below" : ""}`} role="menu" aria-label=${label} onKeyDown=${walk}>
      ${groups.map(
        ({ title, row, items: members }, index) => html`<div key=${title ?? index} role="group" aria-label=${title} class=${`menu-group ${row ? "menu-row" : ""}`}>
          ${title && html`<p class="menu-title">${title}</p>`}
          ${members.map(
            ({ label: text, onSelect, icon, checked, hint, danger, testid: id }) => html`<button
              key=${text}
              type="button"
              role=${checked === undefined ? "menuitem" : "menuitemradio"}
              aria-checked=${checked === undefined ? undefined : checked}
              aria-label=${text}
              tabindex="-1"
              class=${`menu-item ${danger ? "danger-text" : ""}`}
              data-testid=${id}
              onClick=${() => {
                close();
                onSelect();
              }}
            >
              ${checked !== undefined && html`<span class="tick">${checked && html`<${Icon} name="check" size=${18} />`}</span>`}
              ${icon && html`<${Icon} name=${icon} size=${20} />`}
              <span class="menu-text">${text}</span>
              ${hint && html`<kbd>${hint}</kbd>`}
            </button>`,
          )}
        </div>`,
      )}
    </div>`}
  </div>`;
}
