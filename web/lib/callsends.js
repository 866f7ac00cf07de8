// What this end of a call sends: a microphone and a camera, opened when they are wanted and let go of at the end. Owns the tracks
// and whether they are on; `call.js` says where they go.

import { captureCamera, captureMicrophone } from "./capture.js";

/** @import * as api from "../weir.js" */

/**
 * @typedef {object} SendsSetup
 * @property {import("./room.js").Room} room
 * @property {() => import("./peer.js").Peer | null} peer
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

  /** @param {api.CallOptions} options */
  async capture({ audio = true, video = true, tracks = {} }) {
    const devices = /** @type {const} */ ([["audio", audio, captureMicrophone], ["video", video, captureCamera]]);
    await Promise.all(
      devices.map(async ([kind, wanted, capture]) => {
        if (!wanted) return;
        try {
          await this.#take(kind, tracks[kind] ?? (await capture(typeof wanted === "object" ? wanted : {})));
        } catch (fault) {
          // A call without a camera is a call.
          this.#setup.onFault(fault);
        }
      }),
    );
  }

  /** @param {"audio" | "video"} kind @param {MediaStreamTrack} track */
  async #take(kind, track) {
    if (this.#setup.over()) return track.stop();
    this.tracks[kind] = track;
    this[kind === "audio" ? "microphone" : "camera"] = true;
    track.addEventListener("ended", () => {
      // The room notices what it publishes by itself.
      if (this.tracks[kind] === track && !this.#setup.inRoom()) void (kind === "audio" ? this.setMicrophone(false) : this.setCamera(false));
    });
    await this.#setup.peer()?.send(kind, track);
    this.#setup.changed();
  }

  /** @param {boolean} on @param {api.MicrophoneOptions} [options] */
  async setMicrophone(on, options) {
    const { audio } = this.tracks;
    if (this.#setup.inRoom()) await this.#setup.room.setMicrophone(on, options);
    else if (audio?.readyState === "live") audio.enabled = on;
    else if (on) await this.#take("audio", await captureMicrophone(options));
    this.microphone = on;
    this.#setup.changed();
  }

  /** @param {boolean} on @param {api.CameraOptions} [options] */
  async setCamera(on, options) {
    if (on === this.camera) return;
    const before = this.tracks.video;
    const { room } = this.#setup;
    if (this.#setup.inRoom()) {
      await room.setCamera(on, options);
      this.tracks.video = room.local.track("camera")?.media ?? null;
      await this.#setup.peer()?.send("video", this.tracks.video);
    } else if (on) {
      await this.#take("video", await captureCamera(options));
    } else {
      this.tracks.video = null;
      await this.#setup.peer()?.send("video", null);
    }
    if (!on) before?.stop();
    this.camera = on;
    this.#setup.changed();
  }

  /** Lets go of the devices. */
  stop() {
    for (const track of Object.values(this.tracks)) track?.stop();
  }
}
