// A small world to call in: three regions in network namespaces, the real `weir serve` on five nodes, and between each two regions
// a path as bad as one likes. Kernels often lack netem, so the paths are `weir impair` relays: between each two regions lies a
// namespace that answers to the other side's addresses and hands on by relays, so every node has one address wherever it is dialed
// from, and each pair of regions has a path of its own.
//
//   west: w-edge, w-core ── mw ── mid: m-core ── em ── east: e-core, e-edge        west ── ew ── east: the dear way around
//
// Owns addresses, processes and their logs. Needs what `../isolated` gives, which also clears all of it away.

import { execFileSync, spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
export const ARTIFACTS = process.env.WEIR_TEST_ARTIFACTS ?? join(ROOT, "tests/artifacts");
export const BINARY = process.env.WEIR_TEST_BINARY ?? [join(ROOT, "target/release/weir"), join(ROOT, "target/debug/weir")].find(existsSync) ?? "weir";

export const SECRET = randomBytes(32).toString("hex");
const UP_WITHIN = 20_000;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Waits until `check` is truthy and gives that; says `what` was waited for. */
export async function until(what, check, timeout = 30_000, every = 100) {
  let fault;
  for (const start = Date.now(); ; await sleep(every)) {
    try {
      const found = await check();
      if (found) return found;
      fault = undefined;
    } catch (error) {
      fault = error;
    }
    if (Date.now() - start > timeout) throw new Error(`${what}: not within ${timeout} ms`, { cause: fault });
  }
}

/** A page of metrics, by name and summed over what it tells apart. @returns {Promise<Record<string, number>>} */
export async function metrics(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(3_000) });
  const sums = {};
  for (const line of (await answer.text()).split("\n")) {
    const [, name, value] = /^([a-z_]+)(?:\{[^}]*\})? (\S+)/.exec(line) ?? [];
    if (name) sums[name] = (sums[name] ?? 0) + Number(value);
  }
  return sums;
}

const REGIONS = { west: 1, mid: 2, east: 3 };

/** The lower id dials, so relays stand in front of the higher one of a pair. */
const NODES = {
  "e-core": { region: "east", role: "core", number: 1 },
  "e-edge": { region: "east", role: "edge", number: 2 },
  "m-core": { region: "mid", role: "core", number: 1 },
  "w-core": { region: "west", role: "core", number: 1 },
  "w-edge": { region: "west", role: "edge", number: 2 },
};

/** `rtt_ms` is what the document says: it makes the way through the middle the cheaper one. */
const PAIRS = {
  mw: { number: 1, regions: ["mid", "west"], rtt_ms: 80 },
  em: { number: 2, regions: ["east", "mid"], rtt_ms: 80 },
  ew: { number: 3, regions: ["east", "west"], rtt_ms: 220 },
};

export const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" });
/** Where a region's nodes are for everybody; abroad it is a relay that answers. */
const told = (region) => `10.9.${REGIONS[region]}.1`;
/** Where they really are. */
const real = (region) => `10.8.${REGIONS[region]}.1`;
/** A region for the driver of the test. */
const seen = (region) => `10.7.${REGIONS[region]}.2`;

/** The test's own wire into a namespace: 10.7.0.1 here, 10.7.0.2 there. @param {string} namespace */
export function reach(namespace) {
  ip("link", "add", "driver", "type", "veth", "peer", "name", "driver", "netns", namespace);
  ip("addr", "add", "10.7.0.1/24", "dev", "driver");
  ip("link", "set", "driver", "up");
  ip("-n", namespace, "addr", "add", "10.7.0.2/24", "dev", "driver");
  ip("-n", namespace, "link", "set", "driver", "up");
}

export class World {
  /** @type {Map<string, { child: import("node:child_process").ChildProcess, ended: Promise<void>, log: import("node:fs").WriteStream }>} */
  #nodes = new Map();
  /** By pair, every relay on it. */
  #relays = { mw: [], em: [], ew: [] };
  #far = [];
  /** The same losses in each run, as far as the packets are the same. */
  #seed = 1;

