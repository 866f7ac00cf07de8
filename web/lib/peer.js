// The connection from browser to browser of one call: perfect negotiation, candidates as they come, ICE restarts. Owns the
// RTCPeerConnection, one m-line of each kind, and two data channels; knows nothing of ringing. `call.js` is its only caller.
//
// When both ends offer at once, the impolite one ignores the other's offer and the polite one gives its own up. A rollback would do,
// but pictures that flow stay dark after one in Chromium 156. So the polite end applies its offer only once it is answered: then
// there is nothing to take back.

/** @typedef {import("../weir-protocol.js").Description} Description */
/** @typedef {import("../weir-protocol.js").Candidate} Candidate */

/**
 * @typedef {object} PeerHandlers
 * @property {(signal: { desc: Description } | { cand: Candidate }) => void} send To the other end.
 * @property {(track: MediaStreamTrack) => void} onTrack
 * @property {(state: RTCPeerConnectionState) => void} onState
 * @property {() => void} onDead Several ICE restarts did not help.
 */

/** A path that is lost often mends itself within this, in milliseconds. */
const PATIENCE = 3_000;
/** How long a connection may take before its path is looked for again. */
const RESTART_AGAIN = 8_000;
const RESTARTS_MOST = 4;
/** Candidates that came before the description they belong to; what two members say may overtake each other on its way. */
const EARLY_MOST = 64;

export class Peer {
  #pc;
  #polite;
  #on;
  #makingOffer = false;
  #ignoresOffer = false;
  /** What the polite end offered and has not applied. @type {RTCSessionDescriptionInit | null} */
  #proposed = null;
  /** @type {Candidate[]} */
  #early = [];
  #restarts = 0;
  #closed = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {{ audio: MediaStreamTrack | null, video: MediaStreamTrack | null }} */
  #sends = { audio: null, video: null };

