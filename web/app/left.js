// After the call: why it ended, and the way back.

import { html, useLayoutEffect, useRef } from "./html.js";
import { Mark } from "./icons.js";

/** @type {Record<string, [string, string]>} */
const ENDS = {
  left: ["You left the room", "Thanks for being here."],
  replaced: ["You joined somewhere else", "The same person can be in a room once. The call goes on in the other window."],
  removed: ["You were removed", "Somebody who runs this room ended your call."],
  expired: ["Your invitation ended", "Ask for a new link to come back."],
  shutdown: ["The server is stopping", "Try again in a moment."],
  timed_out: ["The connection was lost", "It could not be restored in time."],
};

/** @param {{ name: string, end: { reason: string | null, message: string }, onRejoin: () => void, onHome: () => void }} props */
export function Left({ name, end, onRejoin, onHome }) {
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => heading.current?.focus(), []);
  const [title, text] = ENDS[end.reason ?? ""] ?? ["The call ended", end.message];
  return html`
    <main class="page left" data-testid="left-page">
      <header class="brand"><${Mark} size=${30} /><span>weir</span></header>
      <section class="left-body">
        <h1 tabindex="-1" ref=${heading}>${title}</h1>
        <p class="lede">${text}</p>
        <div class="row">
          <button class="button primary large" data-testid="rejoin" onClick=${onRejoin}>Rejoin ${name}</button>
          <button class="button large" data-testid="home" onClick=${onHome}>Back to start</button>
        </div>
      </section>
    </main>
  `;
}
