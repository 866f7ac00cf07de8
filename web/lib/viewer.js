// Watching without being in the room: one member, or whoever speaks, by WHEP (draft-ietf-wish-whep-03). Owns the session, from its
// first request to its DELETE, and its return after a loss; what is shown around the picture is the page's.

import { WeirError } from "./errors.js";

/** @typedef {import("../weir.js").ViewerState} ViewerState */

/** Between two attempts, in milliseconds: the first comes at once, each further one twice as late, and none much later than the last of these. */
const PAUSES = [0, 500, 1_000, 2_000, 4_000];
/** ICE may come back by itself so long, in milliseconds. */
const PATIENCE = 4_000;
const TIMEOUT = 10_000;
/** No packet for so long is looked into, in milliseconds: a browser says nothing of a server that died for 5 s and more. */
const SILENCE = 2_000;
/** How often packets are counted. */
const LOOK = 500;

/** Answers after which no further attempt is any better. */
const FINAL = new Set([400, 401, 403, 404, 405, 406, 413, 415, 422]);

export class Viewer extends EventTarget {
  /** @type {ViewerState} */
  state = "idle";
  /** Why it is `closed`, or `reconnecting`. @type {WeirError | null} */
  error = null;
  /** What is watched: the same for all sessions that follow each other. */
  media = new MediaStream();

  #options;
  /** @type {RTCPeerConnection | null} */
  #pc = null;
  /** Where the session is ended, and with which token. @type {{ url: string, token: string } | null} */
  #session = null;
  /** Where to watch: the page's own server, then those that it names. @type {string[]} */
  #servers;
  #attempt = 0;
  #token = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #looks;

  /** @param {import("../weir.js").ViewerOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#servers = [new URL(options.url ?? location.origin).origin];
  }

  /** @param {"change"} type @param {(viewer: Viewer) => void} listener */
  on(type, listener) {
    const heard = () => listener(this);
    this.addEventListener(type, heard);
    return () => this.removeEventListener(type, heard);
  }

  /** Begins to watch, and goes on until {@link Viewer.close}. */
  start() {
    if (this.state !== "idle") return;
    this.#again(null);
    void this.#learn().catch(() => {});
  }

