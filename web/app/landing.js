// The front door: a name for a room, or a fresh one.

import { html, useState } from "./html.js";
import { Icon, Mark } from "./icons.js";
import { randomRoom, rooms, roomSlug } from "./session.js";

/** @param {{ onChoose: (room: string) => void, onCall: () => void }} props */
export function Landing({ onChoose, onCall }) {
  const [text, setText] = useState("");
  const slug = roomSlug(text);
  const visited = rooms.get();
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (slug) onChoose(slug);
  };
  return html`
    <main class="page landing">
      <header class="brand"><${Mark} size=${30} /><span>weir</span></header>
      <section class="landing-body">
        <h1>Talk face to face,<br />from anywhere.</h1>
        <p class="lede">Open a room, send the link, and everyone is in. Nothing to install, no account.</p>
        <form class="room-form" onSubmit=${submit}>
          <label class="visually-hidden" for="room">Room name</label>
          <input
            id="room"
            data-testid="room-name"
            class="field field-large"
            placeholder="Room name"
            autocomplete="off"
            autocapitalize="none"
            spellcheck="false"
            maxlength="64"
            autofocus
            value=${text}
            onInput=${(/** @type {any} */ event) => setText(event.target.value)}
          />
          <button class="button primary large" data-testid="room-go" disabled=${!slug}>Go to room</button>
        </form>
        <p class="or"><span>or</span></p>
        <button class="button large" data-testid="room-new" onClick=${() => onChoose(randomRoom())}>Start a new room</button>
        <a
          class="landing-link"
          href="/call"
          data-testid="landing-call"
          onClick=${(/** @type {Event} */ event) => {
            event.preventDefault();
            onCall();
          }}
          ><${Icon} name="phone" size=${18} />Call one person, from browser to browser</a
        >
        ${visited.length > 0 &&
        html`<nav class="recent" aria-label="Recent rooms">
          <h2>Recent</h2>
          <ul>
            ${visited.map(
              (name) => html`<li key=${name}>
                <a
                  href=${`/room/${encodeURIComponent(name)}`}
                  onClick=${(/** @type {Event} */ event) => {
                    event.preventDefault();
                    onChoose(name);
                  }}
                  >${name}<${Icon} name="right" size=${16}
                /></a>
              </li>`,
            )}
          </ul>
        </nav>`}
      </section>
    </main>
  `;
}
