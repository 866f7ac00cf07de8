// Two browsers, each behind a NAT of its own that gives every destination another port and lets only that one answer. They can't
// reach each other by what STUN tells them; by the node's TURN server they can.
//
//   home-a 10.1.0.2 ── nat-a ── 11.0.1.2 ─┐
//                                          net, with the node at 11.0.0.1
//   home-b 10.2.0.2 ── nat-b ── 11.0.2.2 ─┘

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, createWriteStream, existsSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { ARTIFACTS, ROOT, SECRET, token, until } from "./support/world.mjs";

const require = createRequire(join(ROOT, "tests/browser/package.json"));
const { default: puppeteer } = await import(pathToFileURL(require.resolve("puppeteer-core")).href);

const BINARY = process.env.WEIR_TEST_BINARY ?? join(ROOT, "target/debug/weir");
const CHROMIUM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path)) ?? "chromium";
// As public as an address can be: the relay's rules hold here too.
const NODE = "11.0.0.1";

const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" });
const within = (namespace, ...command) => execFileSync("nsenter", [`--net=/run/netns/${namespace}`, ...command], { stdio: ["pipe", "pipe", "inherit"], encoding: "utf8" });

/** A wire between two namespaces, with an address at each end. */
function wire([from, fromAddress], [to, toAddress]) {
  ip("-n", from, "link", "add", to, "type", "veth", "peer", "name", from, "netns", to);
  for (const [namespace, device, address] of [[from, to, fromAddress], [to, from, toAddress]]) {
    ip("-n", namespace, "addr", "add", `${address}/24`, "dev", device);
    ip("-n", namespace, "link", "set", device, "up");
  }
}

let node;
const browsers = [];

before(async () => {
  for (const name of ["net", "nat-a", "nat-b", "home-a", "home-b"]) {
    ip("netns", "add", name);
    ip("-n", name, "link", "set", "lo", "up");
  }
  ip("-n", "net", "addr", "add", `${NODE}/32`, "dev", "lo");
  for (const [side, number] of [["a", 1], ["b", 2]]) {
    const [nat, home] = [`nat-${side}`, `home-${side}`];
    wire(["net", `11.0.${number}.1`], [nat, `11.0.${number}.2`]);
    wire([nat, `10.${number}.0.1`], [home, `10.${number}.0.2`]);
    ip("-n", nat, "route", "add", "default", "via", `11.0.${number}.1`);
    ip("-n", home, "route", "add", "default", "via", `10.${number}.0.1`);
    within(nat, "sysctl", "-qw", "net.ipv4.ip_forward=1");
    within(nat, "nft", `table ip nat { chain out { type nat hook postrouting priority 100; oifname "net" masquerade fully-random; }; }`);
    // Nobody comes in who was not asked.
    within(nat, "nft", `table ip guard { chain in { type filter hook forward priority 0; iifname "net" ct state new drop; }; }`);
  }
  within("net", "sysctl", "-qw", "net.ipv4.ip_forward=1");
  ip("link", "add", "driver", "type", "veth", "peer", "name", "driver", "netns", "net");
  ip("addr", "add", "10.7.0.1/24", "dev", "driver");
  ip("link", "set", "driver", "up");
  ip("-n", "net", "addr", "add", "10.7.0.2/24", "dev", "driver");
  ip("-n", "net", "link", "set", "driver", "up");
  const set = {
    "http.listen": "0.0.0.0:8080", "admin.listen": "10.7.0.2:9090", "turn.listen": `${NODE}:3478`, "turn.advertise": NODE,
    "media.listen_ip": NODE, "media.tcp_port": 0, "media.shards": 1, "media.advertise": NODE,
  };
  mkdirSync(join(ARTIFACTS, "logs"), { recursive: true });
  const log = createWriteStream(join(ARTIFACTS, "logs", "nat-node.log"));
  const flags = Object.entries(set).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
  node = spawn("nsenter", ["--net=/run/netns/net", BINARY, "serve", ...flags], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, WEIR_AUTH__KEYS__test: SECRET } });
  node.stdout.pipe(log);
  node.stderr.pipe(log);
  await until("the node answers", () => fetch("http://10.7.0.2:9090/readyz", { signal: AbortSignal.timeout(1_000) }).then(({ ok }) => ok));
});

