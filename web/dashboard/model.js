// From what the nodes say to one picture: nodes, links with both directions, rooms and the tree of each track; and what was so
// over the last minutes. Pure: `main.js` feeds it what was polled and the time.

/** Samples kept of each figure: five minutes of one a second. */
const HISTORY = 300;
/** A node or link that is gone is shown for this long, in milliseconds. */
const REMEMBER = 5 * 60_000;
const EVENTS_MOST = 60;

/**
 * @typedef {{ rtt: number, loss: number, out: number, in: number, target: number, queue: number }} Metrics milliseconds, share of 1, Mbps
 * @typedef {{ id: string, region: string, role: string, draining: boolean, url: string | null, gone: boolean, goneAt: number, here: boolean, epoch: number | null, tracks: number | null }} Node
 * @typedef {{ key: string, a: string, b: string, there: Metrics | null, back: Metrics | null, up: boolean, goneAt: number, shed: number | null, upS: number | null }} Link `there` is what goes from a to b.
 * @typedef {{ from: string, to: string, layers: number[], kbps: number | null }} Hop
 * @typedef {{ layer: number, height: number, kbps: number }} Layer
 * @typedef {{ id: string, room: string, kind: "audio" | "video", origin: string, hops: Hop[], at: { node: string, wanted: number[], layers: Layer[], path: string[] }[] }} Track
 */

/** @param {string} a @param {string} b */
export const linkKey = (a, b) => (a < b ? `${a}|${b}` : `${b}|${a}`);

/** @param {any} raw @returns {Metrics} */
function metrics(raw) {
  return { rtt: raw.rtt_us / 1000, loss: raw.loss_permille / 1000, out: raw.kbps_out / 1000, in: raw.kbps_in / 1000, target: raw.target_kbps / 1000, queue: raw.queue_ms };
}

export class Model {
  /** @type {Map<string, Node>} */
  nodes = new Map();
  /** @type {Map<string, Link>} */
  links = new Map();
  /** @type {Map<string, Track>} */
  tracks = new Map();
  /** @type {{ a: string, b: string, cost: number }[]} */
  regionLinks = [];
  epoch = 0;
  /** @type {string[]} Nodes of this process that did not answer. */
  silent = [];
  /** @type {{ at: number, text: string, bad: boolean }[]} newest first */
  events = [];
  /** Figures over time, by `link key` or `node id`, then by name. @type {Map<string, Record<string, number[]>>} */
  history = new Map();
  #first = true;

  /** @param {{ nodes: any[], silent?: string[] }} answer @param {number} now */
  take({ nodes: statuses, silent = [] }, now) {
    this.silent = silent;
    this.epoch = Math.max(0, ...statuses.map(({ epoch }) => epoch));
    this.#takeNodes(statuses, now);
    this.#takeLinks(statuses, now);
    this.#takeRegions(statuses);
    this.#takeTracks(statuses);
    this.#remember();
    this.#first = false;
  }

  /** @param {any[]} statuses @param {number} now */
  #takeNodes(statuses, now) {
    /** @type {Map<string, Node>} */
    const found = new Map();
    for (const { nodes } of statuses) {
      for (const { id, region, role, draining, url } of nodes) {
        // Whoever drains says so first; the others hear of it.
        const before = found.get(id);
        found.set(id, { id, region, role, draining: draining || (before?.draining ?? false), url, gone: false, goneAt: 0, here: false, epoch: null, tracks: null });
      }
    }
    for (const { me, epoch, tracks } of statuses) {
      if (!me) continue;
      const { id, region, role, draining, url } = me;
      found.set(id, { id, region, role, draining: draining || (found.get(id)?.draining ?? false), url, gone: false, goneAt: 0, here: true, epoch, tracks: tracks.length });
    }
    for (const [id, before] of this.nodes) {
      const after = found.get(id);
      if (!after) {
        if (!before.gone) this.#note(now, `${id} can't be reached any more`, true);
        const goneAt = before.gone ? before.goneAt : now;
        if (now - goneAt < REMEMBER) found.set(id, { ...before, gone: true, goneAt });
      } else if (before.gone) this.#note(now, `${id} is back`, false);
      else if (after.draining && !before.draining) this.#note(now, `${id} is draining`, true);
    }
    if (!this.#first) for (const id of found.keys()) if (!this.nodes.has(id)) this.#note(now, `${id} joined`, false);
    this.nodes = new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** @param {any[]} statuses @param {number} now */
  #takeLinks(statuses, now) {
    /** @type {Map<string, Link>} */
    const found = new Map();
    /** @param {string} from @param {string} to @param {any} raw @param {any} [own] */
    const add = (from, to, raw, own) => {
      const key = linkKey(from, to);
      const [a = "", b = ""] = key.split("|");
      const link = found.get(key) ?? { key, a, b, there: null, back: null, up: true, goneAt: 0, shed: null, upS: null };
      found.set(key, link);
      link[from === a ? "there" : "back"] = metrics(raw);
      if (own) {
        link.shed = (link.shed ?? 0) + own.shed;
        link.upS = own.up_s;
      }
    };
    for (const { nodes } of statuses) for (const { id, neighbours } of nodes) for (const each of neighbours) add(id, each.node, each);
    // What a node says of its own links is newer than what the others heard of it.
    for (const { me, links } of statuses) if (me) for (const each of links) add(me.id, each.node, each, each);
    for (const [key, before] of this.links) {
      const after = found.get(key);
      const ends = [before.a, before.b].every((id) => this.nodes.get(id)?.gone === false);
      if (!after) {
        if (before.up && ends) this.#note(now, `the link ${before.a} – ${before.b} is down`, true);
        const goneAt = before.up ? now : before.goneAt;
        if (now - goneAt < REMEMBER) found.set(key, { ...before, up: false, goneAt, there: null, back: null });
      } else if (!before.up) this.#note(now, `the link ${before.a} – ${before.b} is up again`, false);
    }
    this.links = new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** @param {any[]} statuses */
  #takeRegions(statuses) {
    const found = new Map();
    for (const { region_links } of statuses) {
      for (const { from, to, cost } of region_links) {
        const key = linkKey(from, to);
        const [a, b] = key.split("|");
        found.set(key, { a, b, cost: Math.max(cost, found.get(key)?.cost ?? 0) });
      }
    }
    this.regionLinks = [...found.values()];
  }

