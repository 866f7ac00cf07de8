// Files over a data channel: each is offered by name and size, goes once it is accepted, in chunks that leave as the channel
// empties, and either end may stop it. Owns the transfers of one call; `call.js` gives it the channel.
//
// Words are JSON: `offer{id,name,size,type}`, `accept{id}`, `stop{id}`, `done{id}`. A binary message is a chunk: the id as four
// bytes, then what it carries. Ids are the offerer's own.

import { WeirError } from "./errors.js";

/** @import * as api from "../weir.js" */

/** Every browser takes messages of this size. */
const CHUNK = 16 * 1024;
/** A file waits once `HIGH` bytes are in the channel, until `LOW` are left: raising them costs memory, and makes a stop slower. */
const LOW = 256 * 1024;
const HIGH = 1024 * 1024;
/** Offers of one end that nobody answered. */
const OFFERS_MOST = 16;
const NAME_MOST = 200;
/** What is received is held by the browser, in memory or where it sees fit. */
export const FILE_MOST = 512 * 1024 * 1024;
/** What came is handed to the browser in pieces of this size: chunks may be as small as their sender likes. */
const PIECE = 1024 * 1024;

/** @implements {api.FileTransfer} */
export class FileTransfer extends EventTarget {
  #do;
  /** @type {api.FileState} */
  state = "offered";
  /** Bytes that are across. */
  bytes = 0;
  /** What was received, once it is whole. @type {Blob | null} */
  blob = null;
  /** What came, but for the bytes that do not fill a piece yet. @type {Blob[]} */
  #pieces = [];
  /** @type {Uint8Array<ArrayBuffer> | null} */
  #piece = null;
  #filled = 0;

  /**
   * @param {{ id: number, name: string, size: number, type: string, outgoing: boolean }} what
   * @param {{ accept: () => void, stop: () => void }} steps
   */
  constructor({ id, name, size, type, outgoing }, steps) {
    super();
    Object.assign(this, { id, name, size, type, outgoing });
    this.#do = steps;
  }

  id = 0;
  name = "";
  size = 0;
  type = "";
  outgoing = false;

  /** Resolves with the state it ends in. @returns {Promise<api.FileState>} */
  get finished() {
    return new Promise((resolve) => {
      const look = () => this.over && resolve(this.state);
      this.addEventListener("change", look);
      look();
    });
  }

  get over() {
    return this.state === "done" || this.state === "stopped";
  }

  accept() {
    if (this.state === "offered" && !this.outgoing) this.#do.accept();
  }

  stop() {
    if (!this.over) this.#do.stop();
  }

  /** @param {api.FileState} state */
  enter(state) {
    if (this.over) return;
    this.state = state;
    if (this.over) {
      this.#pieces = [];
      this.#piece = null;
    }
    this.dispatchEvent(new Event("change"));
  }

