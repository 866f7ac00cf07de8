// Which way the media of a call take, and whether the room's server would be the better one. Pure: reads reports, decides,
// touches nothing. `call.js` asks.

/**
 * @typedef {object} Way
 * @property {boolean} relayed One end at least is a TURN server's address.
 * @property {boolean} bothRelayed
 * @property {number | null} rttMs From browser to browser and back.
 * @property {"udp" | "tcp" | null} protocol
 */

/** The way through the room must be shorter by this factor and by this many milliseconds: a move costs more than a little delay. */
const CLEARLY = 1.5;
const CLEARLY_MS = 50;

/**
 * The pair of candidates in use, from the reports of a peer connection.
 * @param {Iterable<any>} reports
 * @returns {Way | null} null while there is none.
 */
export function wayOf(reports) {
  const all = new Map([...reports].map((each) => [each.id, each]));
  const chosen = [...all.values()].find(({ type, selectedCandidatePairId }) => type === "transport" && selectedCandidatePairId)?.selectedCandidatePairId;
  const nominated = [...all.values()].find(({ type, state, nominated }) => type === "candidate-pair" && nominated && state === "succeeded");
  const pair = all.get(chosen) ?? nominated;
  const [local, remote] = [all.get(pair?.localCandidateId), all.get(pair?.remoteCandidateId)];
  if (!pair || !local || !remote) return null;
  const ends = [local, remote].map(({ candidateType }) => candidateType === "relay");
  return {
    relayed: ends.includes(true),
    bothRelayed: !ends.includes(false),
    rttMs: typeof pair.currentRoundTripTime === "number" ? pair.currentRoundTripTime * 1000 : null,
    protocol: local.relayProtocol === "tcp" || local.relayProtocol === "tls" || local.protocol === "tcp" ? "tcp" : "udp",
  };
}

/**
 * Whether the media had better go through the room's server: always where both ends are relayed, since then a server stands in
 * between twice already, and where the way there and on is clearly shorter than the one in use. How far two edges are from each
 * other is not known here, so different edges are never compared by time.
 * @param {{ way: Way | null, own: number | null, theirs: number | null, sameEdge: boolean }} known Round trips of both to their edges, in milliseconds.
 */
export function betterThroughRoom({ way, own, theirs, sameEdge }) {
  if (!way) return false;
  if (way.bothRelayed) return true;
  if (!sameEdge || way.rttMs === null || own === null || theirs === null) return false;
  const through = own + theirs;
  return way.rttMs > through * CLEARLY && way.rttMs > through + CLEARLY_MS;
}
