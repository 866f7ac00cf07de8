// Words and files of a call. Text from others is only ever text, and a file is offered before it comes.

import { WeirError } from "../weir.js";
import { linked } from "./chat.js";
import { Compose } from "./compose.js";
import { bytes, clock } from "./format.js";
import { html, useLayoutEffect, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";

/** @param {{ call: import("../weir.js").Call, onClose: () => void }} props */
export function CallPanel({ call, onClose }) {
  const [draft, setDraft] = useState("");
  const [error, setError] = useState("");
  const log = useRef(/** @type {HTMLElement | null} */ (null));
  const field = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const chooser = useRef(/** @type {HTMLInputElement | null} */ (null));
  // Before the next key, which would be a shortcut elsewhere.
  useLayoutEffect(() => field.current?.focus(), []);
  useLayoutEffect(() => {
    if (log.current) log.current.scrollTop = log.current.scrollHeight;
  }, [call.chat.length, call.files.length]);

  /** @param {() => unknown} step */
  const attempt = async (step) => {
    try {
      setError("");
      await step();
    } catch (fault) {
      setError(fault instanceof WeirError ? fault.message : "That did not work.");
    }
  };
  const say = () => {
    const text = draft.trim();
    if (!text) return;
    setDraft("");
    void attempt(() => call.sendChat(text).catch((/** @type {unknown} */ fault) => {
      // Nothing that was written is lost.
      setDraft((since) => since || text);
      throw fault;
    }));
  };
  return html`
    <aside class="panel" aria-label="Messages and files" data-testid="call-panel">
      <header>
        <h2>Messages and files</h2>
        <button class="round small plain" aria-label="Close" data-testid="panel-close" onClick=${onClose}><${Icon} name="close" size=${20} /></button>
      </header>
      <div class="chat">
        <div class="chat-log" ref=${log} role="log" aria-live="polite" aria-label="Messages" tabindex="0">
          ${call.chat.length + call.files.length === 0 && html`<p class="empty">What you write or send here is seen only by who is in the call.</p>`}
          ${call.chat.map(
            (line, index) => html`<div key=${index} class=${`message ${line.own ? "own" : ""}`} data-testid="line">
              <p class="message-head"><b>${line.own ? "You" : line.name}</b><time datetime=${new Date(line.at).toISOString()}>${clock(line.at)}</time></p>
              <p class="line-text">${linked(line.text)}</p>
            </div>`,
          )}
          ${call.files.map((transfer) => html`<${FileRow} key=${`${transfer.outgoing}${transfer.id}`} transfer=${transfer} />`)}
        </div>
        <form
          class="chat-form"
          onSubmit=${(/** @type {Event} */ event) => {
            event.preventDefault();
            say();
          }}
        >
          <div role="alert">${error && html`<p class="notice" data-testid="panel-error">${error}</p>`}</div>
          <div class="compose">
            <input
              ref=${chooser}
              type="file"
              class="visually-hidden"
              tabindex="-1"
              aria-label="File to send"
              data-testid="file-input"
              onChange=${(/** @type {any} */ { target }) => {
                for (const file of target.files) void attempt(() => call.sendFile(file));
                target.value = "";
              }}
            />
            <button type="button" class="round small plain attach" aria-label="Send a file" title=${call.canSendFiles ? "Send a file" : "Files go from browser to browser only, not through the server"} data-testid="attach" disabled=${!call.canSendFiles} onClick=${() => chooser.current?.click()}><${Icon} name="clip" size=${20} /></button>
            <${Compose} field=${field} placeholder="Message" draft=${draft} onDraft=${setDraft} onSend=${say} />
          </div>
        </form>
      </div>
    </aside>
  `;
}

/** @param {{ transfer: import("../weir.js").FileTransfer }} props */
function FileRow({ transfer }) {
  const { name, size, outgoing, state, bytes: across, blob } = transfer;
  const share = size === 0 ? 1 : across / size;
  const words = {
    offered: outgoing ? "waits to be accepted" : "is offered to you",
    moving: `${Math.floor(share * 100)} %`,
    done: outgoing ? "sent" : "received",
    stopped: "stopped",
  };
  const save = () => {
    if (!blob) return;
    const url = URL.createObjectURL(blob);
    Object.assign(document.createElement("a"), { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };
  return html`<div class="file" data-testid="file" data-state=${state} data-name=${name}>
    <${Icon} name="file" size=${24} />
    <div class="file-what">
      <p class="file-name">${name}</p>
      <p class="hint">${bytes(size)} · ${words[state]}</p>
      ${state === "moving" && html`<progress max="1" value=${share} aria-label=${`${name}, ${words.moving}`}></progress>`}
    </div>
    ${state === "offered" && !outgoing && html`<button class="button small primary" data-testid="file-accept" onClick=${() => transfer.accept()}>Accept</button>`}
    ${state === "done" && blob && html`<button class="button small primary" data-testid="file-save" onClick=${save}>Save</button>`}
    ${(state === "offered" || state === "moving") && html`<button class="round small plain" aria-label=${`Stop ${name}`} title="Stop" data-testid="file-stop" onClick=${() => transfer.stop()}><${Icon} name="close" size=${18} /></button>`}
  </div>`;
}
