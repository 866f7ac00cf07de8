// Which page is shown: `/` chooses a room, `/room/NAME` is the way in and the call, `/watch/NAME` the picture for those who only
// watch, `/call` and `/call/NAME` a place to ring somebody from. Owns the address bar.

import { Call } from "./call.js";
import { html, render, useEffect, useState } from "./html.js";
import { Landing } from "./landing.js";
import { Left } from "./left.js";
import { Phone } from "./phone.js";
import { Prejoin } from "./prejoin.js";
import { applyTheme, inCall, rooms } from "./session.js";
import { Watch } from "./watch.js";

/** @typedef {"room" | "watch" | "call"} Mode */

/** What the address asks for; a place to ring from may have no name yet. @returns {{ mode: Mode, name: string } | null} */
function placeOfAddress() {
  const [, mode, name = ""] = /^\/(room|watch|call)(?:\/([^/]+))?\/?$/.exec(location.pathname) ?? [];
  if (!mode || (!name && mode !== "call")) return null;
  try {
    return { mode: /** @type {Mode} */ (mode), name: decodeURIComponent(name) };
  } catch {
    return null;
  }
}

function App() {
  const [place, setPlace] = useState(placeOfAddress);
  const [stage, setStage] = useState(/** @type {any} */ ({ at: "prejoin", again: inCall.get() === placeOfAddress()?.name }));

  useEffect(() => {
    const moved = () => {
      setPlace(placeOfAddress());
      setStage({ at: "prejoin" });
    };
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);

  useEffect(() => {
    document.title = place?.name ? `${place.name} · weir` : "weir";
  }, [place?.name]);

  /** @param {string | null} name @param {Mode} [mode] */
  const go = (name, mode = "room") => {
    history.pushState(null, "", name === null ? "/" : `/${mode}${name && `/${encodeURIComponent(name)}`}${mode === "call" ? location.search : ""}`);
    setPlace(name === null ? null : { mode, name });
    setStage({ at: "prejoin" });
  };

  if (place === null) return html`<${Landing} onChoose=${go} onCall=${() => go("", "call")} />`;
  const { mode, name } = place;
  if (mode === "watch") return html`<${Watch} key=${name} name=${name} onHome=${() => go(null)} />`;
  if (mode === "call") return html`<${Phone} place=${name || null} onPlace=${(/** @type {string} */ where) => where !== name && go(where, "call")} onHome=${() => go(null)} />`;
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
