// A call that goes through the room's server: publishes what this end sends, subscribes to those who are in the same call, and
// says when their media flow. Who is in it is an attribute of the member, so that everybody knows without asking. Owns the
// subscriptions and the attribute; `callmove.js` is its only caller.

/** @typedef {import("./members.js").Member} Member */
/** @typedef {import("./members.js").RemoteTrack} RemoteTrack */

/** The attribute of a member that names the call it is in. */
export const IN_CALL = "weir.call";

/** Whoever's session is made anew says within this that they are still in the call. */
const BACK_WITHIN = 6_000;

const SOURCES = /** @type {const} */ ({ audio: "microphone", video: "camera" });

export class InRoom {
  #host;
  #call;
  #onChange;
  #wanted = new Set();
  /** What the counters of a track said first: an m-line counts on from the track it carried before. @type {Map<string, number>} */
  #first = new Map();
  #off;
  #joined = false;
  #left = false;
  /** What the application itself published before. @type {Set<string>} */
  #others = new Set();
  /** Under which name of session somebody was in the call last, by identity. @type {Map<string, string>} */
  #sessions = new Map();
  /** Until when those are counted who have not said so again. @type {Map<string, number>} */
  #awaited = new Map();

  /** @param {import("./calls.js").Host} host @param {string} call @param {() => void} onChange */
  constructor(host, call, onChange) {
    this.#host = host;
    this.#call = call;
    this.#onChange = onChange;
    const { room } = host;
    const look = () => this.#look();
    this.#off = [room.on("memberjoined", look), room.on("memberleft", (left) => this.#gone(left)), room.on("memberupdated", look), room.on("trackadded", look), room.on("trackremoved", look), room.on("trackmuted", look)];
  }

