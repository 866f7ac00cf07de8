// Who is in the room, as the server tells it: the records of members and their tracks, and the differences between what was
// known and what is said now. Owns the records; what a track plays as is told to `pictures.js` through `show`.

import { Member, RemoteTrack } from "./members.js";

/** @typedef {import("../weir.js").RoomEvents} RoomEvents */
/** @typedef {import("../weir-protocol.js").Peer} Peer */
/** @typedef {import("../weir-protocol.js").ServerMessage} ServerMessage */

/**
 * An edge that is new to a room may know it in part when it first speaks of it. Who is missing then stays for this long, in
 * milliseconds, before they count as gone: longer shows people who left meanwhile, shorter has everybody leave and come back.
 */
const MISSED_FOR = 5_000;
/** Who was replaced by a newer session of theirs is told to have left before that one is told of: the pause between, at most. */
const REPLACED_FOR = 1_000;

/**
 * @typedef {object} RosterSetup
 * @property {(id: string) => MediaStreamTrack | null} mediaOf What a track plays as now.
 * @property {(id: string, media: MediaStreamTrack | null, hold: boolean) => void} show
 * @property {<K extends keyof RoomEvents>(type: K, detail: RoomEvents[K]) => void} tell
 * @property {() => void} changed
 */

export class Roster {
  #local;
  #setup;
  /** Who is still shown, but leaves unless they come again. @type {Map<string, ReturnType<typeof setTimeout>>} */
  #missed = new Map();
  /** @type {Map<string, Member>} */
  members = new Map();
  /** @type {import("../weir-protocol.js").Speaker[]} */
  speakers = [];

  /** @param {import("./members.js").LocalMember} local @param {RosterSetup} setup */
  constructor(local, setup) {
    this.#local = local;
    this.#setup = setup;
  }

  /** Of everybody else. */
  tracks() {
    return [...this.members.values()].flatMap(({ tracks }) => [...tracks.values()]);
  }

  /** @param {string} id */
  find(id) {
    for (const member of this.members.values()) {
      const track = member.tracks.get(id);
      if (track) return { member, track };
    }
    return null;
  }

  /** Whoever has that session, oneself included. @param {string} pid */
  who(pid) {
    return pid === this.#local.pid ? this.#local : this.members.get(pid);
  }

