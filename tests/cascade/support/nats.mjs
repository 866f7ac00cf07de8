// Two homes behind NATs, and a node on the public side. Owns the namespaces and the node; needs what `../isolated` gives, which clears
// all of it away at the end.
//
//   home-a 10.1.0.2 ── nat-a ── 11.0.1.2 ─┐
//                                          net, with the node at 11.0.0.1
//   home-b 10.2.0.2 ── nat-b ── 11.0.2.2 ─┘

import { execFileSync, spawn } from "node:child_process";
import { chmodSync, createWriteStream, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ARTIFACTS, BINARY, ip, metrics, reach, SECRET, until } from "./world.mjs";

// As public as an address can be: the relay's rules hold here too.
export const NODE = "11.0.0.1";
const ADMIN = "10.7.0.2:9090";
const SIDES = { a: 1, b: 2 };

const within = (namespace, ...command) => execFileSync("nsenter", [`--net=/run/netns/${namespace}`, ...command], { stdio: ["pipe", "pipe", "inherit"], encoding: "utf8" });

/** A wire between two namespaces, with an address at each end. */
function wire([from, fromAddress], [to, toAddress]) {
  ip("-n", from, "link", "add", to, "type", "veth", "peer", "name", from, "netns", to);
  for (const [namespace, device, address] of [[from, to, fromAddress], [to, from, toAddress]]) {
    ip("-n", namespace, "addr", "add", `${address}/24`, "dev", device);
    ip("-n", namespace, "link", "set", device, "up");
  }
}

export class Nats {
  #children = [];
  url = `http://${NODE}:8080`;

  /** @param {string} name Of the logs. */
  constructor(name) {
    this.name = name;
  }

  async start() {
    for (const name of ["net", "nat-a", "nat-b", "home-a", "home-b"]) {
      ip("netns", "add", name);
      ip("-n", name, "link", "set", "lo", "up");
    }
    ip("-n", "net", "addr", "add", `${NODE}/32`, "dev", "lo");
    for (const [side, number] of Object.entries(SIDES)) {
      const [nat, home] = [`nat-${side}`, `home-${side}`];
      wire(["net", `11.0.${number}.1`], [nat, `11.0.${number}.2`]);
      wire([nat, `10.${number}.0.1`], [home, `10.${number}.0.2`]);
      ip("-n", nat, "route", "add", "default", "via", `11.0.${number}.1`);
      ip("-n", home, "route", "add", "default", "via", `10.${number}.0.1`);
      within(nat, "sysctl", "-qw", "net.ipv4.ip_forward=1");
      this.translate(side, "symmetric");
    }
    within("net", "sysctl", "-qw", "net.ipv4.ip_forward=1");
    reach("net");
    const set = {
      "http.listen": "0.0.0.0:8080", "admin.listen": ADMIN, "turn.listen": `${NODE}:3478`, "turn.advertise": NODE,
      "media.listen_ip": NODE, "media.tcp_port": 0, "media.shards": 1, "media.advertise": NODE,
    };
    mkdirSync(join(ARTIFACTS, "logs"), { recursive: true });
    this.#run("net", "node", "serve", ...Object.entries(set).flatMap(([key, value]) => ["--set", `${key}=${value}`]));
    await until("the node answers", () => fetch(`http://${ADMIN}/readyz`, { signal: AbortSignal.timeout(1_000) }).then(({ ok }) => ok));
    return this;
  }

  /** @param {string} namespace @param {string} what @param {string[]} args */
  #run(namespace, what, ...args) {
    const log = createWriteStream(join(ARTIFACTS, "logs", `${this.name}-${what}.log`));
    const child = spawn("nsenter", [`--net=/run/netns/${namespace}`, BINARY, ...args], { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, WEIR_AUTH__KEYS__test: SECRET } });
    child.stdout.pipe(log);
    child.stderr.pipe(log);
    this.#children.push(child);
    return child;
  }

  /**
   * From now on, for what goes out anew. Nobody comes in who was not asked, by address and port.
   * `symmetric`: every destination sees another port. `cone`: all see the same one.
   * @param {"a" | "b"} side @param {"symmetric" | "cone"} kind
   */
  translate(side, kind) {
    const nat = `nat-${side}`;
    within(nat, "nft", "flush ruleset");
    within(nat, "nft", `table ip nat { chain out { type nat hook postrouting priority 100; oifname "net" masquerade ${kind === "symmetric" ? "fully-random" : ""}; }; }`);
    // Who knocks at the NAT itself is not answered, and takes no port there.
    const guard = (hook) => `chain ${hook} { type filter hook ${hook} priority 0; iifname "net" ct state new drop; };`;
    within(nat, "nft", `table ip guard { ${guard("forward")} ${guard("input")} }`);
  }

  /**
   * From now on the way of one home to the TURN server is long, and by UDP alone; to the rest of the node it is as it was.
   * @param {"a" | "b"} side @param {number} ms Each way.
   */
  relayIsFar(side, ms) {
    const [nat, home] = [`nat-${side}`, `10.${SIDES[side]}.0.1:3478`];
    this.#run(nat, `far-${side}`, "impair", "--listen", home, "--to", `${NODE}:3478`, "--delay-ms", String(ms));
    within(nat, "nft", `table ip far { chain in { type nat hook prerouting priority -100; ip daddr ${NODE} udp dport 3478 dnat to ${home}; }; chain on { type filter hook forward priority 0; tcp dport 3478 drop; }; }`);
  }

  /** From now on nothing of one home reaches the other but through the node. */
  part() {
    const drop = (from, to) => `ip saddr 11.0.${SIDES[from]}.2 ip daddr 11.0.${SIDES[to]}.2 drop;`;
    within("net", "nft", `table ip parted { chain on { type filter hook forward priority 0; ${drop("a", "b")} ${drop("b", "a")} }; }`);
  }

  /** What the node counts. */
  metrics() {
    return metrics(`http://${ADMIN}/metrics`);
  }

  /** A program that runs in a home, as one to start. @param {"a" | "b"} side @param {string} program */
  at(side, program) {
    const path = join(mkdtempSync(join(tmpdir(), "nat-")), "inside");
    writeFileSync(path, `#!/bin/sh\nexec nsenter --net=/run/netns/home-${side} ${program} "$@"\n`);
    chmodSync(path, 0o755);
    return path;
  }

  async close() {
    await Promise.all(
      this.#children.map((child) => {
        const ended = new Promise((done) => child.once("exit", done));
        child.kill("SIGTERM");
        return child.exitCode === null ? ended : undefined;
      }),
    );
    ip("link", "del", "driver");
    for (const name of ["net", "nat-a", "nat-b", "home-a", "home-b"]) ip("netns", "del", name);
  }
}