  /** Publishes, and says so. @param {{ audio: MediaStreamTrack | null, video: MediaStreamTrack | null }} tracks @param {boolean} muted */
  async join(tracks, muted) {
    // The call may have ended while somebody was asked.
    if (this.#left || this.#joined) return;
    const { room } = this.#host;
    this.#joined = true;
    this.#others = new Set(room.local.tracks.keys());
    const attribute = this.#tell(this.#call);
    this.#look();
    const published = [tracks.audio && this.add("audio", tracks.audio, muted), tracks.video && this.add("video", tracks.video, false)];
    await Promise.all([attribute, ...published]);
  }

  /** Publishes a track more. @param {"audio" | "video"} kind @param {MediaStreamTrack} media @param {boolean} muted */
  async add(kind, media, muted) {
    const { room } = this.#host;
    const source = SOURCES[kind];
    const { sources } = room.local.grants;
    // From browser to browser everything may be sent; what the token does not grant stays there.
    const own = [...room.local.tracks.values()].some((track) => track.source === source && !this.#others.has(track.cid));
    if (!this.#joined || own || (sources && !sources.includes(source))) return;
    await room.publish(media, { source, muted, owned: true });
  }

  /** Of a session that was made anew: tracks are published again by the room, the rest is for us. */
  renewed() {
    if (!this.#joined) return;
    this.#wanted.clear();
    this.#first.clear();
    void this.#tell(this.#call).catch(() => {});
    this.#look();
  }

  /** Who else is in the call, each once: who moves to another edge is where they were until they are gone there. @returns {Member[]} */
  get members() {
    /** @type {Map<string, Member>} */
    const here = new Map();
    for (const member of this.#present()) if (!here.has(member.identity)) here.set(member.identity, member);
    return [...here.values()];
  }

  /** Every session of theirs. */
  #present() {
    return [...this.#host.room.members.values()].filter((member) => member.attrs[IN_CALL] === this.#call || this.#awaits(member));
  }

  /** A newer session of somebody in the call says so in a moment. @param {Member} member */
  #awaits({ pid, identity }) {
    const before = this.#sessions.get(identity);
    // Who moves to another edge is there twice for a moment, and says so by the first.
    if (before === undefined || before === pid || this.#host.room.members.has(before)) return false;
    let until = this.#awaited.get(pid);
    if (until === undefined) {
      this.#awaited.set(pid, (until = Date.now() + BACK_WITHIN));
      setTimeout(() => !this.#left && this.#look(), BACK_WITHIN + 1);
    }
    return Date.now() < until;
  }

  /** @param {import("../weir.js").RoomEvents["memberleft"]} left */
  #gone({ member: { pid, identity }, reason }) {
    const forget = () => this.#sessions.get(identity) === pid && this.#sessions.delete(identity);
    // Who has moved leaves the edge before, and has still to say that they are in the call at the one after.
    const elsewhere = [...this.#host.room.members.values()].some((member) => member.identity === identity);
    if (elsewhere || reason === "replaced" || reason === "timed_out") setTimeout(forget, BACK_WITHIN);
    else forget();
    this.#look();
  }

  #keep() {
    for (const { pid, identity, attrs } of this.#host.room.members.values()) {
      if (attrs[IN_CALL] === this.#call) this.#sessions.set(identity, pid);
      else if (this.#sessions.get(identity) === pid) this.#sessions.delete(identity);
    }
    for (const pid of this.#awaited.keys()) if (!this.#host.room.members.has(pid)) this.#awaited.delete(pid);
  }

  /** @param {string} identity @param {"camera" | "microphone"} source @returns {RemoteTrack | null} what can be seen or heard of somebody. */
  track(identity, source) {
    const track = this.members.find((member) => member.identity === identity)?.track(source) ?? null;
    return track?.muted ? null : track;
  }

  /** Whether the tracks of somebody arrive here. @param {string} identity */
  async flows(identity) {
    const media = this.#host.media();
    const found = { audio: false, video: false };
    if (!media) return found;
    const reports = await media.connection.getStats().catch(() => new Map());
    for (const [kind, source] of /** @type {const} */ ([["audio", "microphone"], ["video", "camera"]])) {
      const id = this.track(identity, source)?.id;
      if (!id) continue;
      reports.forEach((each) => {
        if (each.type !== "inbound-rtp" || media.trackAt(each.mid) !== id) return;
        const count = (kind === "video" ? each.framesDecoded : each.packetsReceived) ?? 0;
        const first = this.#first.get(id) ?? count;
        this.#first.set(id, Math.min(first, count));
        found[kind] ||= count > first;
      });
    }
    return found;
  }

  #look() {
    const { room } = this.#host;
    this.#keep();
    const here = this.#present();
    for (const id of this.#wanted) if (![...room.members.values()].some(({ tracks }) => tracks.has(id))) this.#wanted.delete(id);
    const tracks = this.#joined ? here.flatMap((member) => [...member.tracks.values()]).filter(({ id }) => !this.#wanted.has(id)) : [];
    for (const { id } of tracks) this.#wanted.add(id);
    if (tracks.length > 0) room.subscribe(tracks, true).catch(() => tracks.forEach(({ id }) => this.#wanted.delete(id)));
    this.#onChange();
  }

  /** @param {string | null} call */
  #tell(call) {
    return this.#host.room.setAttributes({ [IN_CALL]: call });
  }

  /** Takes back what was published, and wants nothing any more. @param {{ keep?: boolean }} [how] `keep`: the devices go on. */
  leave({ keep = false } = {}) {
    for (const off of this.#off) off();
    this.#left = true;
    const { room } = this.#host;
    if (!this.#joined || room.state === "closed") return;
    this.#joined = false;
    const ignore = () => {};
    this.#tell(null).catch(ignore);
    const own = [...room.local.tracks.values()].filter(({ cid, source }) => !this.#others.has(cid) && (source === "microphone" || source === "camera"));
    for (const track of own) {
      if (keep) track.owned = false;
      room.unpublish(track).catch(ignore);
    }
    const wanted = [...room.members.values()].flatMap((member) => [...member.tracks.values()]).filter(({ id }) => this.#wanted.has(id));
    if (wanted.length > 0) room.subscribe(wanted, false).catch(ignore);
  }
}
