// Calls from browser to browser where NATs stand between: two behind symmetric ones are relayed by the node's TURN server, two behind
// cone NATs are not until their path is cut, and a relay that is a long way round is left for the room's server. The world is that of `support/nats.mjs`.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Caller } from "../browser/support/caller.mjs";
import { NODE, Nats } from "./support/nats.mjs";
import { token } from "./support/world.mjs";

const nats = new Nats("calls");
/** @type {Caller} */ let ada;
/** @type {Caller} */ let ben;
let rooms = 0;

before(async () => {
  await nats.start();
  const open = (name, side) => {
    const server = { url: nats.url, admits: (room, name) => token(room, name.toLowerCase(), { name }) };
    return new Caller(name, server).open({ inside: (program) => nats.at(side, program), args: [`--unsafely-treat-insecure-origin-as-secure=${nats.url}`] });
  };
  [ada, ben] = await Promise.all([open("Ada", "a"), open("Ben", "b")]);
});

after(async () => {
  await Promise.all([ada, ben].map((one) => one?.close()));
  await nats.close();
});

/** Ada rings Ben, and both see each other. @param {{ [option: string]: unknown }} [options] */
async function call(options) {
  rooms += 1;
  await Promise.all([ada, ben].map((one) => one.meet(`nats-${rooms}`, options)));
  await ben.answers("accept");
  await ada.rings("Ben", { video: { width: 320, height: 180 } });
  await Promise.all([ada.call("connected"), ben.call("connected")]);
  await Promise.all([ada.watches("Ben", 20), ben.watches("Ada", 20)]);
}

/** The pair of candidates in use: kinds and addresses, and frames decoded over it. @param {Caller} one */
const pair = (one) =>
  one.page.evaluate(async () => {
    const { reports } = await globalThis.testCall.stats();
    const all = [...reports.values()];
    const chosen = reports.get(all.find(({ type, selectedCandidatePairId }) => type === "transport" && selectedCandidatePairId)?.selectedCandidatePairId);
    const ends = [chosen.localCandidateId, chosen.remoteCandidateId].map((id) => reports.get(id));
    const frames = all.find(({ type, kind }) => type === "inbound-rtp" && kind === "video")?.framesDecoded ?? 0;
    return { kinds: ends.map(({ candidateType }) => candidateType), addresses: ends.map(({ address }) => address), frames };
  });

/** Words and a file go both ways. */
async function talk() {
  const size = 200_000;
  for (const [one, other] of [[ada, ben], [ben, ada]]) {
    await other.page.evaluate(() => globalThis.testCall.on("file", ({ transfer }) => transfer.accept()));
    await one.page.evaluate((text) => globalThis.testCall.sendChat(text), `from ${one.name}`);
    await other.until("the words", (text) => globalThis.testCall.chat.some((line) => line.text === text), `from ${one.name}`);
    await one.page.evaluate((size) => void globalThis.testCall.sendFile(new File([new Uint8Array(size).fill(7)], "sevens")), size);
    await other.until("the file", () => globalThis.testCall.files.some(({ outgoing, state }) => !outgoing && state === "done"));
    const sevens = await other.page.evaluate(async () => {
      const { blob } = globalThis.testCall.files.find(({ outgoing }) => !outgoing);
      return new Uint8Array(await blob.arrayBuffer()).filter((byte) => byte === 7).length;
    });
    assert.equal(sevens, size);
  }
}

test("behind symmetric NATs it goes through the relay, pictures, words and files", { timeout: 120_000 }, async (context) => {
  await call({ calls: { autoMove: false } });
  await Promise.all([ada.goes("relayed"), ben.goes("relayed")]);
  await talk();
  const [adas, bens] = await Promise.all([pair(ada), pair(ben)]);
  context.diagnostic(JSON.stringify({ adas, bens }));
  for (const { kinds, addresses, frames } of [adas, bens]) {
    assert.ok(kinds.some((kind, end) => kind === "relay" && addresses[end] === NODE), "relayed by the node");
    assert.ok(frames >= 20);
  }
  // One of the two files at least went this way.
  const { weir_turn_bytes_to_peers_total: carried } = await nats.metrics();
  assert.ok(carried > 200_000, `${carried} bytes were relayed`);
  await ada.does("hangUp");
  await ben.call("ended", "hung_up");
});

test("behind cone NATs it goes straight, and through the relay once that path is cut", { timeout: 120_000 }, async (context) => {
  for (const side of /** @type {const} */ (["a", "b"])) nats.translate(side, "cone");
  await call({ calls: { autoMove: false } });
  await Promise.all([ada.goes("direct"), ben.goes("direct")]);
  await talk();
  context.diagnostic(JSON.stringify(await Promise.all([pair(ada), pair(ben)])));
  await Promise.all([ada.watchPicture("Ben"), ben.watchPicture("Ada")]);
  nats.part();
  await Promise.all([ada.goes("relayed"), ben.goes("relayed")]);
  await Promise.all([ada.watches("Ben", 20), ben.watches("Ada", 20)]);
  const frozen = [await ada.frozen("Ben"), await ben.frozen("Ada")].map(({ longest }) => Math.round(longest));
  context.diagnostic(`back by the relay after ${frozen.join(" and ")} ms`);
  await ada.does("hangUp");
  await ben.call("ended", "hung_up");
});

test("a relay that is a long way round is left for the room's server, and nobody goes dark", { timeout: 120_000 }, async (context) => {
  for (const side of /** @type {const} */ (["a", "b"])) {
    nats.translate(side, "symmetric");
    nats.relayIsFar(side, 120);
  }
  await call();
  await ada.until("relayed, and far", () => globalThis.testCall.via === "relayed" && globalThis.testCall.rtt > 200);
  const { kinds } = await pair(ada);
  assert.ok(kinds.includes("relay") && kinds.some((kind) => kind !== "relay"), `one relay, so that only time speaks for the server: ${kinds}`);
  context.diagnostic(`by the relay ${Math.round(await ada.of("rtt"))} ms, to the server ${Math.round(await ada.page.evaluate(() => globalThis.weirRoom.rtt))} ms`);
  await Promise.all([ada.watchPicture("Ben"), ben.watchPicture("Ada")]);
  await Promise.all([ada.goes("room"), ben.goes("room")]);
  await Promise.all([ada.watches("Ben", 20), ben.watches("Ada", 20)]);
  const frozen = [await ada.frozen("Ben"), await ben.frozen("Ada")].map(({ longest }) => Math.round(longest));
  context.diagnostic(`stood still for ${frozen.join(" and ")} ms at most`);
  assert.ok(Math.max(...frozen) < 2_000);
  await ada.does("hangUp");
  await ben.call("ended", "hung_up");
});
