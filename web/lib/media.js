// The one RTCPeerConnection of a session: slots for what is received, transceivers for what is sent, and offers, one in flight
// at a time. The client always offers, so glare can't happen. Owns which m-line carries which track; knows nothing of
// members. `room.js` drives it and carries its offers to the server.

import { codecOrder, ladder, layers, scalable, sendEncodings, withOpusDtx } from "./encodings.js";
import { WeirError } from "./errors.js";

/** @typedef {import("../weir-protocol.js").PublishedTrack} PublishedTrack */
/** @typedef {import("../weir-protocol.js").Source} Source */
/** @typedef {import("../weir-protocol.js").Kind} Kind */

/**
 * A sending m-line and what is published on it.
 * @typedef {object} Sending
 * @property {string} cid
 * @property {Kind} kind
 * @property {Source} source
 * @property {string | undefined} name
 * @property {boolean} muted
 * @property {RTCRtpTransceiver} transceiver
 * @property {import("./encodings.js").Rung[]} rungs
 * @property {MediaTrackSettings} settings
 * @property {string | null} id The server's name of it, once an answer came.
 * @property {(id: string) => void} resolve
 * @property {(error: Error) => void} reject
 */

/**
 * @typedef {object} MediaHandlers
 * @property {(offer: { neg: number, sdp: string, tracks: PublishedTrack[], ice_restart?: boolean }) => Promise<void>} sendOffer
 * @property {(trackId: string, mid: string, media: MediaStreamTrack | null) => void} onBound A track gained or lost its m-line.
 * @property {(media: MediaStreamTrack, mid: string) => void} onAudioSlot A new m-line that receives audio.
 * @property {(state: RTCPeerConnectionState) => void} onState
 * @property {(data: string | ArrayBuffer) => void} onData
 * @property {(error: WeirError) => void} onError Negotiation failed; the calls that wait for it are rejected too.
 * @property {() => void} onDead Several ICE restarts did not help: join anew.
 */

/** Several changes in one turn make one offer. */
const NEGOTIATE_AFTER = 20;
/** ICE often mends itself within this. */
const ICE_PATIENCE = 3_000;
/** How long an ICE restart may take before the next. */
const RESTART_AGAIN = 6_000;
const RESTARTS_MOST = 4;
/** Stands for the number of an offer whose answer is being applied: neither a new offer nor another answer may cut in. */
const APPLYING = -1;

export class Media {
  #on;
  #pc;
  #codec;
  #red;
  #neg = 0;
  /** The number of the offer that waits for its answer, 0 when none does, or {@link APPLYING}. */
  #inFlight = 0;
  #again = false;
  #restartWanted = false;
  #restarts = 0;
  #closed = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #debounce;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #iceTimer;
  /** @type {Map<string, Sending>} by cid */
  #sendings = new Map();
  /** m-lines that carry nothing now and may be used again, by what they were made for. @type {Map<string, RTCRtpTransceiver[]>} */
  #idle = new Map();
  /** @type {{ audio: RTCRtpTransceiver[], video: RTCRtpTransceiver[] }} */
  #slots = { audio: [], video: [] };
  /** @type {Map<string, string>} received track by mid */
  #trackOf = new Map();
  /** @type {Map<string, string>} mid by received track */
  #midOf = new Map();
  /** setParameters calls of one sender follow each other. @type {Map<RTCRtpSender, Promise<void>>} */
  #parameterCalls = new Map();
  /** What the server wants encoded, by its name of the track: it may say so before the answer that names the track is in force. @type {Map<string, string[]>} */
  #wantedLayers = new Map();

  /**
   * @param {object} setup
   * @param {RTCIceServer[]} setup.iceServers
   * @param {boolean} setup.relayOnly
   * @param {import("../weir.js").VideoCodec} setup.videoCodec
   * @param {boolean} setup.red
   * @param {MediaHandlers} setup.on
   */
  constructor({ iceServers, relayOnly, videoCodec, red, on }) {
    this.#on = on;
    this.#codec = videoCodec;
    this.#red = red;
    const iceTransportPolicy = relayOnly ? "relay" : "all";
    this.#pc = new RTCPeerConnection({ iceServers, iceTransportPolicy, bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" });
    this.#pc.onconnectionstatechange = () => on.onState(this.#pc.connectionState);
    this.#pc.oniceconnectionstatechange = () => this.#watchIce();
    this.data = this.#pc.createDataChannel("data");
    this.data.binaryType = "arraybuffer";
    this.data.onmessage = (event) => on.onData(event.data);
    this.negotiate();
  }

