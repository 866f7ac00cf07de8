// One edge and members around it, each behind a wire of its own that can be made narrow. Owns namespaces, the node and the wires'
// rates. Needs what `../../cascade/isolated` gives, which also clears all of it away.

import { execFileSync, spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { join } from "node:path";
import { Member } from "../../cascade/support/member.mjs";
import { ARTIFACTS, BINARY, ip, metrics, reach, SECRET, until } from "../../cascade/support/world.mjs";

export const NODE = "10.8.0.1";
const tc = (...args) => execFileSync("nsenter", ["--net=/run/netns/node", "tc", ...args], { stdio: ["ignore", "pipe", "pipe"] });

export class Star {
  #wires = 0;

  /** @param {string} name Of the logs. */
  async start(name) {
    mkdirSync(join(ARTIFACTS, "logs"), { recursive: true });
    ip("netns", "add", "node");
    ip("-n", "node", "link", "set", "lo", "up");
    ip("-n", "node", "addr", "add", `${NODE}/32`, "dev", "lo");
    reach("node");
    const set = {
      "http.listen": "0.0.0.0:8080", "admin.listen": "10.7.0.2:9090",
      "media.listen_ip": NODE, "media.udp_port": 7882, "media.tcp_port": 0, "media.shards": 1, "media.advertise": NODE,
    };
    const flags = Object.entries(set).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    const log = createWriteStream(join(ARTIFACTS, "logs", `adapt-${name}.log`));
    this.node = spawn("nsenter", ["--net=/run/netns/node", BINARY, "serve", ...flags, "--log", process.env.WEIR_TEST_LOG ?? "info,weir=debug"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, WEIR_AUTH__KEYS__test: SECRET },
    });
    this.node.stdout.pipe(log, { end: false });
    this.node.stderr.pipe(log, { end: false });
    await until("the node answers", () => this.metrics(), 20_000);
    return this;
  }

  /** The node's counters. */
  metrics() {
    return metrics("http://10.7.0.2:9090/metrics");
  }

  /**
   * What a member's subscriptions get and why, every half second until `stop` is called, which gives it all.
   * @param {string} room @param {(member: any) => boolean} who
   */
  watch(room, who) {
    const [samples, begun] = [[], Date.now()];
    const ask = async (path) => (await fetch(`http://10.7.0.2:9090/v1/admin/rooms/${room}${path}`, { signal: AbortSignal.timeout(1_000) })).json();
    let id;
    const timer = setInterval(async () => {
      try {
        id ??= (await ask("")).members.find(who)?.id;
        const { media: { estimate_bps, budget_bps, demand_bps, subscriptions } } = await ask(`/members/${id}`);
        const pictures = subscriptions.filter(({ kind }) => kind === "video").map(({ target, current, reason, bps }) => ({ target, current, reason, bps }));
        samples.push({ at: Date.now() - begun, estimate_bps, budget_bps, demand_bps, pictures });
      } catch {
        // It has not joined yet, or is gone.
      }
    }, 500);
    return { stop: () => (clearInterval(timer), samples) };
  }

  /** Lets processes beside the node reach it too. */
  beside() {
    ip("route", "add", `${NODE}/32`, "via", "10.7.0.2");
  }

  /** Somebody behind a wire. */
  member(name) {
    this.wire(name);
    return new Member(name, name, `http://${NODE}:8080`);
  }

  /** A wire to the node, from a namespace of that name. */
  wire(name) {
    const net = `10.6.${++this.#wires}`;
    ip("netns", "add", name);
    ip("-n", name, "link", "set", "lo", "up");
    ip("-n", "node", "link", "add", `to-${name}`, "type", "veth", "peer", "name", "wire", "netns", name);
    for (const [ns, device, address] of [["node", `to-${name}`, `${net}.1/24`], [name, "wire", `${net}.2/24`]]) {
      ip("-n", ns, "addr", "add", address, "dev", device);
      ip("-n", ns, "link", "set", device, "addrgenmode", "none");
      ip("-n", ns, "link", "set", device, "up");
    }
    ip("-n", name, "route", "add", "default", "via", `${net}.1`);
  }

  /** What the wire toward a member carries, with a queue of so many milliseconds; `null` is all that there is. */
  narrow(name, kbps, queue_ms = 200) {
    if (kbps === null) return void tc("qdisc", "del", "dev", `to-${name}`, "root");
    // The bucket holds two packets: what is larger lets probes through that the wire does not carry.
    tc("qdisc", "replace", "dev", `to-${name}`, "root", "tbf", "rate", `${kbps}kbit`, "burst", "3000", "latency", `${queue_ms}ms`);
  }

  close() {
    this.node?.kill("SIGKILL");
  }
}
