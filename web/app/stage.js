// The pictures: a grid of everybody, or one large with the others beside it. Owns sizes and pages; a tile draws itself.

import { grid, pageSize } from "./layout.js";
import { html, useLayoutEffect, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";
import { TileView } from "./tile.js";
import { paged } from "./tiles.js";

/** @typedef {import("./tiles.js").Tile} Tile */

/** @param {import("./html.js").useRef<HTMLElement>} box */
function useSize(box) {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const measure = () => {
      const { clientWidth: width, clientHeight: height } = element;
      setSize((before) => (before.width === width && before.height === height ? before : { width, height }));
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, []);
  return size;
}

/**
 * @param {object} props
 * @param {import("../weir.js").Room} props.room
 * @param {Tile[]} props.tiles
 * @param {string | null} props.focus Key of the tile that is large; null is the grid.
 * @param {string | null} props.pinned
 * @param {Map<string, number>} props.spoke
 * @param {(key: string) => void} props.onPin
 * @param {import("../weir.js").StatsSnapshot | null} props.stats
 */
export function Stage({ room, tiles, focus, pinned, spoke, onPin, stats }) {
  const box = useRef(/** @type {any} */ (null));
  const size = useSize(box);
  const [page, setPage] = useState(0);
  const gap = size.width < 600 ? 6 : 10;
  const main = focus === null ? undefined : tiles.find(({ key }) => key === focus);
  /** @param {Tile} tile @param {Record<string, unknown>} extra */
  const view = (tile, extra) => html`<${TileView} key=${tile.key} tile=${tile} room=${room} pinned=${pinned === tile.key} onPin=${onPin} stats=${stats} ...${extra} />`;

  if (main) {
    const others = tiles.filter((tile) => tile !== main);
    const beside = size.width > size.height * 1.1;
    return html`<div ref=${box} class=${`stage focus ${beside ? "beside" : "below"}`} data-testid="stage" data-layout="speaker">
      <div class="main">${view(main, { large: true })}</div>
      ${others.length > 0 && html`<div class="strip" role="group" aria-label="Other people" tabindex="0">${others.map((tile) => view(tile, {}))}</div>`}
    </div>`;
  }

  const most = size.width ? pageSize(size.width, size.height) : tiles.length;
  const pages = Math.max(1, Math.ceil(tiles.length / most));
  const at = Math.min(page, pages - 1);
  const shown = paged(tiles, most, at, spoke);
  const cells = grid(shown.length, size.width, size.height, gap);
  const style = { width: `${cells.width}px`, height: `${cells.height}px` };
  return html`<div ref=${box} class="stage" data-testid="stage" data-layout="grid">
    <div class="grid" style=${{ gap: `${gap}px`, width: `${cells.columns * cells.width + (cells.columns - 1) * gap + 1}px` }}>${size.width > 0 && shown.map((tile) => view(tile, { style }))}</div>
    ${pages > 1 &&
    html`<nav class="pager" aria-label="Pages of people">
      <button class="round small" aria-label="Previous page" disabled=${at === 0} onClick=${() => setPage(at - 1)}><${Icon} name="left" size=${18} /></button>
      <span>${at + 1} / ${pages}</span>
      <button class="round small" aria-label="Next page" disabled=${at === pages - 1} onClick=${() => setPage(at + 1)}><${Icon} name="right" size=${18} /></button>
    </nav>`}
  </div>`;
}
