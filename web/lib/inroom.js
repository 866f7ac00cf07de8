// A call that goes through the room's server: publishes what this end sends, subscribes to those who are in the same call, and
// says when their media flow. Who is in it is an attribute of the member, so that everybody knows without asking. Owns the
// subscriptions and the attribute; `callmove.js` is its only caller.

/** @typedef {import("./members.js").Member} Member */
/** @typedef {import("./members.js").RemoteTrack} RemoteTrack */

/** The attribute of a member that names the call it is in. */
export const IN_CALL = "weir.call";

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

  /** @param {import("./calls.js").Host} host @param {string} call @param {() => void} onChange */
  constructor(host, call, onChange) {
    this.#host = host;
    this.#call = call;
    this.#onChange = onChange;
    const { room } = host;
    const look = () => this.#look();
    this.#off = [room.on("memberjoined", look), room.on("memberleft", look), room.on("memberupdated", look), room.on("trackadded", look), room.on("trackremoved", look), room.on("trackmuted", look)];
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
    const { sources } = room.local.grants;
    /** @type {[import("../weir-protocol.js").Source, MediaStreamTrack | null, boolean][]} */
    const all = [["microphone", tracks.audio, muted], ["camera", tracks.video, false]];
    // From browser to browser everything may be sent; what the token does not grant stays there.
    const granted = all.filter(([source]) => !sources || sources.includes(source));
    const published = granted.map(([source, media, muted]) => media && room.publish(media, { source, muted, owned: true }));
    await Promise.all([attribute, ...published]);
  }

  /** Of a session that was made anew: tracks are published again by the room, the rest is for us. */
  renewed() {
    if (!this.#joined) return;
    this.#wanted.clear();
    this.#first.clear();
    void this.#tell(this.#call).catch(() => {});
    this.#look();
  }

  /** @returns {Member[]} */
  get members() {
    return [...this.#host.room.members.values()].filter(({ attrs }) => attrs[IN_CALL] === this.#call);
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
    const reports = await media.connection.getStats();
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
    const here = this.members;
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
