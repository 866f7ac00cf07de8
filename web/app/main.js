// Which page is shown: `/` chooses a room, `/room/NAME` is the way in and the call. Owns the address bar.

import { Call } from "./call.js";
import { html, render, useEffect, useState } from "./html.js";
import { Landing } from "./landing.js";
import { Left } from "./left.js";
import { Prejoin } from "./prejoin.js";
import { applyTheme, inCall, rooms } from "./session.js";

/** @returns {string | null} the room the address names */
function roomOfAddress() {
  const match = /^\/room\/([^/]+)\/?$/.exec(location.pathname);
  if (!match?.[1]) return null;
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return null;
  }
}

function App() {
  const [name, setName] = useState(roomOfAddress);
  const [stage, setStage] = useState(/** @type {any} */ ({ at: "prejoin", again: inCall.get() === roomOfAddress() }));

  useEffect(() => {
    const moved = () => {
      setName(roomOfAddress());
      setStage({ at: "prejoin" });
    };
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);

  useEffect(() => {
    document.title = name ? `${name} · weir` : "weir";
  }, [name]);

  /** @param {string | null} room */
  const go = (room) => {
    history.pushState(null, "", room === null ? "/" : `/room/${encodeURIComponent(room)}`);
    setName(room);
    setStage({ at: "prejoin" });
  };

  if (name === null) return html`<${Landing} onChoose=${go} />`;
  switch (stage.at) {
    case "call":
      return html`<${Call}
        room=${stage.room}
        onClosed=${(/** @type {any} */ end) => {
          inCall.set(null);
          setStage({ at: "left", end });
        }}
      />`;
    case "left":
      return html`<${Left} name=${name} end=${stage.end} onRejoin=${() => setStage({ at: "prejoin" })} onHome=${() => go(null)} />`;
    default:
      return html`<${Prejoin}
        key=${name}
        name=${name}
        again=${stage.again === true}
        onHome=${() => go(null)}
        onJoined=${(/** @type {any} */ room) => {
          rooms.visit(name);
          inCall.set(name);
          setStage({ at: "call", room });
        }}
      />`;
  }
}

applyTheme();
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
