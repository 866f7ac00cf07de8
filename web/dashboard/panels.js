// What stands beside and below the map: the figures of what was chosen, rooms and their tracks, nodes, what happened.

import { clock, count, grade, millis, percent, rate, short, span } from "./format.js";
import { html, useEffect, useState } from "./html.js";
import { Spark } from "./spark.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./map.js").Choice} Choice */

/** The last minutes of a link or a node, or a track's tree in words. @param {{ model: Model, choice: Choice, onChoose: (choice: Choice) => void }} props */
export function Details({ model, choice, onChoose }) {
  const close = html`<button class="plain" aria-label="Close" onClick=${() => onChoose(null)}>✕</button>`;
  const kept = choice ? model.history.get(choice.id) ?? {} : {};
  const of = (/** @type {string} */ name) => kept[name] ?? [];
  if (choice?.kind === "link") {
    const link = model.links.get(choice.id);
    if (!link) return null;
    const { a, b, there, back, up, shed, upS } = link;
    return html`<section class="card details" aria-label=${`Link ${a} to ${b}`} data-testid="details">
      <header><h2>${a} <span class="dim">–</span> ${b}</h2>${close}</header>
      ${up ? html`<p class="dim">${upS === null ? "As others say of it" : `Up for ${span(upS)}`}${shed ? ` · ${shed} packets held back` : ""}</p>` : html`<p class="bad-text">Down</p>`}
      <${Spark} label="Round trip" series=${[{ name: "", values: of("rtt"), tone: "one" }]} format=${millis} least=${10} />
      <${Spark} label="Loss" series=${[{ name: `to ${b}`, values: of("thereLoss"), tone: "one" }, { name: `to ${a}`, values: of("backLoss"), tone: "two" }]} format=${(/** @type {number} */ value) => percent(value / 100)} least=${1} />
      <${Spark} label="Traffic" series=${[{ name: `to ${b}`, values: of("there"), tone: "one" }, { name: `to ${a}`, values: of("back"), tone: "two" }]} format=${rate} least=${0.1} />
      <${Spark} label="Could send" series=${[{ name: `to ${b}`, values: of("target"), tone: "one" }, { name: `to ${a}`, values: of("backTarget"), tone: "two" }]} format=${rate} least=${0.1} />
      <${Spark} label="Queue" series=${[{ name: "", values: of("queue"), tone: "one" }]} format=${millis} least=${10} />
      ${there?.target || back?.target ? null : html`<p class="dim">The controller has said nothing yet.</p>`}
    </section>`;
  }
  if (choice?.kind === "node") {
    const node = model.nodes.get(choice.id);
    if (!node) return null;
    const links = [...model.links.values()].filter(({ a, b, up }) => up && (a === node.id || b === node.id));
    return html`<section class="card details" aria-label=${`Node ${node.id}`} data-testid="details">
      <header><h2>${node.id}</h2>${close}</header>
      <p class="dim">${node.role === "both" ? "edge and core" : node.role} in ${node.region}${node.url ? html` · <a href=${node.url} target="_blank" rel="noreferrer">${node.url}</a>` : null}</p>
      <p><${State} node=${node} /></p>
      <${Spark} label="Links' traffic" series=${[{ name: "out", values: of("out"), tone: "one" }, { name: "in", values: of("in"), tone: "two" }]} format=${rate} least=${0.1} />
      ${node.here && html`<${Spark} label="Tracks" series=${[{ name: "", values: of("tracks"), tone: "one" }]} format=${(/** @type {number} */ value) => String(value)} least=${4} />`}
      <ul class="plain-list">${links.map(({ key, a, b, there, back }) => html`<li key=${key}><button class="row-button" onClick=${() => onChoose({ kind: "link", id: key })}><span>${a === node.id ? b : a}</span><span class=${`loss-text loss-${grade(Math.max(there?.loss ?? 0, back?.loss ?? 0))}`}>${millis(Math.max(there?.rtt ?? 0, back?.rtt ?? 0))} · ${percent(Math.max(there?.loss ?? 0, back?.loss ?? 0))}</span></button></li>`)}</ul>
    </section>`;
  }
  if (choice?.kind === "track") {
    const track = model.tracks.get(choice.id);
    if (!track) return html`<section class="card details" data-testid="details"><header><h2>Track ended</h2>${close}</header></section>`;
    return html`<section class="card details" aria-label="Track" data-testid="details">
      <header><h2>${track.kind} ${short(track.id)}</h2>${close}</header>
      <p class="dim">${track.room} · published at ${track.origin}</p>
      ${track.hops.length === 0 && html`<p class="dim">Nobody elsewhere wants it: it stays on its node.</p>`}
      <${Tree} track=${track} at=${track.origin} seen=${[]} />
    </section>`;
  }
  return null;
}

