// The `peerjs` package from npm, unmodified, in a page of its own, and what such a page does: shared by the tests of PeerJS.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const CLIENT = join(dirname(createRequire(import.meta.url).resolve("peerjs")), "peerjs.min.js");

/** Somebody's app: a page with PeerJS and nothing else. */
export async function serveApp() {
  const script = await readFile(CLIENT);
  const server = createServer((request, response) => {
    if (request.url === "/peerjs.js") return response.writeHead(200, { "content-type": "text/javascript" }).end(script);
    const page = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>app</title><script src="/peerjs.js"></script>';
    response.writeHead(200, { "content-type": "text/html" }).end(page);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", () => done(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://localhost:${port}`, stop: () => (server.closeAllConnections(), new Promise((done) => server.close(done))) };
}

/** In the page: makes a peer that answers every call with the fake camera, and notes what happens to it. */
export const START = async ({ name, id, at, options }) => {
  const { hostname, port } = new URL(at);
  const camera = (globalThis.camera ??= await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 180 } }));
  const config = { iceServers: [] };
  const own = { host: hostname, port: Number(port), path: "/peerjs", secure: false, config, ...options };
  const peer = id ? new globalThis.Peer(id, own) : new globalThis.Peer(own);
  const seen = { peer, events: [], data: [], calls: [], conns: [] };
  (globalThis.peers ??= {})[name] = seen;
  seen.show = (call) => {
    call.on("stream", (stream) => {
      const video = (call.video ??= document.body.appendChild(Object.assign(document.createElement("video"), { autoplay: true })));
      video.srcObject = stream;
    });
    call.on("close", () => seen.events.push(`call closed ${call.peer}`));
    seen.calls.push(call);
    return call;
  };
  seen.take = (conn) => {
    conn.on("data", (data) => seen.data.push([conn.peer, data]));
    seen.conns.push(conn);
    return conn;
  };
  for (const event of ["open", "close", "disconnected"]) peer.on(event, () => seen.events.push(event));
  peer.on("error", (error) => seen.events.push(`${error.type}: ${error.message}`));
  peer.on("call", (call) => seen.show(call).answer(camera));
  peer.on("connection", (conn) => {
    seen.take(conn);
    conn.on("open", () => conn.send(`${peer.id} heard you`));
  });
};

/** Flags of a browser whose pages are reached by their addresses, and play what they get. */
export const FLAGS = { args: ["--disable-features=WebRtcHideLocalIpsWithMdns", "--autoplay-policy=no-user-gesture-required"] };

/** In the page: a peer calls `id`. */
export const CALL = ({ name, id, metadata }) => void globalThis.peers[name].show(globalThis.peers[name].peer.call(id, globalThis.camera, { metadata }));

/** Waits for an event of a peer that begins so. @param {import("./person.mjs").Person} person @param {string} name @param {string} event */
export const happens = (person, name, event) =>
  person.until(`${name}: ${event}`, ({ name, event }) => globalThis.peers[name].events.some((each) => each.startsWith(event)), { name, event });

/** The picture of somebody's last call with `id` moves, and a voice has energy. @param {import("./person.mjs").Person} person */
export const seesMoving = (person, name, id) =>
  person.until(
    `${name} sees and hears ${id}`,
    async ({ name, id }) => {
      const last = globalThis.peers[name].calls.findLast((each) => each.peer === id);
      const stats = [...((await last?.peerConnection?.getStats()) ?? new Map()).values()].filter(({ type }) => type === "inbound-rtp");
      const [video, audio] = ["video", "audio"].map((kind) => stats.find((each) => each.kind === kind));
      return video?.framesDecoded > 15 && audio?.totalAudioEnergy > 1e-4 && last.video?.videoWidth > 0;
    },
    { name, id },
  );