  /** Some of it came, no more than is missing. @param {Uint8Array<ArrayBuffer>} part */
  take(part) {
    for (let at = 0; at < part.byteLength; ) {
      const piece = (this.#piece ??= new Uint8Array(Math.min(PIECE, this.size - this.bytes - at)));
      const some = part.subarray(at, at + piece.byteLength - this.#filled);
      piece.set(some, this.#filled);
      this.#filled += some.byteLength;
      at += some.byteLength;
      if (this.#filled < piece.byteLength) continue;
      this.#pieces.push(new Blob([piece]));
      this.#piece = null;
      this.#filled = 0;
    }
    this.moved(part.byteLength);
  }

  /** All of it came. */
  whole() {
    // Its kind is what another browser says: what is saved is bytes.
    this.blob = new Blob(this.#pieces, { type: "application/octet-stream" });
    this.enter("done");
  }

  /** @param {number} bytes */
  moved(bytes) {
    this.bytes += bytes;
    this.dispatchEvent(new Event("change"));
  }
}

export class Files {
  #channel;
  #on;
  #next = 1;
  /** @type {Map<number, { transfer: FileTransfer, file: Blob }>} */
  #sending = new Map();
  /** @type {Map<number, FileTransfer>} */
  #receiving = new Map();

  /**
   * @param {RTCDataChannel} channel
   * @param {{ offered: (transfer: FileTransfer) => void, changed: () => void }} on
   */
  constructor(channel, on) {
    this.#channel = channel;
    this.#on = on;
    channel.bufferedAmountLowThreshold = LOW;
    channel.onmessage = ({ data }) => (typeof data === "string" ? this.#hear(data) : this.#chunk(data));
  }

  /** Whether a file is on its way. */
  get busy() {
    return [...this.#sending.values(), ...[...this.#receiving.values()].map((transfer) => ({ transfer }))].some(({ transfer }) => transfer.state === "moving");
  }

  /** @param {Blob & { name?: string }} file @param {string} [name] */
  send(file, name = file.name ?? "file") {
    if (this.#channel.readyState !== "open") throw new WeirError("bad_state", "There is no direct connection to send a file over.");
    if (file.size > FILE_MOST) throw new WeirError("too_large", `A file may have ${FILE_MOST / 1024 / 1024} MiB at most.`);
    if (this.#sending.size >= OFFERS_MOST) throw new WeirError("too_many", "Too many files are waiting already.");
    const id = this.#next++;
    const what = { id, name: name.slice(0, NAME_MOST), size: file.size, type: file.type, outgoing: true };
    const transfer = this.#watched(new FileTransfer(what, { accept: () => {}, stop: () => this.#stop(transfer) }));
    this.#sending.set(id, { transfer, file });
    this.#say({ t: "offer", id, name: what.name, size: what.size, type: what.type });
    return transfer;
  }

  /** The connection is gone. */
  close() {
    for (const transfer of [...[...this.#sending.values()].map(({ transfer }) => transfer), ...this.#receiving.values()]) transfer.enter("stopped");
    this.#sending.clear();
    this.#receiving.clear();
    this.#channel.onmessage = null;
  }

  /** @param {FileTransfer} transfer */
  #watched(transfer) {
    transfer.addEventListener("change", () => this.#on.changed());
    return transfer;
  }

  /** @param {Record<string, unknown>} words */
  #say(words) {
    if (this.#channel.readyState === "open") this.#channel.send(JSON.stringify(words));
  }

  /** @param {FileTransfer} transfer */
  #stop(transfer) {
    this.#say({ t: "stop", id: transfer.id, yours: !transfer.outgoing });
    this.#forget(transfer);
  }

  /** @param {FileTransfer} transfer */
  #forget(transfer) {
    if (transfer.outgoing) this.#sending.delete(transfer.id);
    else this.#receiving.delete(transfer.id);
    transfer.enter("stopped");
  }

  /** @param {string} text */
  #hear(text) {
    /** @type {any} */
    let words;
    try {
      words = JSON.parse(text.slice(0, 4096));
    } catch {
      return;
    }
    const id = words?.id;
    if (!Number.isSafeInteger(id)) return;
    switch (words?.t) {
      case "offer":
        return this.#offered(id, words);
      case "accept": {
        const sending = this.#sending.get(id);
        if (sending?.transfer.state === "offered") void this.#pour(sending);
        return;
      }
      case "done": {
        const sending = this.#sending.get(id);
        if (sending?.transfer.bytes !== sending?.transfer.size) return;
        this.#sending.delete(id);
        return sending?.transfer.enter("done");
      }
      case "stop": {
        const transfer = words.yours === true ? this.#sending.get(id)?.transfer : this.#receiving.get(id);
        return transfer && this.#forget(transfer);
      }
    }
  }

  /** @param {number} id @param {any} words */
  #offered(id, { name, size, type }) {
    const fits = id > 0 && id < 2 ** 32 && Number.isSafeInteger(size) && size >= 0 && size <= FILE_MOST;
    const waiting = [...this.#receiving.values()].filter(({ over }) => !over).length;
    if (!fits || this.#receiving.has(id) || waiting >= OFFERS_MOST) return this.#say({ t: "stop", id, yours: true });
    // What ends up in a dialog to save a file is a name, not a path.
    const plain = text(name).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}/\\]/gu, "").slice(0, NAME_MOST) || "file";
    const what = { id, name: plain, size, type: text(type).slice(0, 100), outgoing: false };
    const transfer = this.#watched(
      new FileTransfer(what, {
        accept: () => {
          transfer.enter("moving");
          this.#say({ t: "accept", id });
          this.#whole(transfer);
        },
        stop: () => this.#stop(transfer),
      }),
    );
    this.#receiving.set(id, transfer);
    this.#on.offered(transfer);
  }

  /** @param {ArrayBuffer} data */
  #chunk(data) {
    if (data.byteLength < 4) return;
    const transfer = this.#receiving.get(new DataView(data).getUint32(0));
    // One that was stopped a moment ago.
    if (transfer?.state !== "moving") return;
    const part = new Uint8Array(data, 4);
    if (transfer.bytes + part.byteLength > transfer.size) return this.#stop(transfer);
    transfer.take(part);
    this.#whole(transfer);
  }

  /** @param {FileTransfer} transfer */
  #whole(transfer) {
    if (transfer.bytes < transfer.size) return;
    this.#receiving.delete(transfer.id);
    transfer.whole();
    this.#say({ t: "done", id: transfer.id });
  }

  /** @param {{ transfer: FileTransfer, file: Blob }} sending */
  async #pour({ transfer, file }) {
    const channel = this.#channel;
    transfer.enter("moving");
    try {
      while (transfer.bytes < file.size && !transfer.over) {
        // A piece of the file at a time: it need not fit into memory.
        const piece = new Uint8Array(await file.slice(transfer.bytes, transfer.bytes + HIGH).arrayBuffer());
        for (let at = 0; at < piece.byteLength && !transfer.over; at += CHUNK) {
          if (channel.bufferedAmount > HIGH) await drained(channel);
          if (channel.readyState !== "open") throw new Error("closed");
          const part = piece.subarray(at, at + CHUNK);
          const framed = new Uint8Array(4 + part.byteLength);
          new DataView(framed.buffer).setUint32(0, transfer.id);
          framed.set(part, 4);
          channel.send(framed);
          transfer.moved(part.byteLength);
        }
      }
    } catch {
      // The file can't be read any more, or the connection is gone.
      if (!transfer.over) this.#stop(transfer);
    }
  }
}

/** @param {unknown} said */
const text = (said) => (typeof said === "string" ? said : "");

/** Waits until the channel has little left to send, or is closed. @param {RTCDataChannel} channel */
function drained(channel) {
  return new Promise((resolve, reject) => {
    const done = () => {
      channel.removeEventListener("bufferedamountlow", done);
      channel.removeEventListener("close", done);
      if (channel.readyState === "open") resolve(undefined);
      else reject(new Error("closed"));
    };
    channel.addEventListener("bufferedamountlow", done);
    channel.addEventListener("close", done);
    if (channel.readyState !== "open" || channel.bufferedAmount <= LOW) done();
  });
}