  get connection() {
    return this.#pc;
  }

  get state() {
    return this.#pc.connectionState;
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#debounce);
    clearTimeout(this.#iceTimer);
    this.#pc.onconnectionstatechange = null;
    this.#pc.oniceconnectionstatechange = null;
    this.#pc.close();
    const gone = new WeirError("closed", "The room was left.");
    for (const sending of this.#sendings.values()) sending.reject(gone);
  }

  // ---- receiving ----

  /** Takes what the server says of this connection. @param {import("../weir-protocol.js").ServerMessage} message @returns {boolean} whether it was that */
  hear(message) {
    switch (message.t) {
      case "answer":
        void this.answered(message);
        return true;
      case "need_slots":
        this.needSlots(message.audio, message.video);
        return true;
      case "bind":
        this.bind(message.mid, message.track);
        return true;
      case "layers":
        this.setActiveLayers(message.track, message.active);
        return true;
      default:
        return false;
    }
  }

  /** Adds the receiving m-lines that are missing. @param {number} audio @param {number} video */
  needSlots(audio, video) {
    for (const [kind, count] of /** @type {const} */ ([["audio", audio], ["video", video]])) {
      const slots = this.#slots[kind];
      while (slots.length < count) {
        slots.push(this.#pc.addTransceiver(kind, { direction: "recvonly" }));
        this.negotiate();
      }
    }
  }

  /** What a received track plays as now. @param {string} trackId */
  mediaOf(trackId) {
    const mid = this.#midOf.get(trackId);
    return mid === undefined ? null : this.#receiver(mid)?.track ?? null;
  }

  /** @param {string} mid */
  trackAt(mid) {
    return this.#trackOf.get(mid) ?? null;
  }

  /** @param {string} mid @param {string | null} trackId */
  bind(mid, trackId) {
    const before = this.#trackOf.get(mid);
    if (before === trackId) return;
    if (before !== undefined) {
      this.#trackOf.delete(mid);
      if (this.#midOf.get(before) === mid) {
        this.#midOf.delete(before);
        this.#on.onBound(before, mid, null);
      }
    }
    if (trackId === null) return;
    const elsewhere = this.#midOf.get(trackId);
    if (elsewhere !== undefined) this.#trackOf.delete(elsewhere);
    this.#trackOf.set(mid, trackId);
    this.#midOf.set(trackId, mid);
    this.#on.onBound(trackId, mid, this.#receiver(mid)?.track ?? null);
  }

  /** @param {string} mid */
  #receiver(mid) {
    return this.#pc.getTransceivers().find((each) => each.mid === mid)?.receiver;
  }

  // ---- sending ----

  /**
   * Publishes a track and waits for the server's name of it.
   * @param {MediaStreamTrack} track
   * @param {{ cid: string, source: Source, name?: string, muted: boolean }} how
   * @returns {Promise<string>}
   */
  publish(track, { cid, source, name, muted }) {
    const kind = /** @type {Kind} */ (track.kind);
    const settings = track.getSettings();
    const rungs = kind === "video" ? scalable(ladder(source, settings.width ?? 0, settings.height ?? 0), source, this.#codec) : [];
    const shape = `${source}/${rungs.map((rung) => `${rung.rid}${rung.scale}`).join()}`;
    return new Promise((resolve, reject) => {
      const transceiver = this.#idle.get(shape)?.pop() ?? this.#addSender(kind, source, rungs);
      transceiver.direction = "sendonly";
      // An m-line that is used again may have been left with nothing to encode.
      if (kind === "video") this.#encode(transceiver.sender, null);
      this.#sendings.set(cid, { cid, kind, source, name, muted, transceiver, rungs, settings, id: null, resolve, reject });
      transceiver.sender.replaceTrack(muted && kind === "video" ? null : track).catch(reject);
      this.negotiate();
    });
  }

  /** @param {Kind} kind @param {Source} source @param {import("./encodings.js").Rung[]} rungs */
  #addSender(kind, source, rungs) {
    const transceiver = this.#pc.addTransceiver(kind, {
      direction: "sendonly",
      ...(kind === "video" && { sendEncodings: sendEncodings(rungs, this.#codec) }),
    });
    const codecs = kind === "video" ? codecOrder("video", this.#codec) : this.#red && source === "microphone" ? codecOrder("audio", "red") : [];
    if (codecs.length > 0) transceiver.setCodecPreferences(codecs);
    return transceiver;
  }

  /** @param {string} cid */
  unpublish(cid) {
    const sending = this.#sendings.get(cid);
    if (!sending) return;
    this.#sendings.delete(cid);
    if (sending.id !== null) this.#wantedLayers.delete(sending.id);
    const { transceiver, source, rungs } = sending;
    const shape = `${source}/${rungs.map((rung) => `${rung.rid}${rung.scale}`).join()}`;
    this.#idle.set(shape, [...(this.#idle.get(shape) ?? []), transceiver]);
    transceiver.direction = "inactive";
    void transceiver.sender.replaceTrack(null);
    sending.reject(new WeirError("closed", "The track was unpublished."));
    this.negotiate();
  }

  /**
   * Sends another track on the same m-line, or nothing, without negotiation.
   * @param {string} cid @param {MediaStreamTrack | null} track
   */
  async replace(cid, track) {
    await this.#sendings.get(cid)?.transceiver.sender.replaceTrack(track);
  }

  /** @param {string} cid @param {boolean} muted */
  setMuted(cid, muted) {
    const sending = this.#sendings.get(cid);
    if (sending) sending.muted = muted;
  }

  /**
   * Encodes only the layers somebody watches.
   * @param {string} trackId @param {string[]} active
   */
  setActiveLayers(trackId, active) {
    this.#wantedLayers.set(trackId, active);
    const sending = [...this.#sendings.values()].find((each) => each.id === trackId);
    if (sending?.kind === "video") this.#encode(sending.transceiver.sender, active);
  }

  /** @param {RTCRtpSender} sender @param {string[] | null} active Rids; null is all. */
  #encode(sender, active) {
    const before = this.#parameterCalls.get(sender) ?? Promise.resolve();
    const next = before.then(async () => {
      const parameters = sender.getParameters();
      // The one layer of a track without simulcast is called by the empty text.
      const wanted = parameters.encodings.map(({ rid }) => active === null || active.includes(rid ?? ""));
      if (parameters.encodings.every((encoding, index) => encoding.active === wanted[index])) return;
      parameters.encodings.forEach((encoding, index) => (encoding.active = wanted[index] ?? true));
      // The server's wish is about cost only: a browser that refuses goes on sending everything.
      await sender.setParameters(parameters).catch(() => {});
    });
    this.#parameterCalls.set(sender, next);
  }

  /** What is published on an m-line. @param {string} mid */
  sentAt(mid) {
    for (const { transceiver, id } of this.#sendings.values()) if (transceiver.mid === mid) return id;
    return null;
  }

  // ---- negotiation ----

  /** Makes an offer soon. */
  negotiate() {
    if (this.#closed || this.#debounce !== undefined) return;
    this.#debounce = setTimeout(() => {
      this.#debounce = undefined;
      void this.#offer();
    }, NEGOTIATE_AFTER);
  }

  /** The socket came back. An offer whose answer may have been lost is made again under a new number. */
  resumed() {
    if (this.#inFlight > 0 || (this.#inFlight === 0 && this.#again)) {
      this.#inFlight = 0;
      this.#again = false;
      this.negotiate();
    }
  }

  /** @param {RTCIceServer[]} iceServers Their credentials expire; ICE restarts use the newest. */
  setIceServers(iceServers) {
    if (!this.#closed) this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers });
  }

  /** New addresses of this machine: look for a path again. */
  restartIce() {
    if (this.#closed || this.#pc.connectionState === "new") return;
    this.#restartWanted = true;
    this.negotiate();
  }

  async #offer() {
    if (this.#closed) return;
    if (this.#inFlight !== 0) {
      this.#again = true;
      return;
    }
    const neg = ++this.#neg;
    this.#inFlight = neg;
    const iceRestart = this.#restartWanted;
    this.#restartWanted = false;
    try {
      if (iceRestart) this.#pc.restartIce();
      await this.#pc.setLocalDescription();
      const sdp = this.#pc.localDescription?.sdp;
      if (sdp === undefined || this.#closed || this.#inFlight !== neg) return;
      await this.#on.sendOffer({ neg, sdp, tracks: this.#publishedTracks(), ...(iceRestart && { ice_restart: true }) });
    } catch (fault) {
      if (this.#closed || this.#inFlight !== neg) return;
      if (fault instanceof WeirError && fault.code === "connection_lost") {
        this.#restartWanted ||= iceRestart;
        return; // `resumed` offers again.
      }
      await this.#refused(fault);
    }
  }

  /** @param {unknown} fault */
  async #refused(fault) {
    this.#inFlight = 0;
    if (this.#pc.signalingState === "have-local-offer") {
      await this.#pc.setLocalDescription({ type: "rollback" }).catch(() => {});
    }
    if (fault instanceof WeirError && fault.code === "stale") return this.negotiate();
    const error = fault instanceof WeirError ? fault : new WeirError("negotiation_failed", "The call could not be set up.", fault);
    for (const [cid, sending] of this.#sendings) {
      if (sending.id !== null) continue;
      this.#sendings.delete(cid);
      sending.transceiver.direction = "inactive";
      sending.reject(error);
    }
    this.#on.onError(error);
  }

  /** @param {{ neg: number, sdp: string, mids: import("../weir-protocol.js").MidBinding[] }} answer */
  async answered({ neg, sdp, mids }) {
    if (this.#closed || neg !== this.#inFlight) return;
    this.#inFlight = APPLYING;
    const voices = new Set([...this.#sendings.values()].filter((each) => each.source === "microphone").map((each) => each.transceiver.mid ?? ""));
    const heard = new Set(this.#slots.audio.filter((each) => each.currentDirection !== null));
    try {
      await this.#pc.setRemoteDescription({ type: "answer", sdp: withOpusDtx(sdp, voices) });
    } catch (fault) {
      return this.#refused(fault);
    }
    if (this.#closed) return;
    this.#inFlight = 0;
    for (const { mid, track, cid } of mids) {
      const sending = cid === null ? undefined : this.#sendings.get(cid);
      if (sending) {
        if (track === null) continue;
        sending.id = track;
        sending.resolve(track);
        const wanted = this.#wantedLayers.get(track);
        if (wanted && sending.kind === "video") this.#encode(sending.transceiver.sender, wanted);
      } else if (cid === null) {
        this.bind(mid, track);
      }
    }
    for (const slot of this.#slots.audio) {
      if (!heard.has(slot) && slot.mid !== null) this.#on.onAudioSlot(slot.receiver.track, slot.mid);
    }
    if (this.#again) {
      this.#again = false;
      this.negotiate();
    }
  }

  /** @returns {PublishedTrack[]} */
  #publishedTracks() {
    return [...this.#sendings.values()].flatMap(({ cid, kind, source, name, muted, transceiver, rungs, settings }) =>
      transceiver.mid === null
        ? []
        : [{ mid: transceiver.mid, cid, kind, source, muted, ...(name !== undefined && { name }), layers: kind === "video" ? layers(rungs, settings) : [] }],
    );
  }

  // ---- ICE ----

  #watchIce() {
    const state = this.#pc.iceConnectionState;
    if (state === "connected" || state === "completed") {
      clearTimeout(this.#iceTimer);
      this.#iceTimer = undefined;
      this.#restarts = 0;
    } else if (state === "failed") {
      clearTimeout(this.#iceTimer);
      this.#restartNow();
    } else if (state === "disconnected" && this.#iceTimer === undefined) {
      this.#iceTimer = setTimeout(() => this.#restartNow(), ICE_PATIENCE);
    }
  }

  #restartNow() {
    if (this.#closed) return;
    if (this.#restarts >= RESTARTS_MOST) return this.#on.onDead();
    this.#restarts += 1;
    this.restartIce();
    this.#iceTimer = setTimeout(() => this.#restartNow(), RESTART_AGAIN);
  }
}