after(async () => {
  await Promise.all(browsers.map((browser) => browser.close()));
  node?.kill("SIGTERM");
});

/** A page in a browser behind a NAT. */
async function open(side) {
  const folder = mkdtempSync(join(tmpdir(), "nat-"));
  const inside = join(folder, "chromium");
  writeFileSync(inside, `#!/bin/sh\nexec nsenter --net=/run/netns/home-${side} ${CHROMIUM} "$@"\n`);
  chmodSync(inside, 0o755);
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
  const browser = await puppeteer.launch({ executablePath: inside, headless: true, pipe: true, userDataDir: join(folder, "profile"), args });
  browsers.push(browser);
  const page = (await browser.pages())[0] ?? (await browser.newPage());
  await page.goto(`http://${NODE}:8080/weir.js`);
  return page;
}

/** Makes one side's connection; `offer` is the other side's. What it says once all candidates are known. */
const begin = (page, iceServers, offer) =>
  page.evaluate(
    async ({ iceServers, offer }) => {
      globalThis.connection?.close();
      const connection = (globalThis.connection = new RTCPeerConnection({ iceServers }));
      if (offer) await connection.setRemoteDescription(offer);
      else {
        const canvas = document.createElement("canvas");
        const paint = () => {
          canvas.getContext("2d").fillStyle = `hsl(${performance.now() % 360} 80% 50%)`;
          canvas.getContext("2d").fillRect(0, 0, canvas.width, canvas.height);
        };
        setInterval(paint, 50);
        const [track] = canvas.captureStream(20).getTracks();
        connection.addTrack(track);
      }
      await connection.setLocalDescription();
      const known = () => connection.iceGatheringState === "complete";
      for (const start = Date.now(); !known() && Date.now() - start < 15_000; ) await new Promise((done) => setTimeout(done, 50));
      return connection.localDescription.toJSON();
    },
    { iceServers, offer },
  );

/** Frames decoded, the state of ICE, and what kind of candidates are in use. */
const seen = (page) =>
  page.evaluate(async () => {
    const { connection } = globalThis;
    const stats = await connection.getStats();
    const all = [...stats.values()];
    const pair = stats.get(all.find(({ type, selectedCandidatePairId }) => type === "transport" && selectedCandidatePairId)?.selectedCandidatePairId);
    const kinds = [pair?.localCandidateId, pair?.remoteCandidateId].map((id) => stats.get(id)?.candidateType);
    const frames = all.find(({ type }) => type === "inbound-rtp")?.framesDecoded ?? 0;
    return { frames, kinds, state: connection.iceConnectionState };
  });

test("what STUN tells does not bring them together; the relay does", { timeout: 180_000 }, async () => {
  const [a, b] = [await open("a"), await open("b")];
  const ask = async (page, name) =>
    page.evaluate(async (bearer) => (await (await fetch("/v1/ice", { headers: bearer ? { authorization: `Bearer ${bearer}` } : {} })).json()).ice_servers, name && token("nat", name));
  const plain = (servers) => servers.map(({ urls, username, credential }) => (username ? { urls, username, credential } : { urls }));
  const meet = async (serversOfA, serversOfB) => {
    const offer = await begin(a, plain(serversOfA));
    const answer = await begin(b, plain(serversOfB), offer);
    await a.evaluate((answer) => globalThis.connection.setRemoteDescription(answer), answer);
    return [offer, answer];
  };

  const [offer] = await meet(await ask(a), await ask(b));
  assert.match(offer.sdp, /typ srflx/, "STUN told where it is seen");
  await until("ICE gives up", async () => ["failed", "disconnected"].includes((await seen(a)).state), 60_000);
  assert.equal((await seen(b)).frames, 0);

  const [relayed] = await meet(await ask(a, "a"), await ask(b, "b"));
  assert.match(relayed.sdp, /typ relay/);
  await until("frames are decoded behind the other NAT", async () => (await seen(b)).frames >= 20, 30_000);
  const { kinds } = await seen(b);
  assert.ok(kinds.includes("relay"), `in use: ${kinds}`);
});
