// From a room to what is shown: one tile per person, one per shared screen, in an order that does not jump about. Pure but for
// reading the room.

/** @typedef {import("../weir.js").Room} Room */
/**
 * @typedef {object} Tile
 * @property {string} key Stable, also when its person comes back: pins and DOM nodes live by it.
 * @property {boolean} local
 * @property {"camera" | "screen"} what
 * @property {string} pid
 * @property {string} identity
 * @property {string} name
 * @property {any} member `Member`, or `LocalMember` when `local`.
 * @property {any} video `RemoteTrack`, or `LocalTrack` when `local`; null without one.
 * @property {boolean} muted The person's microphone.
 * @property {boolean} speaking
 */

/** Loud enough to be shown as speaking. */
const AUDIBLE = 15;

/** @param {Room} room @returns {Tile[]} shared screens first, then oneself, then the others as they came */
export function tilesOf(room) {
  const { local } = room;
  /** @param {any} member @param {boolean} isLocal @returns {Tile[]} */
  const of = (member, isLocal) => {
    const microphone = member.track("microphone");
    const person = {
      local: isLocal,
      pid: member.pid,
      identity: member.identity,
      name: member.name || "Guest",
      member,
      muted: microphone === null || microphone.muted,
      speaking: member.level > AUDIBLE && microphone !== null && !microphone.muted,
    };
    const screen = member.track("screen_share");
    return [
      { ...person, key: member.identity, what: "camera", video: member.track("camera") },
      ...(screen ? [{ ...person, key: `${member.identity}/screen`, what: /** @type {const} */ ("screen"), video: screen }] : []),
    ];
  };
  const every = [...(local.grants.hidden ? [] : of(local, true)), ...[...room.members.values()].flatMap((member) => of(member, false))];
  // Whoever is on the way from one server to another is here twice: the newer one counts once it has a picture to show.
  /** @type {Map<string, Tile>} */
  const byKey = new Map();
  for (const tile of every) {
    const before = byKey.get(tile.key);
    if (!before?.video?.media || tile.video?.media) byKey.set(tile.key, tile);
  }
  const all = [...byKey.values()];
  return [...all.filter(({ what }) => what === "screen"), ...all.filter(({ what }) => what === "camera")];
}

/**
 * The tiles of one page, where whoever speaks on a later page takes the place of the quietest on the first.
 * @param {Tile[]} tiles @param {number} size @param {number} page @param {Map<string, number>} spoke When each last spoke, by `pid`.
 */
export function paged(tiles, size, page, spoke) {
  if (tiles.length <= size) return tiles;
  const order = [...tiles];
  for (let at = size; at < order.length; at += 1) {
    const late = order[at];
    if (!late || !spoke.has(late.pid)) continue;
    let quietest = -1;
    for (let early = 0; early < size; early += 1) {
      const candidate = order[early];
      if (!candidate || candidate.local || candidate.what === "screen") continue;
      const other = order[quietest];
      if (!other || (spoke.get(candidate.pid) ?? 0) < (spoke.get(other.pid) ?? 0)) quietest = early;
    }
    const quiet = order[quietest];
    if (!quiet || (spoke.get(quiet.pid) ?? 0) >= (spoke.get(late.pid) ?? 0)) continue;
    order[quietest] = late;
    order[at] = quiet;
  }
  return order.slice(page * size, (page + 1) * size);
}
