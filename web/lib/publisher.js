// What this page publishes: opens devices, turns tracks on and off, switches devices, and publishes everything again when the
// session had to be made anew. Owns the `LocalTrack`s; the m-lines are `media.js`'s. `room.js` is its only caller.

import { captureCamera, captureMicrophone, captureScreen } from "./capture.js";
import { WeirError } from "./errors.js";
import { hint } from "./encodings.js";
import { LocalTrack } from "./members.js";

/** @typedef {import("./members.js").LocalMember} LocalMember */
/** @typedef {import("../weir-protocol.js").Source} Source */
/** @typedef {import("../weir.js").RoomEvents["localtrack"]["what"]} What */

/** What was published on a second connection, by cid. @typedef {Map<string, { media: MediaStreamTrack, muted: boolean, id: string | null }>} Prepared */

/**
 * @typedef {object} PublisherHandlers
 * @property {() => import("./media.js").Media} media The connection of now; throws when there is none.
 * @property {(body: import("../weir-protocol.js").ClientMessage) => Promise<void>} request
 * @property {(track: LocalTrack, what: What) => void} onChange
 * @property {(error: WeirError) => void} onFault
 */

export class Publisher {
  #local;
  #on;
  /** Switching on and off quickly must end as the last call said. @type {Map<Source, Promise<unknown>>} */
  #turns = new Map();

  /** @param {LocalMember} local @param {PublisherHandlers} on */
  constructor(local, on) {
    this.#local = local;
    this.#on = on;
  }