  /**
   * @param {string} name Of the logs.
   * @param {{ detour?: boolean, set?: string[] }} [how] `detour`: west and east may also link past the middle.
   */
  constructor(name, { detour = true, set = [] } = {}) {
    this.name = name;
    this.detour = detour;
    this.set = set;
    this.folder = join(tmpdir(), `world-${name}`);
    mkdirSync(this.folder, { recursive: true });
    mkdirSync(join(ARTIFACTS, "logs"), { recursive: true });
  }

  /** Namespaces, paths as `impairment` says, certificates, all nodes. */
  async start(impairment = {}) {
    this.#wire();
    for (const pair of this.#pairs()) await this.#relay(pair, impairment);
    this.#certify();
    writeFileSync(join(this.folder, "topology.toml"), this.#topology());
    for (const id of Object.keys(NODES)) this.launch(id);
    await Promise.all(Object.keys(NODES).map((id) => this.isUp(id)));
    await this.isJoined();
    return this;
  }

  #pairs() {
    return Object.keys(PAIRS).filter((pair) => this.detour || pair !== "ew");
  }

  #wire() {
    const address = (ns, device, address) => {
      ip("-n", ns, "addr", "add", address, "dev", device);
      // An address that comes up by itself a second later is a changed network to a browser, which then drops what it loads.
      ip("-n", ns, "link", "set", device, "addrgenmode", "none");
      ip("-n", ns, "link", "set", device, "up");
    };
    const make = (ns) => (ip("netns", "add", ns), ip("-n", ns, "link", "set", "lo", "up"));
    for (const [region, number] of Object.entries(REGIONS)) {
      make(region);
      ip("link", "add", `d-${region}`, "type", "veth", "peer", "name", "driver", "netns", region);
      ip("addr", "add", `10.7.${number}.1/24`, "dev", `d-${region}`);
      ip("link", "set", `d-${region}`, "up");
      address(region, "driver", `${seen(region)}/24`);
      address(region, "lo", `${real(region)}/32`);
      address(region, "lo", `${told(region)}/32`);
    }
    for (const pair of this.#pairs()) {
      make(pair);
      PAIRS[pair].regions.forEach((region, side) => {
        const net = `10.6.${PAIRS[pair].number * 2 + side}`;
        ip("-n", pair, "link", "add", `to-${region}`, "type", "veth", "peer", "name", pair, "netns", region);
        address(pair, `to-${region}`, `${net}.1/24`);
        address(region, pair, `${net}.2/24`);
        ip("-n", pair, "route", "add", `10.8.${REGIONS[region]}.0/24`, "via", `${net}.2`);
        const other = PAIRS[pair].regions[1 - side];
        address(pair, "lo", `${told(region)}/32`);
        ip("-n", region, "route", "add", `10.9.${REGIONS[other]}.0/24`, "via", `${net}.1`);
      });
    }
  }

