// Where regions and nodes stand on the map. Pure. Regions that join many others stand within, those that hang on them around,
// near to what they hang on; without such a difference all stand in a circle.

/** @typedef {{ x: number, y: number }} Point */
/** @typedef {{ id: string, x: number, y: number, r: number, nodes: { id: string, x: number, y: number }[] }} Place */

/** Below this, a circle says everything. */
const CIRCLE_UP_TO = 4;
const NODE_GAP = 46;

/**
 * @param {Map<string, { id: string }[]>} regions
 * @param {{ a: string, b: string }[]} links Between regions.
 * @param {number} width @param {number} height Pixels.
 * @returns {Place[]}
 */
export function place(regions, links, width, height) {
  const ids = [...regions.keys()];
  const near = new Map(ids.map((id) => [id, links.flatMap(({ a, b }) => (a === id ? [b] : b === id ? [a] : []))]));
  const radius = (/** @type {string} */ id) => 40 + Math.max(0, ringOf(regions.get(id)?.length ?? 0) - 6);
  const edge = Math.max(...ids.map(radius), 0) + 30;
  const center = { x: width / 2, y: height / 2 };
  const reach = { x: Math.max(10, width / 2 - edge), y: Math.max(10, height / 2 - edge) };

  const degree = (/** @type {string} */ id) => near.get(id)?.length ?? 0;
  const mean = ids.reduce((sum, id) => sum + degree(id), 0) / Math.max(1, ids.length);
  const hubs = ids.filter((id) => degree(id) > mean);
  const tiers = ids.length > CIRCLE_UP_TO && hubs.length > 0 && hubs.length <= ids.length / 2;
  /** @type {Map<string, number>} */
  const angles = new Map();
  const inner = tiers ? hubs : [];
  const outer = ids.filter((id) => !inner.includes(id));
  spread(inner).forEach(([id, angle]) => angles.set(id, angle));
  // Around, in the order of what they hang on.
  const pull = (/** @type {string} */ id) => mean_angle((near.get(id) ?? []).flatMap((other) => angles.get(other) ?? []));
  spread(tiers ? [...outer].sort((a, b) => pull(a) - pull(b)) : outer).forEach(([id, angle]) => angles.set(id, angle));

  const unit = new Map(
    ids.map((id) => {
      const angle = angles.get(id) ?? 0;
      const share = ids.length === 1 ? 0 : inner.includes(id) ? (inner.length === 1 ? 0 : 0.42) : 1;
      return [id, { x: Math.cos(angle) * share, y: Math.sin(angle) * share }];
    }),
  );
  // A triangle does not reach as far down as a circle: what there is fills the place.
  const fill = (/** @type {"x" | "y"} */ axis) => {
    const all = [...unit.values()].map((point) => point[axis]);
    const [least, most] = [Math.min(...all), Math.max(...all)];
    return (/** @type {number} */ value) => (most - least < 1e-6 ? center[axis] : center[axis] + ((value - least) / (most - least) - 0.5) * 2 * reach[axis]);
  };
  const [across, down] = [fill("x"), fill("y")];

  return ids.map((id) => {
    const nodes = regions.get(id) ?? [];
    const at = unit.get(id) ?? { x: 0, y: 0 };
    const [x, y] = [across(at.x), down(at.y)];
    const ring = ringOf(nodes.length);
    return {
      id,
      x,
      y,
      r: radius(id),
      nodes: spread(nodes.map((node) => node.id)).map(([node, turn]) => ({ id: node, x: x + Math.cos(turn) * ring, y: y + Math.sin(turn) * ring })),
    };
  });
}

/** Radius of the ring on which that many nodes stand. @param {number} count */
const ringOf = (count) => (count <= 1 ? 0 : Math.max(24, (count * NODE_GAP) / (2 * Math.PI)));

/** Evenly around, the first at the upper left of a pair, on top of three. @param {string[]} ids @returns {[string, number][]} */
function spread(ids) {
  const start = ids.length === 2 ? Math.PI : -Math.PI / 2;
  return ids.map((id, index) => [id, start + (index / ids.length) * 2 * Math.PI]);
}

/** @param {number[]} angles from the top, clockwise */
function mean_angle(angles) {
  const x = angles.reduce((sum, angle) => sum + Math.cos(angle), 0);
  const y = angles.reduce((sum, angle) => sum + Math.sin(angle), 0);
  return (Math.atan2(y, x) + Math.PI / 2 + 2 * Math.PI) % (2 * Math.PI);
}
