// What this end of a call sends: a microphone and a camera, opened when they are wanted and let go of at the end. Owns the tracks
// and whether they are on; `call.js` says where they go.

import { captureCamera, captureMicrophone } from "./capture.js";

/** @import * as api from "../weir.js" */

/**
 * @typedef {object} SendsSetup
 * @property {import("./room.js").Room} room
 * @property {(kind: "audio" | "video", track: MediaStreamTrack | null) => Promise<void>} send From browser to browser, where there is such a connection.
 * @property {() => boolean} inRoom The room publishes them.
 * @property {() => boolean} over Nothing is wanted any more.
 * @property {() => void} changed
 * @property {(fault: unknown) => void} onFault
 */

export class CallSends {
  #setup;
  /** @type {{ audio: MediaStreamTrack | null, video: MediaStreamTrack | null }} */
  tracks = { audio: null, video: null };
  microphone = false;
  camera = false;

  /** @param {SendsSetup} setup */
  constructor(setup) {
    this.#setup = setup;
  }

  /** Each kind's steps follow each other: off while a device opens means off. @type {{ audio: Promise<void>, video: Promise<void> }} */
  #turns = { audio: Promise.resolve(), video: Promise.resolve() };

  /** @param {api.CallOptions} options */
  async capture({ audio = true, video = true, tracks = {} }) {
    const devices = /** @type {const} */ ([["audio", audio, captureMicrophone], ["video", video, captureCamera]]);
    await Promise.all(
      devices.map(([kind, wanted, capture]) =>
        this.#inTurn(kind, async () => {
          if (!wanted) return;
          try {
            await this.#take(kind, tracks[kind] ?? (await capture(typeof wanted === "object" ? wanted : {})));
          } catch (fault) {
            // A call without a camera is a call.
            this.#setup.onFault(fault);
          }
        }),
      ),
    );
  }

  /** @param {"audio" | "video"} kind @param {() => Promise<void>} step */
  #inTurn(kind, step) {
    const turn = this.#turns[kind].then(() => (this.#setup.over() ? undefined : step()));
    this.#turns[kind] = turn.catch(() => {});
    return turn;
  }

  /** @param {"audio" | "video"} kind @param {MediaStreamTrack} track */
  async #take(kind, track) {
    if (this.#setup.over()) return track.stop();
    this.tracks[kind]?.stop();
    this.tracks[kind] = track;
    this[kind === "audio" ? "microphone" : "camera"] = true;
    track.addEventListener("ended", () => {
      if (this.tracks[kind] !== track) return;
      // The room notices what it publishes by itself.
      if (!this.#setup.inRoom()) return void (kind === "audio" ? this.setMicrophone(false) : this.setCamera(false));
      this[kind === "audio" ? "microphone" : "camera"] = false;
      this.#setup.changed();
    });
    await this.#setup.send(kind, track);
    this.#setup.changed();
  }

  /** @param {boolean} on @param {api.MicrophoneOptions} [options] */
  setMicrophone(on, options) {
    return this.#inTurn("audio", async () => {
      const { audio } = this.tracks;
      const { room } = this.#setup;
      // What is muted is silent at once, by every way, whatever the server takes to hear of it.
      if (audio && !on) audio.enabled = false;
      if (this.#setup.inRoom() && (!audio || room.local.track("microphone"))) {
        await room.setMicrophone(on, options);
        await this.#published("audio", room.local.track("microphone"));
      } else if (audio?.readyState === "live") {
        audio.enabled = on;
      } else if (on) {
        await this.#take("audio", await captureMicrophone(options));
      }
      this.microphone = on && !this.#setup.over();
      this.#setup.changed();
    });
  }

  /** @param {boolean} on @param {api.CameraOptions} [options] */
  setCamera(on, options) {
    return this.#inTurn("video", async () => {
      if (on === this.camera) return;
      const before = this.tracks.video;
      const { room } = this.#setup;
      if (this.#setup.inRoom()) {
        await room.setCamera(on, options);
        await this.#published("video", room.local.track("camera"));
      } else if (on) {
        await this.#take("video", await captureCamera(options));
      } else {
        this.tracks.video = null;
        await this.#setup.send("video", null);
      }
      if (!on) before?.stop();
      this.camera = on && !this.#setup.over();
      this.#setup.changed();
    });
  }

  /** What the room publishes of a kind now. @param {"audio" | "video"} kind @param {import("./members.js").LocalTrack | null} track */
  async #published(kind, track) {
    // Turned on while the call ended.
    if (this.#setup.over()) return track && this.#setup.room.unpublish(track);
    const media = track?.media ?? null;
    if (track && !this.#setup.inRoom()) {
      // Turned on while the call went back: the device goes on.
      track.owned = false;
      this.#setup.room.unpublish(track).catch(() => {});
    }
    this.tracks[kind] = media;
    await this.#setup.send(kind, this.tracks[kind]);
  }

  /** Lets go of the devices. */
  stop() {
    for (const track of Object.values(this.tracks)) track?.stop();
  }
}
