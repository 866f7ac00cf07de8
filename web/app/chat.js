// Written words: the log, whom to write to, and what is still on its way. Text from members is only ever text; links become links
// by building elements, never markup.

import { Avatar } from "./avatar.js";
import { Compose } from "./compose.js";
import { clock } from "./format.js";
import { html, useLayoutEffect, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";

/** @typedef {{ key: string, text: string, to: string | undefined, failed: string }} Unsent */

/** Messages of one sender within this stand under one name. */
const TOGETHER = 120_000;

/** @param {string} text */
export function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)])/g).map((part, index) =>
    index % 2 === 1 ? html`<a key=${index} href=${part} target="_blank" rel="noopener noreferrer nofollow">${part}</a>` : part,
  );
}

/**
 * @param {object} props
 * @param {import("../weir.js").Room} props.room
 * @param {Unsent[]} props.unsent
 * @param {string | null} props.to The identity of whom to write to; null is everybody.
 * @param {(to: string | null) => void} props.onTo
 * @param {(text: string, to: string | null) => void} props.onSend
 * @param {(unsent: Unsent) => void} props.onRetry
 */
export function ChatPanel({ room, unsent, to, onTo, onSend, onRetry }) {
  const [draft, setDraft] = useState("");
  const log = useRef(/** @type {HTMLElement | null} */ (null));
  const field = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const atEnd = useRef(true);
  const { local, members } = room;
  // Whose session was made anew is the same person; who is gone is nobody else, and least of all everybody.
  const recipient = [...members.values()].findLast(({ identity }) => identity === to);
  const name = useRef("That person");
  if (recipient) name.current = recipient.name || "Guest";
  const gone = to !== null && !recipient;

  // Before the next key, which would be a shortcut elsewhere.
  useLayoutEffect(() => field.current?.focus(), []);
  useLayoutEffect(() => {
    if (to !== null) field.current?.focus();
  }, [to]);
  useLayoutEffect(() => {
    if (atEnd.current && log.current) log.current.scrollTop = log.current.scrollHeight;
  }, [room.chat.length, unsent.length]);

  const send = () => {
    const text = draft.trim();
    if (!text || gone) return;
    atEnd.current = true;
    onSend(text, recipient?.pid ?? null);
    setDraft("");
  };

  return html`
    <div class="chat">
      <div
        class="chat-log"
        ref=${log}
        role="log"
        aria-live="polite"
        aria-label="Messages"
        tabindex="0"
        data-testid="chat-log"
        onScroll=${(/** @type {any} */ { target }) => (atEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < 40)}
      >
        ${room.chat.length === 0 && unsent.length === 0 && html`<p class="empty">Messages are seen by everybody who is in the room, unless you choose one person.</p>`}
        ${room.chat.map((message, index) => {
          const before = room.chat[index - 1];
          const own = local.pids.has(message.from);
          const grouped = before?.from === message.from && before.to === message.to && message.at - before.at < TOGETHER;
          const other = message.to === null ? null : own ? members.get(message.to)?.name ?? "someone" : "you";
          const identity = own ? local.identity : members.get(message.from)?.identity ?? message.from;
          return html`<div key=${message.id} class=${`message ${own ? "own" : ""} ${grouped ? "grouped" : ""} ${other ? "private" : ""}`} data-testid="message">
            ${!grouped &&
            html`<p class="message-head">
              <${Avatar} name=${message.name} identity=${identity} size="small" /><b>${own ? "You" : message.name}</b>
              ${other && html`<span class="private-mark" data-testid="private-mark"><${Icon} name="lock" size=${14} />to ${other}</span>`}
              <time datetime=${new Date(message.at).toISOString()}>${clock(message.at)}</time>
            </p>`}
            <p class="message-text">${linked(message.text)}</p>
          </div>`;
        })}
        ${unsent.map(
          (each) => html`<div key=${each.key} class="message own unsent" data-testid="unsent">
            <p class="message-text">${each.text}</p>
            <p class="message-state">${each.failed ? html`${each.failed} <button class="link" onClick=${() => onRetry(each)}>Try again</button>` : "Sending…"}</p>
          </div>`,
        )}
      </div>
      <form
        class="chat-form"
        onSubmit=${(/** @type {Event} */ event) => {
          event.preventDefault();
          send();
        }}
      >
        <label class="to">
          <span>To</span>
          <select class="field small" data-testid="chat-to" value=${to ?? ""} onChange=${(/** @type {any} */ event) => onTo(event.target.value || null)}>
            <option value="" selected=${to === null}>Everyone</option>
            ${gone && html`<option value=${to} selected>${name.current} (has left)</option>`}
            ${[...members.values()].map((member) => html`<option key=${member.pid} value=${member.identity} selected=${recipient === member}>${member.name || "Guest"} (private)</option>`)}
          </select>
          <${Icon} name="down" size=${16} />
        </label>
        ${gone && html`<p class="message-state" role="status" data-testid="chat-gone">${name.current} has left: choose whom to write to.</p>`}
        <div class="compose">
          <${Compose} field=${field} placeholder=${to === null ? "Message everyone" : `Private message to ${name.current}`} draft=${draft} onDraft=${setDraft} onSend=${send} />
        </div>
      </form>
    </div>
  `;
}
