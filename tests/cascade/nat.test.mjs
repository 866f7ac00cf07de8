// Two browsers, each behind a NAT of its own that gives every destination another port and lets only that one answer. They can't
// reach each other by what STUN tells them; by the node's TURN server they can. The world is that of `support/nats.mjs`.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Nats } from "./support/nats.mjs";
import { ROOT, token, until } from "./support/world.mjs";

const require = createRequire(join(ROOT, "tests/browser/package.json"));
const { default: puppeteer } = await import(pathToFileURL(require.resolve("puppeteer-core")).href);

const CHROMIUM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path)) ?? "chromium";

const nats = new Nats("nat");
const browsers = [];

before(() => nats.start());

after(async () => {
  await Promise.all(browsers.map((browser) => browser.close()));
  await nats.close();
});

/** A page in a browser behind a NAT. */
async function open(side) {
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
  const browser = await puppeteer.launch({ executablePath: nats.at(side, CHROMIUM), headless: true, pipe: true, userDataDir: mkdtempSync(join(tmpdir(), "profile-")), args });
  browsers.push(browser);
  const page = (await browser.pages())[0] ?? (await browser.newPage());
  await page.goto(`${nats.url}/weir.js`);
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