  /** @param {any[]} statuses */
  #takeTracks(statuses) {
    /** @type {Map<string, Track>} */
    const found = new Map();
    for (const { me, tracks } of statuses) {
      if (!me) continue;
      for (const { track: id, room, kind, origin, path, wanted, layers } of tracks) {
        const track = found.get(id) ?? { id, room, kind, origin, hops: [], at: [] };
        found.set(id, track);
        track.at.push({ node: me.id, wanted, layers, path });
      }
    }
    for (const { me, tracks } of statuses) {
      if (!me) continue;
      for (const { track: id, children, path, wanted } of tracks) {
        const track = found.get(id);
        if (!track) continue;
        let to = me.id;
        for (const from of path) {
          hop(track, from, to, to === me.id ? wanted : []);
          to = from;
        }
        for (const { node, layers } of children) hop(track, me.id, node, layers);
      }
    }
    const order = (/** @type {Track} */ { room, origin, kind, id }) => `${room}\0${origin}\0${kind}\0${id}`;
    this.tracks = new Map([...found.values()].sort((a, b) => (order(a) < order(b) ? -1 : 1)).map((track) => [track.id, track]));
  }

  #remember() {
    for (const [key, { there, back }] of this.links) {
      const rtt = Math.max(there?.rtt ?? 0, back?.rtt ?? 0);
      this.#sample(key, { rtt, thereLoss: (there?.loss ?? 0) * 100, backLoss: (back?.loss ?? 0) * 100, there: there?.out ?? 0, back: back?.out ?? 0, queue: Math.max(there?.queue ?? 0, back?.queue ?? 0), target: there?.target ?? 0, backTarget: back?.target ?? 0 });
    }
    for (const { id, tracks } of this.nodes.values()) this.#sample(id, { ...this.traffic(id), tracks: tracks ?? 0 });
    for (const key of [...this.history.keys()]) if (!this.links.has(key) && !this.nodes.has(key)) this.history.delete(key);
  }

  /** @param {string} key @param {Record<string, number>} figures */
  #sample(key, figures) {
    const kept = this.history.get(key) ?? {};
    this.history.set(key, kept);
    for (const [name, value] of Object.entries(figures)) {
      const series = (kept[name] ??= []);
      series.push(value);
      if (series.length > HISTORY) series.shift();
    }
  }

  /** Mbps over all links of a node. @param {string} id */
  traffic(id) {
    let [out, into] = [0, 0];
    for (const { a, b, there, back } of this.links.values()) {
      if (id === a) [out, into] = [out + (there?.out ?? 0), into + (back?.out ?? there?.in ?? 0)];
      if (id === b) [out, into] = [out + (back?.out ?? 0), into + (there?.out ?? back?.in ?? 0)];
    }
    return { out, in: into };
  }

  /** Regions and their nodes. @returns {Map<string, Node[]>} */
  regions() {
    /** @type {Map<string, Node[]>} */
    const found = new Map(this.regionLinks.flatMap(({ a, b }) => [a, b]).map((id) => [id, []]));
    for (const node of this.nodes.values()) found.set(node.region, [...(found.get(node.region) ?? []), node]);
    return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Rooms and their tracks. @returns {Map<string, Track[]>} */
  rooms() {
    /** @type {Map<string, Track[]>} */
    const found = new Map();
    for (const track of this.tracks.values()) found.set(track.room, [...(found.get(track.room) ?? []), track]);
    return found;
  }

  /** @param {number} at @param {string} text @param {boolean} bad */
  #note(at, text, bad) {
    this.events = [{ at, text, bad }, ...this.events].slice(0, EVENTS_MOST);
  }
}

/** @param {Track} track @param {string} from @param {string} to @param {number[]} layers */
function hop(track, from, to, layers) {
  let known = track.hops.find((each) => each.from === from && each.to === to);
  if (!known) track.hops.push((known = { from, to, layers: [], kbps: null }));
  known.layers = [...new Set([...known.layers, ...layers])].sort((x, y) => x - y);
  const receiver = track.at.find(({ node }) => node === to);
  if (receiver) known.kbps = receiver.layers.reduce((sum, { kbps }) => sum + kbps, 0);
}
