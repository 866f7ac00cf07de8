// What is written and sent in a call: the lines of its chat and its files, whichever way they go. Owns both lists; words from browser
// to browser are `callwords.js`'s, how a file moves `files.js`'s.

import { TEXT_MOST } from "./callwords.js";
import { WeirError } from "./errors.js";

/** @import * as api from "../weir.js" */
/** @typedef {import("./files.js").FileTransfer} FileTransfer */

const LINES_MOST = 1_000;
const FILES_MOST = 200;

/**
 * @typedef {object} TalkSetup
 * @property {import("./room.js").Room} room
 * @property {{ identity: string }} other The one who was called, or who called.
 * @property {() => import("./calldirect.js").Direct | null} direct
 * @property {() => import("./callmove.js").CallMove} move
 * @property {import("./news.js").News<import("../weir.js").CallEvents>} news
 */

export class CallTalk {
  #setup;
  /** @type {api.CallLine[]} */
  lines = [];
  /** @type {FileTransfer[]} */
  files = [];

  /** @param {TalkSetup} setup */
  constructor(setup) {
    this.#setup = setup;
  }

  /** @param {string} text */
  async say(text) {
    const { room, other, direct, move } = this.#setup;
    if (new TextEncoder().encode(text).length > TEXT_MOST) throw new WeirError("too_large", `A message may have ${TEXT_MOST} bytes at most.`);
    // Whoever has not come along is reached directly, and the others through the room.
    const { members, through } = move();
    const came = members.some(({ identity }) => identity === other.identity);
    const said = !(through && came) && direct()?.say({ t: "chat", text }) === true;
    const rest = members.filter(({ identity }) => !said || identity !== other.identity);
    if (!said && rest.length === 0) throw new WeirError("bad_state", "Nobody is connected to the call at the moment.");
    await Promise.all(rest.map(({ pid }) => room.sendChat(text, pid)));
    this.#line({ own: true, name: room.local.name, text });
  }

  /** From browser to browser. @param {string} name @param {string} text */
  said(name, text) {
    this.#line({ own: false, name, text });
  }

  /** @param {import("../weir-protocol.js").Chat} message Of the room's. */
  saidInRoom({ from, to, name, text }) {
    const { room, move } = this.#setup;
    if (to === room.local.pid && from !== to && move().who(from) !== null) this.said(name, text);
  }

  get canSendFiles() {
    return this.#setup.direct()?.canSendFiles === true && !this.#setup.move().begun;
  }

  /** @param {File} file */
  send(file) {
    const direct = this.#setup.direct();
    if (!direct || !this.canSendFiles) throw new WeirError("bad_state", "Files go from browser to browser: not while the call goes through the server.");
    const transfer = direct.sendFile(file);
    this.#file(transfer);
    this.#setup.news.changed();
    return transfer;
  }

  /** @param {FileTransfer} transfer */
  offered(transfer) {
    this.#file(transfer);
    this.#setup.news.tell("file", { transfer });
  }

  /** @param {FileTransfer} transfer */
  #file(transfer) {
    const files = [...this.files, transfer];
    // Those that wait or move are few; of those that are over the oldest goes.
    if (files.length > FILES_MOST) files.splice(files.findIndex(({ over }) => over), 1);
    this.files = files;
  }

  /** @param {{ own: boolean, name: string, text: string }} said */
  #line(said) {
    const line = { ...said, at: Date.now() };
    this.lines = [...this.lines.slice(1 - LINES_MOST), line];
    this.#setup.news.tell("chat", { line });
  }
}
