// The operator's dashboard: asks the admin listener once a second and puts the parts together. Keeps what was last known on
// screen, and says how old it is, when the node does not answer.

import * as api from "./api.js";
import { Breaking } from "./breaking.js";
import { clock, percent, rate, span } from "./format.js";
import { html, render, useEffect, useRef, useState } from "./html.js";
import { Topology } from "./map.js";
import { Model } from "./model.js";
import { Details, Events, Links, Nodes, Rooms } from "./panels.js";

const POLL_EVERY = 1_000;
/** Who is where changes slowly, and others can be asked for it. */
const ROOMS_EVERY = 5;

function Dashboard() {
  const model = useRef(new Model()).current;
  const [, setTurn] = useState(0);
  const [choice, setChoice] = useState(/** @type {import("./map.js").Choice} */ (null));
  const [dev, setDev] = useState(/** @type {any} */ (null));
  const [members, setMembers] = useState(/** @type {Map<string, number>} */ (new Map()));
  const [heardAt, setHeardAt] = useState(0);
  const [lost, setLost] = useState(/** @type {{ since: number, why: string } | null} */ (null));
  const [fault, setFault] = useState("");
  const devThere = useRef(true);
  const roomsThere = useRef(true);

  const askDev = async () => {
    if (!devThere.current) return;
    try {
      setDev(await api.dev());
    } catch (refusal) {
      if (/** @type {any} */ (refusal).status === 404) devThere.current = false;
    }
  };

  const askRooms = async () => {
    if (!roomsThere.current) return;
    try {
      const { rooms } = await api.rooms();
      setMembers(new Map(rooms.map((/** @type {any} */ room) => [room.id, room.members])));
    } catch (refusal) {
      // The dashboard of `weir dev` belongs to no one node: it has no rooms of its own.
      if (/** @type {any} */ (refusal).status === 404) roomsThere.current = false;
      setMembers(new Map());
    }
  };

  useEffect(() => {
    let turn = 0;
    let over = false;
    const poll = async () => {
      const start = Date.now();
      try {
        const [answer] = await Promise.all([api.cascade(), askDev()]);
        model.take(answer, Date.now());
        setHeardAt(Date.now());
        setLost(null);
        if (turn % ROOMS_EVERY === 0) void askRooms();
      } catch (refusal) {
        const { name, message } = /** @type {Error} */ (refusal);
        const why = name === "TimeoutError" ? "no answer" : name === "TypeError" ? "no connection" : message;
        setLost((before) => ({ since: before?.since ?? start, why }));
      }
      turn += 1;
      setTurn(turn);
      if (!over) setTimeout(poll, Math.max(100, POLL_EVERY - (Date.now() - start)));
    };
    void poll();
    const escape = (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && setChoice(null);
    addEventListener("keydown", escape);
    return () => {
      over = true;
      removeEventListener("keydown", escape);
    };
  }, []);

  useEffect(() => {
    if (!fault) return undefined;
    const timer = setTimeout(() => setFault(""), 8_000);
    return () => clearTimeout(timer);
  }, [fault]);

  const drain = (/** @type {string} */ node) => void api.drain(node).catch((refusal) => setFault(refusal.message));

  const nodes = [...model.nodes.values()];
  const links = [...model.links.values()];
  const up = links.filter((link) => link.up);
  const worst = Math.max(0, ...up.flatMap(({ there, back }) => [there?.loss ?? 0, back?.loss ?? 0]));
  const total = up.reduce((sum, { there, back }) => sum + (there?.out ?? 0) + (back?.out ?? 0), 0);
  const gone = nodes.filter((node) => node.gone).length;
  const draining = nodes.filter((node) => node.draining && !node.gone).length;
  const down = links.length - up.length;
  const here = nodes.filter((node) => node.here && !node.gone).map(({ id }) => id);
  const empty = heardAt > 0 && nodes.length === 0;

  return html`
    <header class="top">
      <h1><img src="/dashboard/mark.svg" alt="" width="26" height="26" />weir <span class="dim">cascade</span></h1>
      <dl class="chips">
        <${Chip} name="nodes" value=${nodes.length - gone} note=${[gone && `${gone} gone`, draining && `${draining} draining`].filter(Boolean).join(", ")} bad=${gone > 0} />
        <${Chip} name="links" value=${up.length} note=${down ? `${down} down` : ""} bad=${down > 0} />
        <${Chip} name="rooms" value=${model.rooms().size} />
        <${Chip} name="tracks" value=${model.tracks.size} />
        <${Chip} name="between nodes" value=${rate(total)} />
        <${Chip} name="worst loss" value=${percent(worst)} bad=${worst >= 0.02} />
        <${Chip} name="epoch" value=${model.epoch} />
      </dl>
      <p class=${`pulse ${lost ? "lost" : ""}`} role="status" data-testid="pulse">${lost ? "no answer" : heardAt ? html`<i aria-hidden="true"></i>${here.length > 0 ? `as ${here.join(", ")} ${here.length > 1 ? "say" : "says"}` : "live"}` : "asking…"}</p>
    </header>
    ${lost && html`<p class="banner" role="alert" data-testid="unreachable">This node can't be reached (${lost.why}) for ${span((Date.now() - lost.since) / 1000)}.${heardAt ? ` What you see is from ${clock(heardAt)}.` : ""} Trying on.</p>`}
    ${!lost && model.silent.length > 0 && html`<p class="banner" role="alert">No answer from ${model.silent.join(", ")}.</p>`}
    ${fault && html`<p class="banner" role="alert" data-testid="fault">${fault} <button class="plain" aria-label="Dismiss" onClick=${() => setFault("")}>✕</button></p>`}
    <main class=${`columns ${lost ? "stale" : ""}`}>
      <div class="main-column">
        <section class="card map-card" aria-label="Topology">
          ${empty ? html`<p class="dim empty">No cascade runs on this node: it stands alone.</p>` : html`<${Topology} model=${model} choice=${choice} onChoose=${setChoice} />`}
          <${Legend} />
        </section>
        <${Nodes} model=${model} choice=${choice} onChoose=${setChoice} onDrain=${drain} />
        <${Links} model=${model} choice=${choice} onChoose=${setChoice} />
      </div>
      <div class="side-column">
        <${Details} model=${model} choice=${choice} onChoose=${setChoice} />
        <${Rooms} model=${model} choice=${choice} onChoose=${setChoice} members=${members} />
        ${dev && html`<${Breaking} dev=${dev} onFault=${setFault} onDone=${() => void askDev()} />`}
        <${Events} model=${model} />
      </div>
    </main>
  `;
}

/** @param {{ name: string, value: unknown, note?: string, bad?: boolean }} props */
function Chip({ name, value, note = "", bad = false }) {
  return html`<div class=${`chip ${bad ? "bad" : ""}`}><dt>${name}</dt><dd>${value}${note && html` <small>${note}</small>`}</dd></div>`;
}

function Legend() {
  return html`<p class="legend dim">
    <span>width: Mbps</span>
    <span><i class="swatch loss-good"></i>loss under 0.5 %</span><span><i class="swatch loss-some"></i>under 2 %</span><span><i class="swatch loss-bad"></i>under 6 %</span><span><i class="swatch loss-worst"></i>more</span>
    <span>○ edge</span><span>□ core</span>
  </p>`;
}

render(html`<${Dashboard} />`, /** @type {HTMLElement} */ (document.getElementById("dashboard")));