  /**
   * Makes the records what a snapshot says, and tells the differences.
   * @param {Peer[]} peers @param {{ patient: boolean }} how Whether who is missing may yet come.
   */
  reconcile(peers, { patient }) {
    const present = new Set(peers.map(({ pid }) => pid));
    const identities = new Set(peers.map(({ identity }) => identity));
    for (const { pid, identity } of [...this.members.values()]) {
      if (present.has(pid)) continue;
      if (identities.has(identity)) this.left(pid, "replaced");
      else if (!patient) this.#gone(pid, "timed_out");
      else if (!this.#missed.has(pid)) this.#miss(pid, "timed_out", MISSED_FOR);
    }
    for (const peer of peers) this.joined(peer);
  }

  /** Somebody is there, maybe as before. @param {Peer} peer */
  joined(peer) {
    // One's own session at the edge before, or after, a move is not somebody else.
    if (peer.identity === this.#local.identity) return;
    const known = this.members.get(peer.pid);
    if (known) return this.#same(known, peer);
    // They went on elsewhere as well, under another name of session.
    for (const pid of [...this.#missed.keys()]) if (this.members.get(pid)?.identity === peer.identity) this.#gone(pid, "replaced");
    const member = new Member({ ...peer, tracks: [] });
    this.members.set(peer.pid, member);
    this.#setup.tell("memberjoined", { member });
    for (const track of peer.tracks) this.#addTrack(member, track);
  }

  /** @param {Member} member @param {Peer} peer */
  #same(member, peer) {
    this.#seen(peer.pid);
    this.updated({ pid: peer.pid, name: peer.name, attrs: peer.attrs, hand: peer.hand, away: peer.away });
    const published = new Set(peer.tracks.map(({ id }) => id));
    for (const id of [...member.tracks.keys()]) if (!published.has(id)) this.#removeTrack(member, id);
    for (const track of peer.tracks) {
      if (member.tracks.has(track.id)) this.muted(peer.pid, track.id, track.muted);
      else this.#addTrack(member, track);
    }
  }

  /** @param {string} pid */
  #seen(pid) {
    clearTimeout(this.#missed.get(pid));
    this.#missed.delete(pid);
  }

  /** @param {string} pid @param {import("../weir-protocol.js").LeaveReason} reason */
  left(pid, reason) {
    // To leave and come back would be two sights of the room: an empty place, and then the same person in it.
    if (reason !== "replaced") return this.#gone(pid, reason);
    this.#seen(pid);
    if (this.members.has(pid)) this.#miss(pid, reason, REPLACED_FOR);
  }

  /** @param {string} pid @param {import("../weir-protocol.js").LeaveReason} reason @param {number} patience In milliseconds. */
  #miss(pid, reason, patience) {
    this.#missed.set(pid, setTimeout(() => this.#gone(pid, reason), patience));
  }

  /** @param {string} pid @param {import("../weir-protocol.js").LeaveReason} reason */
  #gone(pid, reason) {
    const member = this.members.get(pid);
    if (!member) return;
    this.#seen(pid);
    for (const id of [...member.tracks.keys()]) this.#removeTrack(member, id);
    this.members.delete(pid);
    this.speakers = this.speakers.filter((speaker) => speaker.pid !== pid);
    this.#setup.tell("memberleft", { member, reason });
  }

  /** @param {Omit<Extract<ServerMessage, { t: "peer_updated" }>, "t">} update */
  updated({ pid, name, attrs, hand, away }) {
    if (pid === this.#local.pid) {
      this.#local.name = name;
      this.#local.hand = hand;
      return this.#setup.changed();
    }
    const member = this.members.get(pid);
    if (!member) return;
    Object.assign(member, { name, attrs, hand, away });
    this.#setup.tell("memberupdated", { member });
  }

  /** @param {string} pid @param {import("../weir-protocol.js").Track} track */
  trackAdded(pid, track) {
    const member = this.members.get(pid);
    if (member) this.#addTrack(member, track);
  }

  /** @param {string} pid @param {string} id */
  trackRemoved(pid, id) {
    const member = this.members.get(pid);
    if (member) this.#removeTrack(member, id);
  }

  /** @param {Member} member @param {import("../weir-protocol.js").Track} published */
  #addTrack(member, published) {
    if (member.tracks.has(published.id)) return;
    const track = new RemoteTrack(member.pid, published);
    member.tracks.set(track.id, track);
    this.#setup.tell("trackadded", { track, member });
    // Its slot may have been bound before it was told of, and an element may show it from before it was gone.
    this.bind(track, this.#setup.mediaOf(track.id));
  }

  /** @param {Member} member @param {string} id */
  #removeTrack(member, id) {
    const track = member.tracks.get(id);
    if (!track) return;
    member.tracks.delete(id);
    // Whoever moves to another edge publishes anew: the last picture stays for the one that follows.
    this.bind(track, null, true);
    this.#setup.tell("trackremoved", { track, member });
  }

  /** @param {string} pid @param {string} id @param {boolean} muted */
  muted(pid, id, muted) {
    const member = this.members.get(pid);
    const track = member?.tracks.get(id);
    if (!member || !track || track.muted === muted) return;
    track.muted = muted;
    this.#setup.tell("trackmuted", { track, member });
  }

  /** @param {RemoteTrack} track @param {MediaStreamTrack | null} media @param {boolean} [hold] Keep the last picture for a while. */
  bind(track, media, hold = this.#missed.has(track.pid)) {
    if (track.media === media) return;
    track.media = media;
    this.#setup.show(track.id, media, hold);
    this.#setup.tell("trackbound", { track });
  }

  /** @param {import("../weir-protocol.js").Speaker[]} speakers */
  spoke(speakers) {
    for (const { pid } of this.speakers) this.#level(pid, 0);
    for (const { pid, level } of speakers) this.#level(pid, level);
    this.speakers = speakers;
    this.#setup.tell("speakers", { speakers });
  }

  /** @param {string} pid @param {number} level */
  #level(pid, level) {
    const member = this.who(pid);
    if (member) member.level = level;
  }

  /** @param {import("../weir-protocol.js").PeerQuality[]} peers */
  rated(peers) {
    for (const quality of peers) {
      const member = this.who(quality.pid);
      if (member) member.quality = quality;
    }
    this.#setup.tell("quality", { peers });
  }

  /** Waits for nobody any more. */
  close() {
    for (const timer of this.#missed.values()) clearTimeout(timer);
    this.#missed.clear();
  }
}