/** From the publisher's node down, each hop with what comes over it. @param {any} props */
function Tree({ track, at, seen }) {
  const here = track.at.find((/** @type {any} */ each) => each.node === at);
  const into = track.hops.find((/** @type {any} */ hop) => hop.to === at && hop.from === seen.at(-1));
  const next = track.hops.filter((/** @type {any} */ hop) => hop.from === at && !seen.includes(hop.to));
  return html`<ul class="tree-list">
    <li>
      <span class="tree-node"><b>${at}</b>
        ${into && html` <span class="dim">${into.kbps === null ? "rate not known here" : `${into.kbps} kbps`}${into.layers.length > 0 ? ` · layers ${into.layers.join(", ")}` : ""}</span>`}
        ${!into && html` <span class="dim">publisher</span>`}
      </span>
      ${here && into && html`<${Layers} at=${here} />`}
      ${next.map((/** @type {any} */ hop) => html`<${Tree} key=${hop.to} track=${track} at=${hop.to} seen=${[...seen, at]} />`)}
    </li>
  </ul>`;
}

/** @param {{ at: { wanted: number[], layers: import("./model.js").Layer[] } }} props */
function Layers({ at: { wanted, layers } }) {
  const all = [...new Set([...wanted, ...layers.map(({ layer }) => layer)])].sort((a, b) => a - b);
  return html`<span class="layers">${all.map((layer) => {
    const flowing = layers.find((each) => each.layer === layer);
    const asked = wanted.includes(layer);
    const flows = (flowing?.kbps ?? 0) > 0;
    const says = `${flowing?.height ? `${flowing.height}p` : `layer ${layer}`}: ${asked ? "wanted" : "not wanted"}, ${flows ? `${flowing?.kbps} kbps` : "nothing comes"}`;
    return html`<span key=${layer} class=${`layer ${asked ? "asked" : ""} ${flows ? "flows" : ""} ${asked && !flows ? "missing" : ""}`} title=${says}><span class="visually-hidden">${says}</span><span aria-hidden="true">${flowing?.height ? `${flowing.height}p` : `L${layer}`} ${flows ? flowing?.kbps : asked ? "waits" : "–"}</span></span>`;
  })}</span>`;
}

