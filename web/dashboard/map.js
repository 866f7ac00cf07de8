// The cluster as a map: regions, nodes in them, links with what flows in each direction, and the tree of a chosen track upon it.
// Draws what the model and the layout say; a click or Enter chooses.

import { grade, millis, percent, rate } from "./format.js";
import { html, useLayoutEffect, useMemo, useRef, useState } from "./html.js";
import { place } from "./layout.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./model.js").Link} Link */
/** @typedef {{ kind: "link" | "node" | "track", id: string } | null} Choice */

/**
 * @param {object} props
 * @param {Model} props.model
 * @param {Choice} props.choice
 * @param {(choice: Choice) => void} props.onChoose
 */
export function Topology({ model, choice, onChoose }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = /** @type {HTMLElement} */ (box.current);
    const measure = () => setSize({ width: element.clientWidth, height: element.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, []);

  const regions = model.regions();
  const shape = JSON.stringify([[...regions].map(([id, nodes]) => [id, nodes.map((node) => node.id)]), model.regionLinks.map(({ a, b }) => [a, b]), size]);
  const places = useMemo(() => place(regions, model.regionLinks, size.width, size.height), [shape]);
  const points = new Map(places.flatMap(({ nodes }) => nodes.map((node) => [node.id, node])));
  const centers = new Map(places.map((each) => [each.id, each]));
  const track = choice?.kind === "track" ? model.tracks.get(choice.id) : undefined;
  const joined = new Set([...model.links.values()].map(({ a, b }) => [model.nodes.get(a)?.region, model.nodes.get(b)?.region].sort().join("|")));

  return html`<div class=${`map ${track ? "with-tree" : ""}`} ref=${box} data-testid="map">
    ${size.width > 0 &&
    html`<svg width=${size.width} height=${size.height} role="group" aria-label="Map of regions, nodes and links">
      <defs>
        <marker id="arrow" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="5" markerHeight="5" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" class="arrow-head" /></marker>
      </defs>
      ${model.regionLinks
        .filter(({ a, b }) => !joined.has([a, b].sort().join("|")))
        .map(({ a, b, cost }) => {
          const [from, to] = [centers.get(a), centers.get(b)];
          return from && to && html`<line key=${`${a}|${b}`} class="allowed" x1=${from.x} y1=${from.y} x2=${to.x} y2=${to.y}><title>${a} and ${b} may be linked, at a cost of ${cost}; they are not</title></line>`;
        })}
      ${places.map(({ id, x, y, r }) => html`<g key=${id} class="region-place">
        <circle cx=${x} cy=${y} r=${r} />
        <text x=${x} y=${y < size.height * 0.3 ? y - r - 8 : y + r + 18}>${id}</text>
      </g>`)}
      ${[...model.links.values()].map((link) => html`<${Lanes} key=${link.key} link=${link} from=${points.get(link.a)} to=${points.get(link.b)} chosen=${choice?.kind === "link" && choice.id === link.key} onChoose=${onChoose} />`)}
      ${track && html`<g class="tree">${track.hops.map(({ from, to, kbps, layers }) => html`<${HopLine} key=${`${from}>${to}`} from=${points.get(from)} to=${points.get(to)} text=${kbps === null ? layers.length > 0 ? `L${layers.join(" L")}` : "" : `${kbps} kbps`} idle=${kbps === 0} />`)}</g>`}
      ${[...points.values()].map((point) => html`<${NodeDot} key=${point.id} point=${point} node=${model.nodes.get(point.id)} track=${track} chosen=${choice?.kind === "node" && choice.id === point.id} onChoose=${onChoose} />`)}
      ${!track && labelled(model, choice).map((link) => html`<${Label} key=${link.key} link=${link} from=${points.get(link.a)} to=${points.get(link.b)} width=${size.width} />`)}
    </svg>`}
  </div>`;
}

/** Links that have their figures beside them: between two regions the busiest, and the chosen one. @param {Model} model @param {Choice} choice */
function labelled(model, choice) {
  /** @type {Map<string, Link>} */
  const busiest = new Map();
  const flow = (/** @type {Link} */ { there, back }) => (there?.out ?? 0) + (back?.out ?? 0);
  for (const link of model.links.values()) {
    const ends = [model.nodes.get(link.a)?.region, model.nodes.get(link.b)?.region].sort();
    if (ends[0] === ends[1]) continue;
    const before = busiest.get(ends.join("|"));
    if (!before || flow(link) > flow(before)) busiest.set(ends.join("|"), link);
  }
  const chosen = choice?.kind === "link" ? model.links.get(choice.id) : undefined;
  return [...new Set([...busiest.values(), ...(chosen ? [chosen] : [])])];
}

/** @param {() => void} run */
const button = (run) => ({
  role: "button",
  tabindex: "0",
  onClick: run,
  onKeyDown: (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    run();
  },
});

/** @param {number} mbps */
const thickness = (mbps) => 2 + Math.min(8, Math.sqrt(mbps) * 2.6);

/** Both directions side by side, each as thick as what flows and coloured by what is lost. @param {any} props */
function Lanes({ link, from, to, chosen, onChoose }) {
  if (!from || !to) return null;
  const { a, b, there, back, up } = link;
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const normal = { x: -(to.y - from.y) / length, y: (to.x - from.x) / length };
  // Traffic keeps to the right, and out of the dots.
  const lane = (/** @type {1 | -1} */ side) => {
    const [start, end] = side === 1 ? [from, to] : [to, from];
    const along = { x: (end.x - start.x) / length, y: (end.y - start.y) / length };
    const shift = { x: normal.x * 4.5 * side, y: normal.y * 4.5 * side };
    const clear = Math.min(20, length / 3);
    return `M${start.x + along.x * clear + shift.x} ${start.y + along.y * clear + shift.y}L${end.x - along.x * clear + shift.x} ${end.y - along.y * clear + shift.y}`;
  };
  const says = up
    ? `Link ${a} to ${b}: ${millis(Math.max(there?.rtt ?? 0, back?.rtt ?? 0))}, there ${rate(there?.out ?? 0)} with ${percent(there?.loss ?? 0)} lost, back ${rate(back?.out ?? 0)} with ${percent(back?.loss ?? 0)} lost`
    : `Link ${a} to ${b}: down`;
  return html`<g class=${`link ${up ? "" : "down"} ${chosen ? "chosen" : ""}`} data-testid="link" data-link=${link.key} aria-label=${says} aria-pressed=${chosen} ...${button(() => onChoose(chosen ? null : { kind: "link", id: link.key }))}>
    <title>${says}</title>
    <line class="link-grip" x1=${from.x} y1=${from.y} x2=${to.x} y2=${to.y} />
    ${up
      ? [
          [there, 1],
          [back, -1],
        ].map(([metrics, side]) => html`<g key=${side}>
          <path class=${`lane loss-${grade(metrics?.loss ?? 0)}`} d=${lane(side)} style=${{ strokeWidth: `${thickness(metrics?.out ?? 0)}px` }} />
          ${(metrics?.out ?? 0) > 0.02 && html`<path class="flow" d=${lane(side)} />`}
        </g>`)
      : html`<line class="lane-down" x1=${from.x} y1=${from.y} x2=${to.x} y2=${to.y} />`}
  </g>`;
}

/** @param {any} props */
function Label({ link, from, to, width }) {
  if (!from || !to) return null;
  const { there, back, up } = link;
  const loss = Math.max(there?.loss ?? 0, back?.loss ?? 0);
  const queue = Math.max(there?.queue ?? 0, back?.queue ?? 0);
  const arrows = from.x <= to.x ? [there, back] : [back, there];
  const [right, left] = arrows;
  const lines = up
    ? [`${millis(Math.max(there?.rtt ?? 0, back?.rtt ?? 0))} · ${percent(loss)} loss${queue >= 1 ? ` · q ${queue} ms` : ""}`, `→ ${rate(right?.out ?? 0)}  ← ${rate(left?.out ?? 0)}`]
    : ["down"];
  const wide = Math.max(...lines.map((line) => line.length)) * 6.1 + 18;
  const high = lines.length * 15 + 9;
  const x = Math.min(Math.max((from.x + to.x) / 2, wide / 2 + 4), width - wide / 2 - 4);
  const y = (from.y + to.y) / 2;
  return html`<g class=${`link-label loss-${up ? grade(loss) : "down"}`} aria-hidden="true" data-testid="link-label">
    <rect x=${x - wide / 2} y=${y - high / 2} width=${wide} height=${high} rx="8" />
    ${lines.map((line, index) => html`<text key=${index} x=${x} y=${y - high / 2 + 17 + index * 15} class=${index === 0 ? "" : "dim"}>${line}</text>`)}
  </g>`;
}

/** @param {any} props */
function HopLine({ from, to, text, idle }) {
  if (!from || !to) return null;
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const along = { x: (to.x - from.x) / length, y: (to.y - from.y) / length };
  const [x1, y1, x2, y2] = [from.x + along.x * 22, from.y + along.y * 22, to.x - along.x * 24, to.y - along.y * 24];
  const wide = text.length * 6.3 + 16;
  return html`<g class=${idle ? "idle" : ""}>
    <path class="hop" d=${`M${x1} ${y1}L${x2} ${y2}`} marker-end="url(#arrow)" />
    ${text && html`<rect x=${(x1 + x2) / 2 - wide / 2} y=${(y1 + y2) / 2 - 12} width=${wide} height="24" rx="8" /><text x=${(x1 + x2) / 2} y=${(y1 + y2) / 2 + 4}>${text}</text>`}
  </g>`;
}

/** @param {any} props */
function NodeDot({ point, node, track, chosen, onChoose }) {
  const { id } = point;
  const state = !node || node.gone ? "gone" : node.draining ? "draining" : "serving";
  const inTree = track && (track.origin === id || track.hops.some((/** @type {any} */ hop) => hop.from === id || hop.to === id));
  const says = `Node ${id}, ${node?.role ?? ""}, ${state}`;
  const r = 15;
  const named = id !== node?.region;
  return html`<g class=${`node ${state} ${node?.role ?? ""} ${chosen ? "chosen" : ""} ${track && !inTree ? "aside" : ""}`} data-testid="node" data-node=${id} data-state=${state} aria-label=${says} aria-pressed=${chosen} ...${button(() => onChoose(chosen ? null : { kind: "node", id }))}>
    <title>${says}</title>
    <circle class="node-halo" cx=${point.x} cy=${point.y} r=${r + 6} />
    ${node?.role === "core" ? html`<rect class="node-body" x=${point.x - r + 1} y=${point.y - r + 1} width=${2 * r - 2} height=${2 * r - 2} rx="5" />` : html`<circle class="node-body" cx=${point.x} cy=${point.y} r=${r} />`}
    ${track?.origin === id && html`<circle class="node-origin" cx=${point.x} cy=${point.y} r="6" />`}
    ${state === "gone" && html`<path class="node-cross" d=${`M${point.x - 6} ${point.y - 6}l12 12m0-12l-12 12`} />`}
    ${state === "draining" && html`<path class="node-cross" d=${`M${point.x} ${point.y - 7}v12m-5-5l5 5 5-5`} />`}
    <text class="node-name" x=${point.x} y=${point.y + r + 15}>${state === "serving" ? (named ? id : "") : named ? `${id} ${state}` : state}</text>
  </g>`;
}
