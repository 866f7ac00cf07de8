// How a call comes to go through the room's server: it moves there from the connection between two browsers, each voice and picture
// taken over once it flows, and goes back where the other one does not come along; or it begins there. Owns what the call has in the
// room and how far the move is; `call.js` says when, and what follows.

import { WeirError } from "./errors.js";
import { InRoom } from "./inroom.js";

/** While a call moves, how often it is looked whether the room's pictures are there. */
const SWAP_EVERY = 50;
/** A voice that is silent sends next to nothing: it is not waited for any longer once the picture is there. */
const VOICE_WITHIN = 1_500;
/** A move that does not come about is given up, or taken as it is where there is no way back. */
const SWAP_WITHIN = 15_000;
/** Whoever is made anew at another edge is not in the call for a moment. */
const ALONE_FOR = 6_000;
/** A file that is on its way keeps the direct connection: how often it is looked whether it still is. */
const FILE_LOOK = 500;
/** What was said last over the direct connection should arrive. */
const LAST_WORDS = 300;

/**
 * @typedef {object} MoveSetup
 * @property {import("./calls.js").Host} host
 * @property {() => string} call Its name, as of now.
 * @property {string} identity Of the other one.
 * @property {() => import("./calldirect.js").Direct | null} direct
 * @property {import("./callsends.js").CallSends} sends
 * @property {import("./callviews.js").CallViews} views
 * @property {() => boolean} over
 * @property {() => void} ask Asks the other one to come along.
 * @property {() => void} onThrough The call goes through the room now.
 * @property {() => void} onLetGo The direct connection is not needed any more.
 * @property {() => void} onFailed There is no way at all.
 * @property {() => void} onAlone Nobody else is in it any more.
 * @property {() => boolean} awaits Somebody has accepted, and is not there yet.
 * @property {() => void} changed
 * @property {(fault: unknown) => void} onFault
 * @property {(ms: number, step: () => void) => void} later
 */

export class CallMove {
  #setup;
  /** @type {InRoom | null} */
  #inRoom = null;
  /** @type {Promise<void> | null} */
  #moving = null;
  /** What comes from the room now, not from the other browser. */
  #swapped = { audio: false, video: false };
  #theySwapped = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #aloneTimer;
  /** The media go through the room, and not from browser to browser. */
  through = false;
  /** The other one did not come along once: by itself the call does not move again. */
  failed = false;

  /** @param {MoveSetup} setup */
  constructor(setup) {
    this.#setup = setup;
  }

  /** It has begun, and was not given up. */
  get begun() {
    return this.#moving !== null;
  }

  /** The other one's picture comes from the room. */
  get seesRoom() {
    return this.#swapped.video;
  }

  /** Who else is in the call through the room. */
  get members() {
    return this.#inRoom?.members ?? [];
  }

  /** Whose session that is, if they are in the call through the room. @param {string} pid */
  who(pid) {
    const identity = this.#setup.host.room.members.get(pid)?.identity;
    return this.members.find((member) => member.identity === identity)?.identity ?? null;
  }

  /** @param {string} identity @param {"camera" | "microphone"} source */
  track(identity, source) {
    return this.#inRoom?.track(identity, source) ?? null;
  }

  /** Moves; resolves once the media come from there. @param {boolean} asked By the other one. */
  begin(asked) {
    this.#moving ??= this.#move(asked);
    return this.#moving;
  }