  /** @param {boolean} on @param {import("../weir.js").CameraOptions & { media?: MediaStreamTrack }} options */
  setCamera(on, options) {
    return this.#inTurn("camera", async () => {
      const track = this.#local.track("camera");
      if (!on) return track && this.#turnOff(track);
      if (track && !track.muted && Object.keys(options).length === 0) return;
      // Many cameras can be open only once: the old capture goes before the new one comes.
      if (track && !options.media) this.#stop(track);
      const media = options.media ?? (await captureCamera(options));
      await this.#turnOn(track, media, "camera");
    });
  }

  /** @param {boolean} on @param {import("../weir.js").MicrophoneOptions & { media?: MediaStreamTrack }} options */
  setMicrophone(on, options) {
    return this.#inTurn("microphone", async () => {
      const track = this.#local.track("microphone");
      if (!on) return track && this.setMuted(track, true);
      if (track?.media && track.media.readyState === "live" && Object.keys(options).length === 0) return this.setMuted(track, false);
      const media = options.media ?? (await captureMicrophone(options));
      await this.#turnOn(track, media, "microphone");
    });
  }

  /** @param {boolean} on @param {import("../weir.js").ScreenOptions} options */
  setScreenShare(on, options) {
    return this.#inTurn("screen_share", async () => {
      const shared = [this.#local.track("screen_share"), this.#local.track("screen_share_audio")];
      if (!on) {
        for (const track of shared) if (track) await this.unpublish(track);
        return;
      }
      if (shared[0]) return;
      const { video, audio } = await captureScreen(options);
      // Both go into one offer.
      const sound = audio && this.publish(audio, { source: "screen_share_audio", owned: true });
      sound?.catch(() => {});
      await this.publish(video, { source: "screen_share", owned: true });
      await sound;
    });
  }

  /**
   * @param {MediaStreamTrack} media
   * @param {{ source: Source, name?: string, muted?: boolean, owned?: boolean }} how
   */
  async publish(media, { source, name, muted = false, owned = false }) {
    const { sources } = this.#local.grants;
    if (!this.#local.grants.publish || (sources && !sources.includes(source))) {
      if (owned) media.stop();
      throw new WeirError("forbidden", "You may not share this in the room.");
    }
    const track = new LocalTrack(crypto.randomUUID(), media, { source, name, muted, owned });
    const connection = this.#on.media();
    hint(media, source);
    media.enabled = !muted;
    this.#local.tracks.set(track.cid, track);
    this.#watchEnd(track, media);
    this.#on.onChange(track, "published");
    try {
      this.#called(track, { muted, id: await connection.publish(media, { cid: track.cid, source, name, muted }) });
    } catch (fault) {
      // A new session publishes it again by itself; whoever waits is told that it took a detour by nothing at all.
      if (this.#local.tracks.get(track.cid) === track && !(fault instanceof WeirError && fault.code === "closed")) {
        this.#local.tracks.delete(track.cid);
        this.#stop(track);
        this.#on.onChange(track, "unpublished");
        throw fault;
      }
    }
    return track;
  }

  /** Everything, on a new connection. */
  republish() {
    for (const track of this.#local.tracks.values()) this.#republish(track);
  }

  /** @param {LocalTrack} track */
  #republish(track) {
    track.id = null;
    // A camera that is off has nothing to publish; turning it on publishes it.
    if (!track.media) return void this.#local.tracks.delete(track.cid);
    const { muted } = track;
    this.#on
      .media()
      .publish(track.media, track)
      .then(
        (id) => this.#named(track, { muted, id }),
        (fault) => fault instanceof WeirError && fault.code !== "closed" && this.#on.onFault(fault),
      );
  }

  /**
   * Everything, on a second connection as well.
   * @param {import("./media.js").Media} connection @returns {Prepared}
   */
  prepare(connection) {
    /** @type {Prepared} */
    const prepared = new Map();
    for (const { cid, media, muted, source, name } of this.#local.tracks.values()) {
      if (!media) continue;
      const entry = { media, muted, id: /** @type {string | null} */ (null) };
      prepared.set(cid, entry);
      connection.publish(media, { cid, source, muted, ...(name !== undefined && { name }) }).then(
        (id) => {
          entry.id = id;
          const track = this.#local.tracks.get(cid);
          // Taken over before the answer came.
          if (track && this.#adopted === prepared) this.#named(track, entry);
        },
        () => {},
      );
    }
    return prepared;
  }

  /** @type {Prepared | null} */
  #adopted = null;

  /** The second connection is now the only one: brings it up to what changed since. @param {Prepared} prepared */
  adopt(prepared) {
    this.#adopted = prepared;
    const connection = this.#on.media();
    for (const track of [...this.#local.tracks.values()]) {
      const entry = prepared.get(track.cid);
      if (!entry || !track.media) {
        this.#republish(track);
        continue;
      }
      track.id = null;
      if (entry.media !== track.media) void connection.replace(track.cid, track.media).catch(() => {});
      if (entry.muted !== track.muted) connection.setMuted(track.cid, track.muted);
      if (entry.id !== null) this.#named(track, entry);
    }
    for (const [cid, { id }] of prepared) {
      if (this.#local.tracks.has(cid)) continue;
      connection.unpublish(cid);
      if (id !== null) this.#on.request({ t: "unpublish", track: id }).catch(() => {});
    }
  }

  /** @param {LocalTrack} track @param {{ muted: boolean, id: string | null }} entry */
  #named(track, entry) {
    this.#called(track, entry);
    this.#on.onChange(track, "published");
  }

  /** The server has a name for it; whether it is muted could not be said of it before. @param {LocalTrack} track @param {{ muted: boolean, id: string | null }} entry */
  #called(track, { muted, id }) {
    track.id = id;
    if (id !== null && muted !== track.muted) this.#on.request({ t: "mute", track: id, muted: track.muted }).catch(() => {});
  }

  /** @param {LocalTrack} track */
  async unpublish(track) {
    if (!this.#local.tracks.delete(track.cid)) return;
    this.#on.media().unpublish(track.cid);
    this.#stop(track);
    this.#on.onChange(track, "unpublished");
    if (track.id !== null) await this.#on.request({ t: "unpublish", track: track.id });
  }

  /** @param {LocalTrack} track @param {boolean} muted */
  async setMuted(track, muted) {
    if (track.media) track.media.enabled = !muted;
    if (track.muted === muted) return;
    track.muted = muted;
    this.#on.media().setMuted(track.cid, muted);
    this.#on.onChange(track, "muted");
    // Without an id the offer that is on its way carries the state.
    if (track.id !== null) await this.#on.request({ t: "mute", track: track.id, muted });
  }

  /** @param {LocalTrack} track @param {MediaStreamTrack} media */
  async replace(track, media) {
    hint(media, track.source);
    media.enabled = !track.muted;
    const before = track.media;
    await this.#on.media().replace(track.cid, media);
    track.media = media;
    if (track.owned && before !== media) before?.stop();
    this.#watchEnd(track, media);
    this.#on.onChange(track, "replaced");
  }

  /** Lets go of every device the room opened. */
  close() {
    for (const track of this.#local.tracks.values()) if (track.owned) track.media?.stop();
    this.#local.tracks.clear();
  }

  /** @param {LocalTrack | null} track @param {MediaStreamTrack} media @param {Source} source */
  async #turnOn(track, media, source) {
    if (!track) return void (await this.publish(media, { source, owned: true }));
    media.enabled = true;
    await this.replace(track, media);
    await this.setMuted(track, false);
  }

  /** @param {LocalTrack} track */
  async #turnOff(track) {
    const told = this.setMuted(track, true);
    await this.#on.media().replace(track.cid, null);
    this.#stop(track);
    this.#on.onChange(track, "replaced");
    await told;
  }

  /** @param {LocalTrack} track */
  #stop(track) {
    if (track.owned) track.media?.stop();
    track.media = null;
  }

  /** @param {LocalTrack} track @param {MediaStreamTrack} media */
  #watchEnd(track, media) {
    media.addEventListener("ended", () => {
      if (track.media !== media || !this.#local.tracks.has(track.cid)) return;
      this.#on.onChange(track, "ended");
      const done = track.source === "camera" ? this.#turnOff(track) : track.source === "microphone" ? this.setMuted(track, true) : this.unpublish(track);
      done.catch((fault) => fault instanceof WeirError && this.#on.onFault(fault));
    });
  }

  /** @template T @param {Source} source @param {() => Promise<T>} step @returns {Promise<void>} */
  #inTurn(source, step) {
    const before = this.#turns.get(source) ?? Promise.resolve();
    const next = before.catch(() => {}).then(async () => void (await step()));
    this.#turns.set(source, next);
    return next;
  }
}
