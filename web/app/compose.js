// Where a message is written: Enter sends, Shift and Enter begin a line.

import { html } from "./html.js";
import { Icon } from "./icons.js";

/** @param {{ field: any, placeholder: string, draft: string, onDraft: (text: string) => void, onSend: () => void }} props */
export function Compose({ field, placeholder, draft, onDraft, onSend }) {
  return html`
    <textarea
      ref=${field}
      class="field"
      rows="1"
      maxlength="2000"
      placeholder=${placeholder}
      aria-label="Message"
      data-testid="chat-input"
      value=${draft}
      onInput=${(/** @type {any} */ event) => onDraft(event.target.value)}
      onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        onSend();
      }}
    ></textarea>
    <button class="round accent" aria-label="Send" data-testid="chat-send" disabled=${!draft.trim()}><${Icon} name="send" size=${20} /></button>
  `;
}