  /** Into a call that goes through the room already. */
  async start() {
    this.#moving = Promise.resolve();
    await this.#publish(this.#enter());
    if (this.#setup.over()) return;
    this.#swapped = { audio: true, video: true };
    this.#isThrough();
  }

  /** What this end sends from now on. @param {"audio" | "video"} kind @param {MediaStreamTrack} track */
  async add(kind, track) {
    const { sends, onFault } = this.#setup;
    await this.#inRoom?.add(kind, track, kind === "audio" && !sends.microphone).catch(onFault);
  }

  /** The session was made anew. */
  renewed() {
    this.#inRoom?.renewed();
  }

  /** The other one sees this one through the room. */
  theySwapped() {
    this.#theySwapped = true;
    this.#letGoSoon();
  }

  /** Who is there changed, or there is no direct connection any more. */
  look() {
    if (!this.#inRoom) return;
    if (this.members.length > 0 || this.#setup.direct() || this.#setup.awaits()) {
      clearTimeout(this.#aloneTimer);
      this.#aloneTimer = undefined;
    } else if (this.through) {
      this.#aloneTimer ??= setTimeout(this.#setup.onAlone, ALONE_FOR);
    }
    this.#setup.views.place();
    this.#setup.changed();
  }

  close() {
    clearTimeout(this.#aloneTimer);
    this.#inRoom?.leave();
  }

  /** @param {boolean} asked */
  async #move(asked) {
    const inRoom = this.#enter();
    // The attribute says it too, should this be lost.
    if (!asked) this.#setup.ask();
    await this.#publish(inRoom);
    await this.#swap(inRoom);
  }

  #enter() {
    return (this.#inRoom = new InRoom(this.#setup.host, this.#setup.call(), () => this.look()));
  }

  /** @param {InRoom} inRoom */
  async #publish(inRoom) {
    const { sends, onFault } = this.#setup;
    await inRoom.join(sends.tracks, !sends.microphone).catch(onFault);
  }

  /** Takes what the room's server sends once it flows, a voice and a picture each at its time. @param {InRoom} inRoom */
  async #swap(inRoom) {
    const { direct, identity, over, views, awaits } = this.#setup;
    const start = Date.now();
    const connected = direct()?.connected === true;
    let pictureAt = 0;
    /** @type {(() => void)[]} */
    const early = [];
    while (!over() && !(this.#swapped.audio && this.#swapped.video)) {
      await new Promise((resolve) => setTimeout(resolve, SWAP_EVERY));
      const flows = await inRoom.flows(identity);
      const there = inRoom.members.some((member) => member.identity === identity);
      const late = Date.now() - start > SWAP_WITHIN;
      const theirs = direct();
      // Whoever was waited for is gone, and others are there.
      const others = !theirs && inRoom.members.length > 0;
      if (!there && ((late && !awaits()) || others)) break;
      if (early.length === 0) early.push(...this.#reserve(inRoom));
      // Without a direct connection there is nothing to lose, and nothing said of what the other one sends.
      if ((!connected || !theirs) && there) this.#swapped = { audio: true, video: true };
      if (!this.#swapped.video && (flows.video || (there && !theirs?.hasVideo) || late)) {
        this.#swapped.video = true;
        pictureAt = Date.now();
        views.place();
      }
      const silent = pictureAt > 0 && Date.now() - pictureAt > VOICE_WITHIN;
      if (!this.#swapped.audio && (flows.audio || (there && !theirs?.hasAudio) || silent || late)) {
        this.#swapped.audio = true;
        theirs?.hush(true);
      }
    }
    for (const undo of early) undo();
    if (over()) return;
    // Somebody else may have come: the call goes on with them, and the one who stayed behind is seen as before.
    if (this.#swapped.video || inRoom.members.length > 0) this.#isThrough();
    else this.#goBack(inRoom);
  }

  #isThrough() {
    const { direct, views, onThrough, onLetGo, changed } = this.#setup;
    this.through = true;
    onThrough();
    views.place();
    if (this.#swapped.video ? !direct()?.say({ t: "swapped" }) : !direct()?.connected) onLetGo();
    this.#letGoSoon();
    this.look();
    changed();
  }

  /** Where the other one's picture will be shown is told beforehand, so that the right size comes at once. @param {InRoom} inRoom */
  #reserve(inRoom) {
    const { host, identity, views } = this.#setup;
    const track = inRoom.track(identity, "camera");
    return track ? views.of(identity).map((element) => host.watch(element, track.id)) : [];
  }

  /** The other one did not come along. @param {InRoom} inRoom */
  #goBack(inRoom) {
    const { direct, views, onFailed, onFault } = this.#setup;
    this.failed = true;
    if (!direct()?.connected) return onFailed();
    inRoom.leave({ keep: true });
    this.#inRoom = null;
    this.#moving = null;
    this.#swapped = { audio: false, video: false };
    this.#theySwapped = false;
    direct()?.hush(false);
    views.place();
    onFault(new WeirError("negotiation_failed", "The call could not be moved to the server; it goes on as before."));
  }

  /** Once both see each other through the room, and no file is on its way, nothing needs the direct connection any more. */
  #letGoSoon() {
    const { direct, later, onLetGo } = this.#setup;
    const theirs = direct();
    if (!this.#theySwapped || !this.through || !theirs) return;
    if (theirs.busy) return later(FILE_LOOK, () => this.#letGoSoon());
    for (const kind of /** @type {const} */ (["audio", "video"])) void theirs.send(kind, null);
    later(LAST_WORDS, onLetGo);
  }
}