  /** Asks for the other servers while there is one to ask. */
  async #learn() {
    const [home = ""] = this.#servers;
    const response = await fetch(new URL("/v1/edges", home), { signal: AbortSignal.timeout(TIMEOUT) });
    /** @type {{ edges: { url?: string }[] }} */
    const { edges } = await response.json();
    const others = edges.flatMap(({ url }) => (url && URL.canParse(url) ? [new URL(url).origin] : []));
    this.#servers = [...new Set([...this.#servers, ...others])];
  }

  /** A fresh token, or while nobody gives one the last: it is good for some minutes. */
  async #bearer() {
    const { token } = this.#options;
    try {
      return (this.#token = typeof token === "function" ? await token() : token);
    } catch (fault) {
      if (this.#token === "") throw fault;
      return this.#token;
    }
  }

  close() {
    this.#end(null);
  }

  /** What the browser counts of the session, or null while there is none. */
  async stats() {
    return (await this.#pc?.getStats()) ?? null;
  }

  /** @param {ViewerState} state @param {WeirError | null} [error] */
  #become(state, error = null) {
    if (this.state === "closed" || (this.state === state && this.error === error)) return;
    this.state = state;
    this.error = error;
    this.dispatchEvent(new Event("change"));
  }

  /** Forgets the session, telling the server unless it is lost to it. */
  #drop() {
    clearTimeout(this.#timer);
    clearInterval(this.#looks);
    const session = this.#session;
    this.#session = null;
    this.#pc?.close();
    this.#pc = null;
    // Kept alive: the page may be going.
    if (session) void fetch(session.url, { method: "DELETE", headers: { authorization: `Bearer ${session.token}` }, keepalive: true }).catch(() => {});
  }

  /** @param {WeirError | null} error */
  #end(error) {
    this.#drop();
    this.#become("closed", error);
    for (const track of this.media.getTracks()) this.media.removeTrack(track);
  }

  /** Opens a session, after a pause if the one before failed. @param {WeirError | null} why @param {number} [atLeast] Milliseconds. */
  #again(why, atLeast = 0) {
    if (this.state === "closed") return;
    this.#drop();
    this.#become(why ? "reconnecting" : "connecting", why);
    const pause = PAUSES[Math.min(this.#attempt, PAUSES.length - 1)] ?? 0;
    this.#attempt += 1;
    // Apart from each other, or a whole audience comes back in the same moment.
    const wait = Math.max(atLeast, pause) * (0.75 + Math.random() / 2);
    this.#timer = setTimeout(() => void this.#open().catch((fault) => this.#failed(fault)), wait);
  }

  /** @param {unknown} fault */
  #failed(fault) {
    if (fault instanceof Refusal && FINAL.has(fault.status)) return this.#end(fault.error);
    if (fault instanceof WeirError && fault.code === "unauthorized") return this.#end(fault);
    const error = fault instanceof Refusal ? fault.error : new WeirError("connection_failed", "The server can't be reached.", fault);
    // The next in line, and in the end the first again.
    const elsewhere = fault instanceof Refusal ? fault.elsewhere : null;
    const [first = "", ...rest] = this.#servers;
    this.#servers = [...new Set([...(elsewhere ? [elsewhere] : []), ...rest, first])];
    this.#again(error, fault instanceof Refusal ? fault.after : 0);
  }

  async #open() {
    const { room, member } = this.#options;
    const pc = (this.#pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
    pc.ontrack = ({ track }) => this.#take(track);
    pc.onconnectionstatechange = () => this.#moved(pc);
    for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
    const offer = await pc.createOffer();
    const bearer = await this.#bearer();
    const endpoint = new URL(`/whep/${encodeURIComponent(room)}`, this.#servers[0]);
    if (member) endpoint.searchParams.set("member", member);
    const { url, answer, servers } = await ask(endpoint.href, bearer, offer.sdp ?? "");
    this.#session = { url, token: bearer };
    if (this.#pc !== pc) return this.#drop();
    // The answer names the relays, so candidates are gathered only now.
    if (servers.length > 0) pc.setConfiguration({ ...pc.getConfiguration(), iceServers: servers });
    await pc.setLocalDescription(offer);
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
  }

  /** @param {MediaStreamTrack} track */
  #take(track) {
    // Within one stream an element keeps its last picture until the new track has one.
    for (const before of this.media.getTracks()) if (before.kind === track.kind) this.media.removeTrack(before);
    this.media.addTrack(track);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {RTCPeerConnection} pc */
  #moved(pc) {
    if (pc !== this.#pc) return;
    clearTimeout(this.#timer);
    const lost = () => this.#again(new WeirError("connection_lost", "The connection was lost."));
    if (pc.connectionState === "connected") {
      this.#attempt = 0;
      this.#become("connected");
      this.#listen(pc, lost);
    } else if (pc.connectionState === "disconnected") {
      this.#timer = setTimeout(lost, PATIENCE);
      // A server that is gone says so at once, by saying nothing.
      const check = fetch(this.#session?.url ?? "", { method: "OPTIONS", signal: AbortSignal.timeout(PATIENCE) });
      check.catch(() => pc === this.#pc && pc.connectionState === "disconnected" && lost());
    } else if (pc.connectionState === "failed" || pc.connectionState === "closed") lost();
  }

  /** Looks into each silence once: nobody may be sending, or the server is gone. @param {RTCPeerConnection} pc @param {() => void} lost */
  #listen(pc, lost) {
    let [packets, since, asked] = [0, performance.now(), false];
    clearInterval(this.#looks);
    this.#looks = setInterval(async () => {
      const counted = received(await pc.getStats());
      if (counted !== packets) [packets, since, asked] = [counted, performance.now(), false];
      if (asked || performance.now() - since < SILENCE) return;
      asked = true;
      const gone = await this.#gone();
      if (!gone || pc !== this.#pc || received(await pc.getStats()) !== packets) return;
      this.#servers = [...this.#servers.filter((origin) => origin !== gone), gone];
      lost();
    }, LOOK);
  }

  /** The session's server by its origin, if it does not answer and another one does: then the network is none of the reasons. */
  async #gone() {
    const own = new URL(this.#session?.url ?? location.origin).origin;
    const others = this.#servers.filter((origin) => origin !== own);
    const answers = (/** @type {string} */ origin) =>
      fetch(new URL("/v1/edges", origin), { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(SILENCE) }).then(() => true);
    const [here, elsewhere] = await Promise.all([answers(own).catch(() => false), Promise.any(others.map(answers)).catch(() => false)]);
    return !here && elsewhere ? own : null;
  }
}

/** Packets of any kind that a session has received. @param {RTCStatsReport} stats */
function received(stats) {
  let packets = 0;
  stats.forEach(({ type, packetsReceived }) => void (["transport", "inbound-rtp"].includes(type) && (packets += packetsReceived ?? 0)));
  return packets;
}

/** The server said no. */
class Refusal extends Error {
  /** @param {Response} response @param {string} text */
  constructor(response, text) {
    super(text);
    this.status = response.status;
    this.after = Math.min(30, Number(response.headers.get("retry-after")) || 0) * 1_000;
    /** Another server, by its origin. @type {string | null} */
    this.elsewhere = links(response).find(({ rel }) => rel === "alternate")?.origin ?? null;
    const code = response.status === 401 ? "unauthorized" : response.status === 403 ? "forbidden" : response.status === 503 ? "full" : "connection_failed";
    this.error = new WeirError(code, text.trim() || `The server answered with ${response.status}.`);
  }
}

/**
 * POSTs an offer; where the session is, and what was answered.
 * @param {string} url @param {string} token @param {string} sdp
 * @returns {Promise<{ url: string, answer: string, servers: RTCIceServer[] }>}
 */
async function ask(url, token, sdp, redirected = false) {
  const headers = { "content-type": "application/sdp", authorization: `Bearer ${token}` };
  const response = await fetch(url, { method: "POST", headers, body: sdp, signal: AbortSignal.timeout(TIMEOUT) });
  // A browser leaves the token out when it is sent on to another origin.
  if (response.status === 401 && response.redirected && !redirected) return ask(response.url, token, sdp, true);
  const text = await response.text();
  if (response.status !== 201) throw new Refusal(response, text);
  const servers = links(response).flatMap(({ rel, url, username, credential }) => (rel === "ice-server" ? [{ urls: url, ...(username && { username, credential }) }] : []));
  return { url: new URL(response.headers.get("location") ?? "", response.url).href, answer: text, servers };
}

/**
 * The `Link` headers (RFC 8288).
 * @param {Response} response
 * @returns {{ url: string, origin: string | null, rel: string, username?: string, credential?: string }[]}
 */
export function links(response) {
  const found = [];
  for (const [, url = "", parameters = ""] of (response.headers.get("link") ?? "").matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"[^"]*"|[^\s;,"]+))*)/g)) {
    /** @type {Record<string, string>} */
    const named = {};
    for (const [, name = "", quoted, bare] of parameters.matchAll(/;\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s;,"]+))/g)) named[name] = quoted ?? bare ?? "";
    found.push({ url, origin: URL.canParse(url) ? new URL(url).origin : null, rel: named.rel ?? "", username: named.username, credential: named.credential });
  }
  return found;
}
