// The connection from browser to browser of one call: perfect negotiation, candidates as they come, ICE restarts. Owns the
// RTCPeerConnection, one m-line of each kind, and two data channels; knows nothing of ringing. `calldirect.js` is its only caller.
//
// When both ends offer at once, the impolite one ignores the other's offer and the polite one gives its own up. A rollback would do,
// but pictures that flow stay dark after one in Chromium 156. So the polite end applies its offer only once it is answered: then
// there is nothing to take back.
//
// What one end says may be lost, come twice, or overtake something else. So one thing is done after the other, what got no answer is
// said again as it was, and what is older than something heard already is left: each description of an end has a higher version in its
// `o=` line than the one before (RFC 9429, section 5.2.2).

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
  #iceServers;
  #on;
  /** The step of now. @type {Promise<void>} */
  #turn = Promise.resolve();
  #ignoresOffer = false;
  /** Version of the newest description of the other end's that was applied. */
  #heard = -1;
  /** What was answered to it. @type {RTCSessionDescription | null} */
  #answer = null;
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
   * @param {() => RTCIceServer[]} setup.iceServers Their credentials expire: each look for a path takes the newest.
   * @param {boolean} setup.relayOnly
   * @param {boolean} setup.polite The one who gives way when both offer at once; the other one makes the first offer.
   * @param {PeerHandlers} setup.on
   */
  constructor({ iceServers, relayOnly, polite, on }) {
    this.#polite = polite;
    this.#iceServers = iceServers;
    this.#on = on;
    const pc = new RTCPeerConnection({ iceServers: iceServers(), iceTransportPolicy: relayOnly ? "relay" : "all", bundlePolicy: "max-bundle" });
    this.#pc = pc;
    // Agreed upon by number: each is open when both ends are, whoever connects.
    this.words = pc.createDataChannel("words", { negotiated: true, id: 0 });
    this.files = pc.createDataChannel("files", { negotiated: true, id: 1 });
    this.files.binaryType = "arraybuffer";
    pc.ontrack = ({ track }) => on.onTrack(track);
    pc.onicecandidate = ({ candidate }) => candidate?.candidate && on.send({ cand: /** @type {Candidate} */ (candidate.toJSON()) });
    pc.onnegotiationneeded = () => this.#inTurn(() => (polite ? this.#propose(false) : this.#offer()));
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

  /** @param {() => Promise<void> | void} step */
  #inTurn(step) {
    // One that fails was a description that is none, or that nobody asked for: the path is looked for again if none comes about.
    this.#turn = this.#turn.then(() => (this.#closed ? undefined : step())).catch(() => {});
  }

  /** What the other end says. @param {{ desc: Description | null, cand: Candidate | null }} signal */
  hear({ desc, cand }) {
    this.#inTurn(() => (desc ? this.#described(desc) : cand ? this.#candidate(cand) : undefined));
  }

  /** @param {Description} desc */
  async #described(desc) {
    const pc = this.#pc;
    const offered = pc.signalingState === "have-local-offer";
    const proposed = this.#proposed;
    if (desc.type === "answer" ? !(offered || proposed) || this.#answersAnother(desc.sdp) : version(desc.sdp) < this.#heard) return;
    // An offer that comes again may have got an answer that is lost. It is over otherwise, and what was offered since holds.
    if (desc.type === "offer" && version(desc.sdp) === this.#heard) return this.#answer ? this.#say(this.#answer) : undefined;
    this.#ignoresOffer = desc.type === "offer" && offered;
    if (this.#ignoresOffer) return;
    this.#proposed = null;
    if (desc.type === "answer" && proposed) await pc.setLocalDescription(proposed);
    try {
      await pc.setRemoteDescription(desc);
    } catch (fault) {
      if (proposed && pc.signalingState === "have-local-offer") await pc.setLocalDescription({ type: "rollback" });
      throw fault;
    }
    this.#heard = version(desc.sdp);
    this.#answer = null;
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
    this.#answer = pc.localDescription;
    this.#describe();
  }

  /** Whether an answer is for an offer of before: it is no newer than what was heard, or its path is the old one though a new one was asked for. @param {string} sdp */
  #answersAnother(sdp) {
    if (version(sdp) <= this.#heard) return true;
    const { currentLocalDescription, pendingLocalDescription, currentRemoteDescription } = this.#pc;
    if (!currentLocalDescription || !currentRemoteDescription) return false;
    const offer = this.#proposed ?? pendingLocalDescription;
    return path(offer?.sdp) !== path(currentLocalDescription.sdp) && path(sdp) === path(currentRemoteDescription.sdp);
  }

  /** @param {Candidate} cand */
  async #candidate(cand) {
    try {
      if (!this.#pc.remoteDescription) throw new Error("no description yet");
      await this.#pc.addIceCandidate(cand);
    } catch {
      if (this.#ignoresOffer) return;
      // The oldest may be of a path that nobody looks for any more.
      if (this.#early.length >= EARLY_MOST) this.#early.shift();
      this.#early.push(cand);
    }
  }

  async #offer() {
    if (this.#pc.signalingState !== "stable") return;
    await this.#pc.setLocalDescription();
    this.#describe();
  }

  /** As the polite end. The first offer is the other one's. @param {boolean} iceRestart */
  async #propose(iceRestart) {
    if (!this.#pc.remoteDescription || this.#pc.signalingState !== "stable") return;
    // One at a time: an answer does not say which offer it is for.
    this.#proposed ??= await this.#pc.createOffer({ iceRestart });
    this.#say(this.#proposed);
  }

  #describe() {
    if (this.#pc.localDescription) this.#say(this.#pc.localDescription);
  }

  /** @param {RTCSessionDescriptionInit} desc */
  #say({ type, sdp = "" }) {
    if (!this.#closed) this.#on.send({ desc: { type: /** @type {"offer" | "answer"} */ (type), sdp } });
  }

  /** What got no answer is said again: it may be lost with a session, of either end. */
  repeat() {
    this.#inTurn(() => {
      if (this.#proposed) this.#say(this.#proposed);
      else if (this.#pc.signalingState === "have-local-offer") this.#describe();
    });
  }

  /** Looks for a path again. */
  restartIce() {
    if (this.#closed) return;
    this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers: this.#iceServers() });
    this.#inTurn(() => {
      if (this.#polite) return this.#propose(true);
      // An offer that got no answer may have been lost.
      if (this.#pc.signalingState === "have-local-offer") this.#describe();
      else this.#pc.restartIce();
    });
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

/** Of a description; they count up. @param {string} sdp */
function version(sdp) {
  return Number(/^o=\S+ \S+ (\d+)/m.exec(sdp)?.[1] ?? 0);
}

/** By what a path is asked for: each look for one has a name of its own. @param {string} [sdp] */
function path(sdp = "") {
  return /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1];
}