/** @param {{ model: Model, choice: Choice, onChoose: (choice: Choice) => void, members: Map<string, number> }} props */
export function Rooms({ model, choice, onChoose, members }) {
  const [open, setOpen] = useState(/** @type {string | null} */ (null));
  const rooms = [...model.rooms()];
  const shown = open ?? rooms[0]?.[0] ?? null;
  return html`<section class="card" aria-labelledby="rooms-title">
    <header><h2 id="rooms-title">Rooms</h2><span class="dim">${rooms.length}</span></header>
    ${rooms.length === 0 && html`<p class="dim empty">No tracks on this node at the moment.</p>`}
    <ul class="plain-list">
      ${rooms.map(([id, tracks]) => {
        const nodes = new Set(tracks.flatMap(({ origin, hops }) => [origin, ...hops.flatMap(({ from, to }) => [from, to])]));
        return html`<li key=${id} data-testid="room" data-room=${id}>
          <button class="row-button room-row" aria-expanded=${shown === id} onClick=${() => setOpen(shown === id ? "" : id)}>
            <span class="turn" aria-hidden="true">${shown === id ? "▾" : "▸"}</span><b>${id}</b>
            <span class="dim">${members.has(id) ? `${members.get(id)} here · ` : ""}${count(tracks.length, "track")} · ${count(nodes.size, "node")}</span>
          </button>
          ${shown === id && html`<ul class="plain-list tracks">${tracks.map((track) => html`<${TrackRow} key=${track.id} track=${track} chosen=${choice?.kind === "track" && choice.id === track.id} onChoose=${onChoose} />`)}</ul>`}
        </li>`;
      })}
    </ul>
  </section>`;
}

/** @param {{ track: import("./model.js").Track, chosen: boolean, onChoose: (choice: Choice) => void }} props */
function TrackRow({ track, chosen, onChoose }) {
  const { id, kind, origin, hops, at } = track;
  const away = at.filter(({ node }) => node !== origin);
  const starved = away.some(({ wanted, layers }) => wanted.length > 0 && !layers.some(({ layer, kbps }) => kbps > 0 && wanted.includes(layer)));
  const most = Math.max(0, ...hops.map(({ kbps }) => kbps ?? 0));
  return html`<li>
    <button class=${`row-button track-row ${chosen ? "chosen" : ""}`} aria-pressed=${chosen} data-testid="track" data-track=${id} onClick=${() => onChoose(chosen ? null : { kind: "track", id })}>
      <span class=${`kind kind-${kind}`}>${kind}</span>
      <span class="mono">${short(id)}</span>
      <span>${origin}<span class="dim"> → ${hops.length === 0 ? "stays here" : [...new Set(hops.map(({ to }) => to))].join(", ")}</span></span>
      <span class="end">${hops.length > 0 && html`${starved && html`<span class="bad-text">waits </span>`}${most} kbps`}</span>
    </button>
  </li>`;
}

/** @param {{ node: import("./model.js").Node }} props */
export function State({ node }) {
  const state = node.gone ? "gone" : node.draining ? "draining" : "serving";
  return html`<span class=${`state state-${state}`}><i aria-hidden="true">${{ gone: "✕", draining: "↓", serving: "●" }[state]}</i>${state}</span>`;
}

/** Asks twice: only a restart brings a drained node back. @param {{ node: import("./model.js").Node, onDrain: (node: string) => void }} props */
function DrainButton({ node, onDrain }) {
  const [sure, setSure] = useState(false);
  useEffect(() => {
    if (!sure) return undefined;
    const timer = setTimeout(() => setSure(false), 5_000);
    return () => clearTimeout(timer);
  }, [sure]);
  const press = () => {
    setSure(!sure);
    if (sure) onDrain(node.id);
  };
  return html`<button class=${`button ${sure ? "danger" : ""}`} data-testid="drain" disabled=${node.draining} aria-label=${sure ? `Really drain ${node.id}: its members move, and only a restart brings it back` : `Drain ${node.id}`} onClick=${press}>${sure ? "Really?" : "Drain"}</button>`;
}

