// Who is in the room and what they publish, as the server last said it: plain records that `room.js` updates and everyone else
// reads. Owns no connection and sends nothing.

/** @import * as api from "../weir.js" */
/** @typedef {import("../weir-protocol.js").Peer} Peer */
/** @typedef {import("../weir-protocol.js").Source} Source */

/** @implements {api.RemoteTrack} */
export class RemoteTrack {
  /** @param {string} pid @param {import("../weir-protocol.js").Track} track */
  constructor(pid, track) {
    this.id = track.id;
    this.pid = pid;
    this.kind = track.kind;
    this.source = track.source;
    this.name = track.name;
    this.muted = track.muted;
    this.layers = track.layers;
    /** @type {MediaStreamTrack | null} */
    this.media = null;
    /** @type {import("../weir-protocol.js").StreamStateKind | null} */
    this.streaming = null;
    /** @type {import("../weir-protocol.js").StreamReason | null} */
    this.reason = null;
    /** @type {string | null} */
    this.rid = null;
    /** @type {readonly import("../weir-protocol.js").Edge[]} */
    this.path = [];
  }
}

/** @implements {api.Member} */
export class Member {
  /** @param {Peer} peer */
  constructor(peer) {
    this.pid = peer.pid;
    this.identity = peer.identity;
    this.name = peer.name;
    /** @type {Record<string, string>} */
    this.attrs = /** @type {Record<string, string>} */ (peer.attrs);
    this.node = peer.node;
    this.region = peer.region;
    this.hand = peer.hand;
    this.away = peer.away;
    /** @type {Map<string, RemoteTrack>} */
    this.tracks = new Map(peer.tracks.map((track) => [track.id, new RemoteTrack(peer.pid, track)]));
    /** @type {import("../weir-protocol.js").PeerQuality | null} */
    this.quality = null;
    this.level = 0;
  }

  /** @param {Source} source */
  track(source) {
    for (const track of this.tracks.values()) if (track.source === source) return track;
    return null;
  }
}

/** @implements {api.LocalTrack} */
export class LocalTrack {
  /**
   * @param {string} cid
   * @param {MediaStreamTrack} media
   * @param {{ source: Source, name?: string, muted: boolean, owned: boolean }} how
   */
  constructor(cid, media, { source, name, muted, owned }) {
    this.cid = cid;
    /** @type {string | null} */
    this.id = null;
    this.kind = /** @type {import("../weir-protocol.js").Kind} */ (media.kind);
    this.source = source;
    this.name = name;
    this.muted = muted;
    /** @type {MediaStreamTrack | null} */
    this.media = media;
    /** The room opened the device and stops it. */
    this.owned = owned;
  }
}

/** @implements {api.LocalMember} */
export class LocalMember {
  pid = "";
  /** Of now and before: each join at another edge brings a new one. @type {Set<string>} */
  pids = new Set();
  identity = "";
  name = "";
  /** @type {import("../weir-protocol.js").Grants} */
  grants = { publish: false, subscribe: false, data: false, admin: false, hidden: false, sources: null };
  hand = false;
  level = 0;
  /** @type {import("../weir-protocol.js").PeerQuality | null} */
  quality = null;
  /** @type {Map<string, LocalTrack>} */
  tracks = new Map();

  /** @param {Source} source */
  track(source) {
    for (const track of this.tracks.values()) if (track.source === source) return track;
    return null;
  }
}
