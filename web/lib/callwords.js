// What two browsers tell each other beside media, as JSON on a data channel: chat, what each of them sends now, how far its edge is,
// and that it sees the other through the room. Owns the wording; what comes is another browser's and is believed no further.

/** Bytes of a chat message. */
export const TEXT_MOST = 4_096;

/**
 * @typedef {object} WordsHandlers
 * @property {(text: string) => void} onChat
 * @property {(audio: boolean, video: boolean) => void} onSends
 * @property {(rtt: number | null) => void} onEdge Milliseconds from there to its edge and back.
 * @property {() => void} onSwapped
 */

export class Words {
  #channel;
  #on;

  /** @param {RTCDataChannel} channel @param {WordsHandlers} on */
  constructor(channel, on) {
    this.#channel = channel;
    this.#on = on;
    channel.onmessage = ({ data }) => this.#hear(data);
  }

  /** @param {{ t: "chat", text: string } | { t: "sends", audio: boolean, video: boolean } | { t: "edge", rtt: number | null } | { t: "swapped" }} words @returns {boolean} whether it could be said */
  say(words) {
    if (this.#channel.readyState !== "open") return false;
    this.#channel.send(JSON.stringify(words));
    return true;
  }

  /** @param {unknown} data */
  #hear(data) {
    // A byte of text takes six letters of JSON at most.
    if (typeof data !== "string" || data.length > 6 * TEXT_MOST + 100) return;
    /** @type {any} */
    let words;
    try {
      words = JSON.parse(data);
    } catch {
      return;
    }
    switch (words?.t) {
      case "chat":
        return typeof words.text === "string" ? this.#on.onChat(words.text.slice(0, TEXT_MOST)) : undefined;
      case "sends":
        return this.#on.onSends(words.audio === true, words.video === true);
      case "edge":
        return this.#on.onEdge(typeof words.rtt === "number" && words.rtt >= 0 ? words.rtt : null);
      case "swapped":
        return this.#on.onSwapped();
    }
  }
}