  /** The links of one pair of regions, in front of the nodes that are dialed. */
  async #relay(pair, impairment) {
    const [dialing, dialed] = PAIRS[pair].regions;
    if (!Object.values(NODES).some(({ region }) => region === dialing)) return;
    for (const { region, number } of Object.values(NODES)) {
      if (region !== dialed) continue;
      this.#relays[pair].push(await this.#impair(pair, `${told(dialed)}:${7440 + number}`, `${real(dialed)}:${7440 + number}`, impairment));
    }
  }

  /** One relay process in a namespace. */
  async #impair(ns, listen, to, impairment) {
    const log = createWriteStream(join(ARTIFACTS, "logs", `${this.name}-relay-${listen.replace(":", "-")}-${ns}.log`));
    const child = spawn("nsenter", [`--net=/run/netns/${ns}`, BINARY, "impair", "--listen", listen, "--to", to, "--seed", String(this.#seed++)], { stdio: ["pipe", "pipe", "pipe"] });
    child.stdout.pipe(log);
    child.stderr.pipe(log);
    child.stdin.on("error", () => {});
    const relay = { child, tell: (what) => child.stdin.write(`${JSON.stringify(what)}\n`) };
    await new Promise((ready, failed) => {
      child.stdout.once("data", ready);
      child.once("exit", (code) => failed(new Error(`the relay at ${listen} ended with ${code}; see ${log.path}`)));
    });
    relay.tell(impairment);
    return relay;
  }

  /** From now on, on the paths of these pairs and both ways: `{ delay_ms, jitter_ms, loss, burst, rate_kbps, queue_ms, partition }`. */
  impair(impairment, pairs = this.#pairs()) {
    for (const pair of pairs) for (const relay of this.#relays[pair]) relay.tell(impairment);
  }

  #certify() {
    const certs = join(this.folder, "certs");
    const weir = (...args) => execFileSync(BINARY, ["certs", ...args], { stdio: ["ignore", "pipe", "inherit"] });
    weir("init", "--dir", certs);
    for (const [id, { region }] of Object.entries(NODES)) weir("issue", "--node", id, "--region", region, "--dir", certs);
  }

  #topology() {
    const lines = ["version = 1", "epoch = 1", 'mode = "tree"', "max_region_hops = 4", "weights = { usd_gb = 1000, ms = 1, backup = 500 }"];
    for (const region of Object.keys(REGIONS)) lines.push("[[region]]", `id = "${region}"`, 'tier = "hub"', "usd_gb = 0.02");
    for (const pair of this.#pairs()) {
      const { regions, rtt_ms } = PAIRS[pair];
      lines.push("[[link]]", `from = "${regions[0]}"`, `to = "${regions[1]}"`, `rtt_ms = ${rtt_ms}`);
    }
    for (const [id, { region, role, number }] of Object.entries(NODES)) {
      lines.push("[[node]]", `id = "${id}"`, `region = "${region}"`, `role = "${role}"`, `addr = "${told(region)}:${7440 + number}"`);
      if (role === "edge") lines.push(`url = "${this.url(id)}"`);
    }
    return `${lines.join("\n")}\n`;
  }

  /** Starts a node, or starts it again. */
  launch(id) {
    const { region, role, number } = NODES[id];
    const set = {
      "node.id": id, "node.region": region, "node.role": role,
      "http.listen": `0.0.0.0:${8080 + number}`, "admin.listen": `${seen(region)}:${9090 + number}`,
      "cascade.listen": `0.0.0.0:${7440 + number}`, "cascade.certs": join(this.folder, "certs"),
      "cascade.topology": join(this.folder, "topology.toml"),
      "media.listen_ip": real(region), "media.udp_port": 7880 + number, "media.tcp_port": 0, "media.shards": 1,
      // At home the first, abroad the second, if a relay answers there; see `farEdge`.
      "media.advertise": `${real(region)},${told(region)}`,
      ...(role === "edge" && { "http.url": this.url(id) }),
    };
    const flags = Object.entries(set).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    const log = createWriteStream(join(ARTIFACTS, "logs", `${this.name}-${id}.log`), { flags: this.#nodes.has(id) ? "a" : "w" });
    const child = spawn("nsenter", [`--net=/run/netns/${region}`, BINARY, "serve", ...flags, ...this.set.flatMap((set) => ["--set", set]), "--log", process.env.WEIR_TEST_LOG ?? "info,weir=debug"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, WEIR_AUTH__KEYS__test: SECRET },
    });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    const ended = new Promise((done) => child.once("exit", (code, signal) => (log.end(`--- ended: ${code ?? signal}\n`), done())));
    this.#nodes.set(id, { child, ended, log });
  }

  isUp(id) {
    return until(`${id} answers`, () => {
      const { exitCode } = this.#nodes.get(id).child;
      if (exitCode !== null) throw new Error(`${id} ended with ${exitCode}; its log is in ${ARTIFACTS}/logs`);
      return this.admin(id, "cascade");
    }, UP_WITHIN);
  }

  /** Every node knows every other. */
  isJoined(timeout = 30_000) {
    return until("every node knows every other", async () => {
      const all = await Promise.all(Object.keys(NODES).map((id) => this.status(id)));
      return all.every(({ nodes }) => nodes.length === Object.keys(NODES).length);
    }, timeout);
  }

  /** The operator's word. */
  async admin(id, what) {
    const { region, number } = NODES[id];
    const answer = await fetch(`http://${seen(region)}:${9090 + number}/v1/admin/${what}`, { signal: AbortSignal.timeout(3_000) });
    if (!answer.ok) throw new Error(`${id}: ${what}: ${answer.status}`);
    return answer.json();
  }

  /** What a node knows of the cascade. */
  async status(id) {
    return (await this.admin(id, "cascade")).nodes[0];
  }

  /** The nodes by which the video of somebody at another edge comes to this one. */
  async path(id) {
    const { tracks } = await this.status(id);
    return tracks.find(({ kind, origin }) => kind === "video" && origin !== id)?.path ?? [];
  }

  kill(id) {
    this.#nodes.get(id).child.kill("SIGKILL");
    return this.#nodes.get(id).ended;
  }

  /** As a supervisor does: SIGTERM, and wait. */
  terminate(id) {
    this.#nodes.get(id).child.kill("SIGTERM");
    return this.#nodes.get(id).ended;
  }

  /** `weir drain`, to its end. */
  drain(id) {
    const { region, number } = NODES[id];
    const child = spawn(BINARY, ["drain", "--admin", `${seen(region)}:${9090 + number}`], { stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (said += chunk));
    return new Promise((done, failed) => child.once("exit", (code) => (code === 0 ? done(said) : failed(new Error(`weir drain ${id}: ${code}: ${said}`)))));
  }

  /** Where browsers of its own region find an edge. */
  url(id) {
    const { region, number } = NODES[id];
    return `http://${real(region)}:${8080 + number}`;
  }

  /**
   * Lets browsers of the east join at the west's edge as if there were no other: their media go the same two bad paths, one after
   * the other, their signaling goes straight. Its URL.
   */
  async farEdge(impairment) {
    const { number } = NODES["w-edge"];
    const media = 7880 + number;
    // The way of a browser's packets is the nodes' way: both paths, one behind the other.
    const relays = [
      await this.#impair("ew", `127.0.0.1:${media}`, `${real("west")}:${media}`, impairment),
      await this.#impair("ew", `${told("west")}:${media}`, `127.0.0.1:${media}`, impairment),
    ];
    this.#far = relays;
    const port = 18_080 + number;
    createServer((socket) => {
      const on = connect(8080 + number, seen("west"));
      socket.pipe(on).pipe(socket);
      for (const end of [socket, on]) end.on("error", () => (socket.destroy(), on.destroy()));
    }).listen(port, "10.7.3.1").unref();
    return { url: `http://10.7.3.1:${port}`, impair: (impairment) => this.#far.forEach((relay) => relay.tell(impairment)) };
  }

  /** What a node counts, by name and summed over what it tells apart. @returns {Promise<Record<string, number>>} */
  metrics(id) {
    const { region, number } = NODES[id];
    return metrics(`http://${seen(region)}:${9090 + number}/metrics`);
  }

  pid(id) {
    return this.#nodes.get(id).child.pid;
  }

  /** Processor time of a node so far, in seconds. */
  cpu(id) {
    const [, fields] = readFileSync(`/proc/${this.pid(id)}/stat`, "utf8").split(") ");
    const [user, system] = fields.split(" ").slice(11, 13).map(Number);
    return (user + system) / 100;
  }

  async close() {
    for (const { child, ended } of this.#nodes.values()) {
      child.kill("SIGKILL");
      await ended;
    }
    for (const { child } of [...Object.values(this.#relays).flat(), ...this.#far]) child.kill("SIGKILL");
    // A namespace lives on until its last process is gone, and its end of the wire with it.
    for (const region of Object.keys(REGIONS)) ip("link", "del", `d-${region}`);
    for (const ns of [...Object.keys(REGIONS), ...this.#pairs()]) ip("netns", "del", ns);
  }
}

/** A token to join with. */
export function token(room, identity, { publish = true, name = identity } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const video = { room, roomJoin: true, ...(!publish && { canPublish: false }) };
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part({ iss: "test", sub: identity, name, exp: Math.floor(Date.now() / 1_000) + 590, video })}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}

/** Impairment of one path: half the round trip each way, so much loss each way. */
export const path = (rtt, loss = 0, more = {}) => ({ delay_ms: rtt / 2, loss, partition: false, ...more });
