// A move to another edge, made before the old session is broken: joins there, publishes there as well, and says when what is
// shown comes from there too. Owns the second session until it is taken over; `room.js` starts it and takes it over.

/** @typedef {import("../weir-protocol.js").ServerMessage} ServerMessage */
/** @typedef {import("./signal.js").Welcome} Welcome */
/** @typedef {import("./signal.js").SignalHandlers} SignalHandlers */
/** @typedef {import("./media.js").MediaHandlers} MediaHandlers */
/** @typedef {import("./media.js").Media} Media */
/** @typedef {import("./publisher.js").Prepared} Prepared */

const LOOK_EVERY = 50;
/** Once media flow there, the last picture is not waited for longer than this, in milliseconds. */
const PICTURES_WITHIN = 3_000;
/** This long before the old edge ends the session, the new one is taken as it is. */
const MARGIN = 500;

/**
 * @typedef {object} MoveSetup
 * @property {number} within Milliseconds until the old session ends.
 * @property {(on: SignalHandlers) => import("./signal.js").Signal} openSignal
 * @property {(welcome: Welcome, signal: import("./signal.js").Signal, on: Pick<MediaHandlers, "onBound" | "onAudioSlot" | "onState" | "onData" | "onError" | "onDead">) => Media} openMedia
 * @property {(media: Media) => Prepared} publish
 * @property {() => string[]} shown Tracks with a moving picture, that must move there too.
 * @property {() => boolean} late Whether the old session is gone already.
 * @property {(move: Move) => void} onReady
 * @property {() => void} onFailed
 */

export class Move {
  #setup;
  #deadline;
  /** When media came up there. */
  #upAt = 0;
  #over = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Replaced when the session is taken over. @type {SignalHandlers} */
  signalHandlers;
  /** @type {Pick<MediaHandlers, "onBound" | "onAudioSlot" | "onState" | "onData" | "onError" | "onDead">} */
  mediaHandlers;
  /** @type {Welcome | null} */
  welcome = null;
  /** @type {Media | null} */
  media = null;
  /** @type {Prepared} */
  published = new Map();
  /** What was said there meanwhile and is not about its media. @type {ServerMessage[]} */
  heard = [];
  /** @type {{ media: MediaStreamTrack, mid: string }[]} */
  voices = [];

  /** @param {MoveSetup} setup */
  constructor(setup) {
    this.#setup = setup;
    this.#deadline = Date.now() + Math.max(0, setup.within - MARGIN);
    const fail = () => this.#fail();
    this.signalHandlers = {
      onWelcome: (welcome, fresh) => this.#welcomed(welcome, fresh),
      onResumed: () => this.media?.resumed(),
      onMessage: (message) => this.#hear(message),
      onLost: () => {},
      onRefused: () => false,
      onClosed: fail,
    };
    this.mediaHandlers = {
      onBound: () => {},
      onAudioSlot: (media, mid) => this.voices.push({ media, mid }),
      onState: () => {},
      onData: () => {},
      onError: fail,
      onDead: fail,
    };
    this.signal = setup.openSignal(this.signalHandlers);
    this.signal.open();
    this.#timer = setTimeout(() => void this.#look(), LOOK_EVERY);
  }

  /** Lets go of the second session. */
  cancel() {
    if (this.#over) return;
    this.#end();
    this.signal.close();
    this.media?.close();
  }

  /** @param {Welcome} welcome @param {boolean} fresh */
  #welcomed(welcome, fresh) {
    if (!fresh && this.media) return void this.media.resumed();
    this.media?.close();
    this.voices = [];
    this.heard = [];
    this.#upAt = 0;
    this.welcome = welcome;
    this.media = this.#setup.openMedia(welcome, this.signal, this.mediaHandlers);
    this.published = this.#setup.publish(this.media);
  }

  /** @param {ServerMessage} message */
  #hear(message) {
    if (this.media?.hear(message)) return;
    // A reaction was seen already, by way of the old session.
    if (message.t !== "react") this.heard.push(message);
  }

  async #look() {
    const ready = await this.#ready().catch(() => false);
    if (this.#over) return;
    if (ready || (this.media?.state === "connected" && Date.now() >= this.#deadline)) {
      this.#end();
      return this.#setup.onReady(this);
    }
    this.#timer = setTimeout(() => void this.#look(), LOOK_EVERY);
  }

  async #ready() {
    const { media } = this;
    if (media?.state !== "connected") return false;
    this.#upAt ||= Date.now();
    if (this.#setup.late() || Date.now() - this.#upAt > PICTURES_WITHIN) return true;
    if ([...this.published.values()].some(({ id }) => id === null)) return false;
    const wanted = new Set(this.#setup.shown());
    (await media.connection.getStats()).forEach((each) => {
      if (each.type === "inbound-rtp" && each.framesDecoded > 0) wanted.delete(media.trackAt(each.mid) ?? "");
    });
    return wanted.size === 0;
  }

  #fail() {
    if (this.#over) return;
    this.cancel();
    this.#setup.onFailed();
  }

  #end() {
    this.#over = true;
    clearTimeout(this.#timer);
  }
}
