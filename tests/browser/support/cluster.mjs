// A cluster that is not there: an admin listener made of a few lines, with three regions whose figures change, for looking at the
// dashboard and for testing it. `node tests/browser/support/cluster.mjs [PORT]` serves it to a browser.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const WEB = resolve(dirname(fileURLToPath(import.meta.url)), "../../../web");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2" };
const CSP = "default-src 'self'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; connect-src 'self'";
const PERFECT = { delay_ms: 0, jitter_ms: 0, loss: 0, burst: 0, rate_kbps: 0, queue_ms: 0, partition: false };

const REGIONS = { fra: { iad: [45, 3.1], sin: [80, 2.2] }, iad: { fra: [45, 2.6], sin: [112, 0.4] }, sin: { fra: [80, 1.4], iad: [112, 0.2] } };

/** What `GET /v1/admin/cascade` and `/v1/admin/dev` answer, and what was asked of them. */
export class Cluster {
  running = new Set(Object.keys(REGIONS));
  draining = new Set();
  /** @type {Map<string, object>} by `from|to` */
  paths = new Map();
  /** @type {[string, any][]} */
  asked = [];
  extra = [];
  start = Date.now();

  impairment(from, to) {
    return { ...PERFECT, ...this.paths.get(`${from}|${to}`) };
  }

  up(a, b) {
    return this.running.has(a) && this.running.has(b) && !this.impairment(a, b).partition;
  }

  metrics(from, to) {
    const { delay_ms, loss } = this.impairment(from, to);
    const back = this.impairment(to, from);
    const [delay, mbps] = REGIONS[from][to];
    const wave = 1 + 0.25 * Math.sin((Date.now() - this.start) / 4_000 + from.length + to.charCodeAt(0));
    return {
      rtt_us: Math.round((delay * 2 + delay_ms + back.delay_ms + Math.random() * 2) * 1000),
      loss_permille: Math.round(loss * 1000),
      kbps_out: Math.round(mbps * 1000 * wave),
      kbps_in: Math.round(REGIONS[to][from][1] * 1000 * wave),
      target_kbps: Math.round(mbps * 2600 * wave),
      queue_ms: loss > 0 ? Math.round(6 + Math.random() * 8) : 0,
    };
  }

  info(id) {
    return { id, region: id, role: id === "iad" ? "core" : "both", incarnation: 1, draining: this.draining.has(id), url: `http://localhost:${8080 + Object.keys(REGIONS).indexOf(id)}`, addr: "127.0.0.1:9000" };
  }

  neighbours(id) {
    return Object.keys(REGIONS[id]).filter((other) => this.up(id, other));
  }

  status(id) {
    const alive = [...this.running].filter((other) => other === id || this.neighbours(id).some((next) => next === other || this.neighbours(next).includes(other)));
    const wave = 1 + 0.2 * Math.sin((Date.now() - this.start) / 3_000);
    const direct = this.up("fra", "sin");
    const track = (name, kind, layers, at) => ({
      track: name,
      room: "stand-up",
      kind,
      origin: "fra",
      path: at === "fra" ? [] : at === "sin" && !direct ? ["iad", "fra"] : ["fra"],
      wanted: at === "fra" ? [] : layers,
      layers: at === "fra" ? [] : layers.map((layer) => ({ layer, height: kind === "video" ? [180, 360, 720][layer] : 0, kbps: layer === 2 ? 0 : Math.round([140, 480][layer] * wave * (kind === "video" ? 1 : 0.3)) })),
      children: (at === "fra" ? (direct ? ["iad", "sin"] : ["iad"]) : at === "iad" && !direct ? ["sin"] : []).map((node) => ({ node, layers })),
    });
    return {
      me: this.info(id),
      epoch: 12,
      nodes: alive.map((other) => ({ ...this.info(other), neighbours: this.neighbours(other).map((next) => ({ node: next, ...this.metrics(other, next) })) })),
      region_links: Object.entries(REGIONS).flatMap(([from, all]) => Object.entries(all).map(([to, [delay]]) => ({ from, to, cost: delay }))),
      links: this.neighbours(id).map((node) => ({ node, region: node, dialed: id < node, version: 2, up_s: Math.round((Date.now() - this.start) / 1000) + 140, ...this.metrics(id, node), clock_offset_ms: 0.2, packets_out: 1, packets_in: 1, bytes_out: 1, bytes_in: 1, shed: 0, flows_shed: 0 })),
      tracks: [track("t00000000000a11", "video", [0, 1, 2], id), track("t00000000000a12", "audio", [0], id), { ...track("t00000000000b21", "video", [0, 1], id), room: "all-hands", ...(id === "fra" && { children: [] }), ...(id !== "fra" && { path: [], layers: [], wanted: [] }) }].filter(({ room }) => room === "stand-up" || id === "fra"),
    };
  }

  cascade() {
    return { nodes: [...this.running].map((id) => this.status(id)).concat(this.extra), silent: [] };
  }

  dev() {
    const all = Object.keys(REGIONS);
    return {
      regions: all.map((id) => ({ node: id, region: id, url: this.info(id).url, running: this.running.has(id) })),
      paths: all.flatMap((from) => all.filter((to) => to !== from).map((to) => ({ from, to, impairment: this.impairment(from, to) }))),
    };
  }

  /** @param {string} path @param {any} body @param {URL} url */
  post(path, body, url) {
    this.asked.push([path, body]);
    if (path === "/v1/admin/drain") this.draining.add(url.searchParams.get("node"));
    if (path === "/v1/admin/dev/path") for (const key of body.both ? [`${body.from}|${body.to}`, `${body.to}|${body.from}`] : [`${body.from}|${body.to}`]) this.paths.set(key, body.impairment);
    if (path === "/v1/admin/dev/node") {
      if (body.action === "kill") this.running.delete(body.node);
      if (body.action === "start") this.running.add(body.node);
      if (body.action === "drain") this.draining.add(body.node);
      else this.draining.delete(body.node);
    }
  }
}

/** @param {Cluster} cluster @param {number} [port] */
export async function serve(cluster, port = 0) {
  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? "/", "http://x");
    const send = (status, type, body) => response.writeHead(status, { "content-type": type, "content-security-policy": CSP }).end(body);
    const json = (value, status = 200) => send(status, "application/json", JSON.stringify(value));
    if (request.method === "POST") {
      let text = "";
      for await (const chunk of request) text += chunk;
      cluster.post(url.pathname, JSON.parse(text || "{}"), url);
      return json({});
    }
    if (url.pathname === "/v1/admin/cascade") return json(cluster.cascade());
    if (url.pathname === "/v1/admin/dev") return json(cluster.dev());
    if (url.pathname === "/v1/admin/rooms") return json({ rooms: [{ id: "stand-up", members: 3 }] });
    const path = url.pathname === "/" ? "/dashboard/index.html" : url.pathname;
    const file = await readFile(join(WEB, path)).catch(() => null);
    return file ? send(200, TYPES[extname(path)] ?? "text/plain", file) : send(404, "text/plain", "nothing");
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", () => done(undefined)));
  const { port: bound } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    url: `http://localhost:${bound}`,
    stop: () => {
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log((await serve(new Cluster(), Number(process.argv[2] ?? 0))).url);
