// Breaking things, in `weir dev` only: a path between two regions made worse, nodes killed, started and drained. Sends a change
// as it is made and shows what the server has.

import * as api from "./api.js";
import { html, useEffect, useRef, useState } from "./html.js";

/** @typedef {{ delay_ms: number, jitter_ms: number, loss: number, burst: number, rate_kbps: number, queue_ms: number, partition: boolean }} Impairment */

/** A slider tells while it is dragged, but not each pixel. */
const TELL_AFTER = 120;

/** @type {Impairment} */
const PERFECT = { delay_ms: 0, jitter_ms: 0, loss: 0, burst: 0, rate_kbps: 0, queue_ms: 0, partition: false };
/** @type {[string, Partial<Impairment>][]} */
const PRESETS = [
  ["Perfect", {}],
  ["Atlantic", { delay_ms: 45, jitter_ms: 4 }],
  ["Lossy", { delay_ms: 45, jitter_ms: 8, loss: 0.05, burst: 3 }],
  ["Narrow", { delay_ms: 30, rate_kbps: 1500, queue_ms: 300 }],
];
/** @type {{ key: Exclude<keyof Impairment, "partition">, label: string, most: number, step: number, scale: number, unit: string, zero?: string }[]} */
const SLIDERS = [
  { key: "delay_ms", label: "Delay", most: 400, step: 5, scale: 1, unit: "ms" },
  { key: "jitter_ms", label: "Jitter", most: 200, step: 1, scale: 1, unit: "ms" },
  { key: "loss", label: "Loss", most: 40, step: 0.5, scale: 100, unit: "%" },
  { key: "burst", label: "Burst", most: 30, step: 1, scale: 1, unit: "packets", zero: "single" },
  { key: "rate_kbps", label: "Rate", most: 20_000, step: 100, scale: 1, unit: "kbps", zero: "no limit" },
  { key: "queue_ms", label: "Queue", most: 1_000, step: 10, scale: 1, unit: "ms" },
];

/** @param {{ dev: { regions: any[], paths: any[] }, onFault: (text: string) => void, onDone: () => void }} props */
export function Breaking({ dev, onFault, onDone }) {
  /** @param {Promise<unknown>} work */
  const tried = (work) => void work.then(onDone, (fault) => onFault(fault.message));
  const [chosen, setChosen] = useState(/** @type {string | null} */ (null));
  const pairs = dev.paths.filter(({ from, to }) => from < to).map((path) => ({ ...path, key: `${path.from}|${path.to}` }));
  const shown = pairs.find(({ key }) => key === chosen) ?? pairs[0];
  return html`<section class="card breaking" aria-labelledby="breaking-title" data-testid="breaking">
    <header><h2 id="breaking-title">Break things</h2><span class="dim">weir dev</span></header>
    <ul class="plain-list dev-nodes">
      ${dev.regions.map(({ node, region, url, running }) => html`<li key=${node} data-testid="dev-node" data-node=${node}>
        <span class="dev-name"><b>${region}</b>${node === region ? null : html` <span class="dim">${node}</span>`}</span>
        <span class=${`state ${running ? "state-serving" : "state-gone"}`}><i aria-hidden="true">${running ? "●" : "✕"}</i>${running ? "runs" : "stopped"}</span>
        <span class="end buttons">
          ${running
            ? html`<a class="button" href=${url} target="_blank" rel="noreferrer" aria-label=${`Open the page of ${region}`}>Open</a>
                <button class="button" data-testid="dev-drain" aria-label=${`Drain ${node}`} onClick=${() => tried(api.act(node, "drain"))}>Drain</button>
                <button class="button danger" data-testid="dev-kill" aria-label=${`Kill ${node}`} onClick=${() => tried(api.act(node, "kill"))}>Kill</button>`
            : html`<button class="button" data-testid="dev-start" aria-label=${`Start ${node}`} onClick=${() => tried(api.act(node, "start"))}>Start</button>`}
        </span>
      </li>`)}
    </ul>
    <div class="tabs" role="tablist" aria-label="Paths between regions">
      ${pairs.map(({ from, to, impairment }) => {
        const key = `${from}|${to}`;
        const state = harm({ ...PERFECT, ...impairment });
        return html`<button key=${key} type="button" role="tab" aria-selected=${key === shown?.key} class="tab" data-testid="path-tab" data-path=${key} data-state=${state} onClick=${() => setChosen(key)}>${from} – ${to}${state && html` <small>${state}</small>`}</button>`;
      })}
    </div>
    ${shown && html`<${Path} key=${shown.key} from=${shown.from} to=${shown.to} impairment=${shown.impairment} onFault=${onFault} />`}
  </section>`;
}

/** What a path suffers from in a word; a long way alone is no harm. @param {Impairment} impairment */
const harm = ({ partition, loss, jitter_ms, rate_kbps }) => (partition ? "cut" : loss > 0 || jitter_ms > 0 || rate_kbps > 0 ? "impaired" : "");

/** @param {{ from: string, to: string, impairment: Impairment, onFault: (text: string) => void }} props */
function Path({ from, to, impairment, onFault }) {
  const [mine, setMine] = useState(/** @type {Impairment | null} */ (null));
  const timer = useRef(/** @type {any} */ (undefined));
  const [sent, setSent] = useState("");
  // What was sent is shown until the server says the same.
  const theirs = JSON.stringify({ ...PERFECT, ...impairment });
  useEffect(() => {
    if (sent && theirs === sent) {
      setMine(null);
      setSent("");
    }
  }, [theirs, sent]);
  const now = mine ?? { ...PERFECT, ...impairment };

  /** @param {Partial<Impairment>} change */
  const set = (change) => {
    const next = { ...now, ...change };
    setMine(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      api.breakPath(from, to, next).then(
        () => setSent(JSON.stringify(next)),
        (fault) => {
          setMine(null);
          onFault(fault.message);
        },
      );
    }, TELL_AFTER);
  };
  const state = harm(now);
  return html`<fieldset class=${`path ${now.partition ? "cut" : ""}`} data-testid="path" data-path=${`${from}|${to}`}>
    <legend>${from} – ${to}${state && html` <span class=${state === "cut" ? "bad-text" : "dim"}>${state}</span>`}</legend>
    <div class="buttons presets">
      ${PRESETS.map(([name, change]) => html`<button key=${name} class="button small" type="button" data-testid=${`preset-${name.toLowerCase()}`} onClick=${() => set({ ...PERFECT, ...change })}>${name}</button>`)}
      <button class=${`button small ${now.partition ? "danger" : ""}`} type="button" role="switch" aria-checked=${now.partition} data-testid="partition" onClick=${() => set({ partition: !now.partition })}>${now.partition ? "Heal" : "Cut"}</button>
    </div>
    ${SLIDERS.map(({ key, label, most, step, scale, unit, zero }) => {
      const value = Math.round(now[key] * scale * 10) / 10;
      const text = value <= (key === "burst" ? 1 : 0) && zero ? zero : `${value} ${unit}`;
      return html`<label key=${key} class="slider"><span>${label}</span><input type="range" min="0" max=${most} step=${step} value=${value} disabled=${now.partition} aria-valuetext=${text} data-testid=${`slide-${key}`} onInput=${(/** @type {any} */ event) => set({ [key]: Number(event.target.value) / scale })} /><output>${text}</output></label>`;
    })}
  </fieldset>`;
}
