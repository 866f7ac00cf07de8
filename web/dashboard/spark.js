// A figure over the last minutes as a small line, with its value of now in text beside it.

import { html } from "./html.js";

const WIDTH = 240;
const HEIGHT = 44;
const SPAN = 300;

/**
 * @param {object} props
 * @param {string} props.label
 * @param {{ name: string, values: number[], tone: string }[]} props.series Drawn on one scale.
 * @param {(value: number) => string} props.format
 * @param {number} [props.least] The scale reaches at least this far, so that noise does not look like news.
 */
export function Spark({ label, series, format, least = 0 }) {
  const top = Math.max(least, ...series.flatMap(({ values }) => values)) || 1;
  const line = (/** @type {number[]} */ values) =>
    values
      .slice(-SPAN)
      .map((value, index, shown) => `${(((SPAN - shown.length + index) / (SPAN - 1)) * WIDTH).toFixed(1)},${(HEIGHT - 3 - (value / top) * (HEIGHT - 8)).toFixed(1)}`)
      .join(" ");
  const now = series.map(({ name, values }) => `${name ? `${name} ` : ""}${format(values.at(-1) ?? 0)}`);
  return html`<figure class="spark">
    <figcaption>
      <span class="spark-label">${label}</span>
      <span class="spark-now">${series.map(({ name, values, tone }) => html`<span key=${name} class=${`tone-${tone}`}>${series.length > 1 && html`<i aria-hidden="true"></i>`}${name && html`<span class="dim">${name}</span> `}<b>${format(values.at(-1) ?? 0)}</b></span>`)}</span>
    </figcaption>
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${`${label} over the last five minutes, now ${now.join(", ")}, highest ${format(top)}`}>
      <line class="spark-base" x1="0" x2=${WIDTH} y1=${HEIGHT - 3} y2=${HEIGHT - 3} />
      ${series.map(({ name, values, tone }) => html`<polyline key=${name} class=${`spark-line tone-${tone}`} points=${line(values)} />`)}
    </svg>
    <span class="spark-top dim" aria-hidden="true">max ${format(top)}</span>
  </figure>`;
}