  /**
   * @param {object} setup
   * @param {RTCIceServer[]} setup.iceServers
   * @param {boolean} setup.relayOnly
   * @param {boolean} setup.polite The one who gives way when both offer at once; the other one makes the first offer.
   * @param {PeerHandlers} setup.on
   */
  constructor({ iceServers, relayOnly, polite, on }) {
    this.#polite = polite;
    this.#on = on;
    const pc = new RTCPeerConnection({ iceServers, iceTransportPolicy: relayOnly ? "relay" : "all", bundlePolicy: "max-bundle" });
    this.#pc = pc;
    // Agreed upon by number: each is open when both ends are, whoever connects.
    this.words = pc.createDataChannel("words", { negotiated: true, id: 0 });
    this.files = pc.createDataChannel("files", { negotiated: true, id: 1 });
    this.files.binaryType = "arraybuffer";
    pc.ontrack = ({ track }) => on.onTrack(track);
    pc.onicecandidate = ({ candidate }) => candidate?.candidate && on.send({ cand: /** @type {Candidate} */ (candidate.toJSON()) });
    pc.onnegotiationneeded = () => void (polite ? this.#propose(false) : this.#offer());
    pc.onconnectionstatechange = () => on.onState(pc.connectionState);
    pc.oniceconnectionstatechange = () => this.#watch();
    if (!polite) for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "sendrecv" });
    this.#timer = setTimeout(() => this.#restart(), RESTART_AGAIN);
  }

  get connection() {
    return this.#pc;
  }

  get connected() {
    return this.#pc.connectionState === "connected";
  }

  /** Sends this track from now on, or nothing of its kind; without negotiation. @param {"audio" | "video"} kind @param {MediaStreamTrack | null} track */
  async send(kind, track) {
    this.#sends[kind] = track;
    if (!this.#closed) await this.#lineOf(kind)?.sender.replaceTrack(track);
  }

  /** @param {"audio" | "video"} kind */
  #lineOf(kind) {
    return this.#pc.getTransceivers().find(({ receiver }) => receiver.track.kind === kind);
  }

  /** What the other end says. @param {{ desc: Description | null, cand: Candidate | null }} signal */
  async hear({ desc, cand }) {
    if (this.#closed) return;
    try {
      if (desc) await this.#described(desc);
      else if (cand) await this.#candidate(cand);
    } catch {
      // An answer to an offer that was taken back, or a description that is none: the path is looked for again if none comes about.
    }
  }

  /** @param {Description} desc */
  async #described(desc) {
    const pc = this.#pc;
    const busy = this.#makingOffer || pc.signalingState === "have-local-offer";
    this.#ignoresOffer = desc.type === "offer" && busy;
    if (this.#ignoresOffer) return;
    const proposed = this.#proposed;
    this.#proposed = null;
    if (desc.type === "answer" && proposed) await pc.setLocalDescription(proposed);
    await pc.setRemoteDescription(desc);
    const early = this.#early.splice(0);
    for (const cand of early) await this.#candidate(cand);
    if (desc.type !== "offer" || this.#closed) return;
    for (const kind of /** @type {const} */ (["audio", "video"])) {
      const line = this.#lineOf(kind);
      if (!line) continue;
      line.direction = "sendrecv";
      if (line.sender.track !== this.#sends[kind]) await line.sender.replaceTrack(this.#sends[kind]);
    }
    await pc.setLocalDescription();
    this.#describe();
  }

  /** @param {Candidate} cand */
  async #candidate(cand) {
    try {
      if (!this.#pc.remoteDescription) throw new Error("no description yet");
      await this.#pc.addIceCandidate(cand);
    } catch {
      if (!this.#ignoresOffer && this.#early.length < EARLY_MOST) this.#early.push(cand);
    }
  }

  async #offer() {
    if (this.#closed) return;
    try {
      this.#makingOffer = true;
      await this.#pc.setLocalDescription();
      this.#describe();
    } catch {
      // The other end's offer came in between.
    } finally {
      this.#makingOffer = false;
    }
  }

  /** As the polite end. The first offer is the other one's. @param {boolean} iceRestart */
  async #propose(iceRestart) {
    if (this.#closed || !this.#pc.remoteDescription || this.#pc.signalingState !== "stable") return;
    const offer = await this.#pc.createOffer({ iceRestart });
    if (this.#closed || this.#pc.signalingState !== "stable") return;
    this.#proposed = offer;
    this.#on.send({ desc: { type: "offer", sdp: offer.sdp ?? "" } });
  }

  #describe() {
    const desc = this.#pc.localDescription;
    if (desc && !this.#closed) this.#on.send({ desc: { type: /** @type {"offer" | "answer"} */ (desc.type), sdp: desc.sdp } });
  }

  /** @param {RTCIceServer[]} iceServers Their credentials expire; ICE restarts use the newest. */
  setIceServers(iceServers) {
    if (!this.#closed) this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers });
  }

  /** Looks for a path again. */
  restartIce() {
    if (this.#closed) return;
    if (this.#polite) return void this.#propose(true).catch(() => {});
    // An offer that got no answer may have been lost.
    if (this.#pc.signalingState === "have-local-offer") this.#describe();
    else this.#pc.restartIce();
  }

  #watch() {
    const state = this.#pc.iceConnectionState;
    if (state === "connected" || state === "completed") {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#restarts = 0;
    } else if (state === "failed") {
      clearTimeout(this.#timer);
      this.#restart();
    } else if (state === "disconnected" && this.#timer === undefined) {
      this.#timer = setTimeout(() => this.#restart(), PATIENCE);
    }
  }

  #restart() {
    if (this.#closed) return;
    if (this.#restarts >= RESTARTS_MOST) return this.#on.onDead();
    this.#restarts += 1;
    this.restartIce();
    this.#timer = setTimeout(() => this.#restart(), RESTART_AGAIN);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    const pc = this.#pc;
    pc.ontrack = pc.onicecandidate = pc.onnegotiationneeded = pc.onconnectionstatechange = pc.oniceconnectionstatechange = null;
    this.words.onclose = this.files.onclose = null;
    pc.close();
  }
}