/** @param {{ model: Model, choice: Choice, onChoose: (choice: Choice) => void, onDrain: (node: string) => void }} props */
export function Nodes({ model, choice, onChoose, onDrain }) {
  return html`<section class="card" aria-labelledby="nodes-title">
    <header><h2 id="nodes-title">Nodes</h2><span class="dim">${[...model.nodes.values()].filter(({ gone }) => !gone).length}</span></header>
    <div class="table-scroll" tabindex="0" role="region" aria-labelledby="nodes-title">
      <table>
        <thead><tr><th scope="col">Node</th><th scope="col">Region</th><th scope="col">Role</th><th scope="col">State</th><th scope="col" class="num">Links</th><th scope="col" class="num">Out</th><th scope="col" class="num">In</th><th scope="col" class="num">Tracks</th><th scope="col"><span class="visually-hidden">Actions</span></th></tr></thead>
        <tbody>
          ${[...model.nodes.values()].map((node) => {
            const { out, in: into } = model.traffic(node.id);
            const links = [...model.links.values()].filter(({ a, b, up }) => up && (a === node.id || b === node.id)).length;
            const chosen = choice?.kind === "node" && choice.id === node.id;
            return html`<tr key=${node.id} class=${`${chosen ? "chosen" : ""} ${node.gone ? "faded" : ""}`} data-testid="node-row" data-node=${node.id}>
              <th scope="row"><button class="link-button" onClick=${() => onChoose(chosen ? null : { kind: "node", id: node.id })}>${node.id}</button></th>
              <td>${node.region}</td>
              <td>${node.role === "both" ? "edge, core" : node.role}</td>
              <td><${State} node=${node} /></td>
              <td class="num">${links}</td>
              <td class="num">${node.gone ? "–" : rate(out)}</td>
              <td class="num">${node.gone ? "–" : rate(into)}</td>
              <td class="num">${node.gone ? "–" : node.tracks ?? "–"}</td>
              <td class="end">${node.here && !node.gone && html`<${DrainButton} node=${node} onDrain=${onDrain} />`}</td>
            </tr>`;
          })}
        </tbody>
      </table>
    </div>
  </section>`;
}

/** @param {{ model: Model, choice: Choice, onChoose: (choice: Choice) => void }} props */
export function Links({ model, choice, onChoose }) {
  const links = [...model.links.values()];
  return html`<section class="card" aria-labelledby="links-title">
    <header><h2 id="links-title">Links</h2><span class="dim">${links.filter(({ up }) => up).length}</span></header>
    <div class="table-scroll" tabindex="0" role="region" aria-labelledby="links-title">
      <table>
        <thead><tr><th scope="col">Link</th><th scope="col" class="num">Round trip</th><th scope="col" class="num">Loss</th><th scope="col" class="num">Out</th><th scope="col" class="num">Could</th><th scope="col" class="num">Queue</th></tr></thead>
        <tbody>
          ${links.flatMap(({ key, a, b, there, back, up }) =>
            [
              { from: a, to: b, of: there },
              { from: b, to: a, of: back },
            ].map(({ from, to, of }) => html`<tr key=${`${from}>${to}`} class=${`${choice?.kind === "link" && choice.id === key ? "chosen" : ""} ${up ? "" : "faded"}`}>
              <th scope="row"><button class="link-button" onClick=${() => onChoose({ kind: "link", id: key })}>${from} → ${to}</button></th>
              ${up && of
                ? html`<td class="num">${millis(of.rtt)}</td><td class="num"><span class=${`loss-text loss-${grade(of.loss)}`}>${percent(of.loss)}</span></td><td class="num">${rate(of.out)}</td><td class="num">${rate(of.target)}</td><td class="num">${millis(of.queue)}</td>`
                : html`<td colspan="5" class=${up ? "dim" : "bad-text"}>${up ? "not told yet" : "down"}</td>`}
            </tr>`),
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}

/** @param {{ model: Model }} props */
export function Events({ model }) {
  return html`<section class="card" aria-labelledby="events-title">
    <header><h2 id="events-title">What happened</h2></header>
    ${model.events.length === 0 && html`<p class="dim empty">Nothing since this page was opened.</p>`}
    <ol class="plain-list events" aria-live="polite">${model.events.map(({ at, text, bad }) => html`<li key=${`${at}${text}`} class=${bad ? "bad" : ""}><time class="dim mono">${clock(at)}</time> ${text}</li>`)}</ol>
  </section>`;
}
