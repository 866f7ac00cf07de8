// What a call has from browser to browser: the connection, words and files over it, what the other one sends by it, and which way it
// goes. Owns all of that until it is let go of; what it means for the call is `call.js`'s.

import { Words } from "./callwords.js";
import { Files } from "./files.js";
import { Peer } from "./peer.js";
import { Speaker } from "./speaker.js";
import { betterThroughRoom, wayOf } from "./way.js";

/** How often the way is looked at, in milliseconds. */
const LOOK_EVERY = 2_000;
/** Looks in a row that must find the room better: one late packet moves nobody, nor a relay that ICE takes until it has tried the rest. */
const SURE = 3;

/**
 * @typedef {object} DirectHandlers
 * @property {import("./peer.js").PeerHandlers["send"]} send
 * @property {(state: RTCPeerConnectionState) => void} onState
 * @property {() => void} onPicture There is a picture to show, or another one.
 * @property {() => void} onOpen Words can be said.
 * @property {() => void} onDead No path could be found again.
 * @property {() => void} onClosed The other browser has closed it.
 * @property {() => void} onBetter The room's server is the better way, for sure.
 * @property {(text: string) => void} onChat
 * @property {(transfer: import("./files.js").FileTransfer) => void} onFile
 * @property {() => void} onSwapped The other one sees this one through the room.
 * @property {() => void} onBlocked The browser plays no sound yet.
 * @property {() => void} changed
 */

export class Direct {
  #host;
  #pid;
  #on;
  #peer;
  #files;
  #words;
  #speaker;
  /** @type {MediaStreamTrack | null} */
  #voice = null;
  #hushed = false;
  /** The other one's round trip to its edge. @type {number | null} */
  #theirEdgeRtt = null;
  #worse = 0;
  #closed = false;
  #lookTimer;
  /** What comes, and whether there is anything in it. @type {MediaStreamTrack | null} */
  picture = null;
  hasAudio = false;
  hasVideo = false;
  /** @type {"direct" | "relayed" | null} */
  via = null;
  /** @type {number | null} */
  rtt = null;

  /**
   * @param {object} setup
   * @param {import("./calls.js").Host} setup.host
   * @param {() => string} setup.pid Of the other one, as of now.
   * @param {boolean} setup.polite
   * @param {{ audio: MediaStreamTrack | null, video: MediaStreamTrack | null }} setup.tracks What this end sends first.
   * @param {DirectHandlers} setup.on
   */
  constructor({ host, pid, polite, tracks, on }) {
    this.#host = host;
    this.#pid = pid;
    this.#on = on;
    this.#speaker = new Speaker(on.onBlocked);
    const peer = new Peer({
      iceServers: host.iceServers,
      relayOnly: host.relayOnly,
      polite,
      on: {
        send: on.send,
        onTrack: (track) => this.#arrived(track),
        onState: (state) => {
          if (state === "connected") void this.#look();
          on.onState(state);
        },
        onDead: on.onDead,
      },
    });
    this.#peer = peer;
    this.#files = new Files(peer.files, { offered: on.onFile, changed: on.changed });
    this.#words = new Words(peer.words, {
      onChat: on.onChat,
      onSends: (audio, video) => {
        this.hasAudio = audio;
        this.hasVideo = video;
        on.changed();
      },
      onEdge: (rtt) => (this.#theirEdgeRtt = rtt),
      onSwapped: on.onSwapped,
    });
    peer.words.onopen = on.onOpen;
    peer.words.onclose = () => !this.#closed && on.onClosed();
    for (const kind of /** @type {const} */ (["audio", "video"])) void this.send(kind, tracks[kind]);
    this.#lookTimer = setInterval(() => void this.#look(), LOOK_EVERY);
  }

  get connected() {
    return this.#peer.connected;
  }

  /** A file is on its way. */
  get busy() {
    return this.#files.busy;
  }

  get canSendFiles() {
    return this.#peer.files.readyState === "open";
  }

  /** @param {"audio" | "video"} kind @param {MediaStreamTrack | null} track */
  send(kind, track) {
    return this.#peer.send(kind, track);
  }

  /** @param {Parameters<Words["say"]>[0]} words @returns {boolean} whether it could be said */
  say(words) {
    return this.#words.say(words);
  }

  /** @param {File} file */
  sendFile(file) {
    return this.#files.send(file);
  }

  /** @param {Parameters<Peer["hear"]>[0]} signal */
  hear(signal) {
    this.#peer.hear(signal);
  }

  /** A session was made anew, here or there. What was said meanwhile may be lost. */
  renewed() {
    if (this.connected) this.#peer.repeat();
    else this.#peer.restartIce();
  }

  restartIce() {
    this.#peer.restartIce();
  }

  /** Its voice is not played, or again: it comes by another way. @param {boolean} on */
  hush(on) {
    this.#hushed = on;
    this.#speaker.clear();
    if (!on && this.#voice) this.#speaker.add(this.#voice, "peer");
  }

  startAudio() {
    return this.#speaker.start();
  }

  stats() {
    return this.#peer.connection.getStats();
  }

  /** @param {MediaStreamTrack} track */
  #arrived(track) {
    if (track.kind === "audio") {
      this.#voice = track;
      if (!this.#hushed) this.#speaker.add(track, "peer");
    } else {
      this.picture = track;
      this.#on.onPicture();
    }
  }

  async #look() {
    if (!this.connected) return;
    const way = wayOf((await this.stats()).values());
    if (!way || this.#closed) return;
    this.rtt = way.rttMs;
    this.via = way.relayed ? "relayed" : "direct";
    const { room } = this.#host;
    this.say({ t: "edge", rtt: room.rtt });
    const sameEdge = room.members.get(this.#pid())?.node === room.edge?.id;
    this.#worse = betterThroughRoom({ way, own: room.rtt, theirs: this.#theirEdgeRtt, sameEdge }) ? this.#worse + 1 : 0;
    if (this.#worse >= SURE) this.#on.onBetter();
    this.#on.changed();
  }

  close() {
    this.#closed = true;
    clearInterval(this.#lookTimer);
    this.#files.close();
    this.#peer.close();
    this.#speaker.clear();
  }
}
