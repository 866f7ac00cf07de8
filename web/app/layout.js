// Where tiles go: pure arithmetic, no DOM. `stage.js` calls it with the size it has.

/** @typedef {{ columns: number, rows: number, width: number, height: number }} Grid */

/**
 * The grid that gives each of `count` tiles the most area without a shape that no face fits in.
 * @param {number} count
 * @param {number} width
 * @param {number} height
 * @param {number} gap
 * @returns {Grid}
 */
export function grid(count, width, height, gap) {
  // An upright screen takes upright tiles; a wide one keeps to what cameras capture.
  const [narrowest, widest] = height > width ? [3 / 4, 16 / 9] : [4 / 3, 16 / 9];
  let best = { columns: 1, rows: Math.max(1, count), width: 0, height: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns += 1) {
    const rows = Math.ceil(count / columns);
    const w = (width - gap * (columns - 1)) / columns;
    const h = (height - gap * (rows - 1)) / rows;
    if (w <= 0 || h <= 0) continue;
    const fitted = w / h > widest ? { width: h * widest, height: h } : w / h < narrowest ? { width: w, height: w / narrowest } : { width: w, height: h };
    if (fitted.width * fitted.height > best.width * best.height) best = { columns, rows, ...fitted };
  }
  return { ...best, width: Math.floor(best.width), height: Math.floor(best.height) };
}

/** How many tiles a page of the grid may hold: smaller ones show nobody. @param {number} width @param {number} height */
export function pageSize(width, height) {
  const smallest = width < 600 ? 150 * 120 : 220 * 124;
  return Math.max(2, Math.min(width < 600 ? 8 : 25, Math.floor((width * height) / smallest)));
}
