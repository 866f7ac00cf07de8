// Calls through the embedded TURN server alone, as from networks that let nothing else through: over UDP, and over TCP. What is
// asserted is decoded, and that each pair of candidates is a relayed one.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { gather } from "./support/gather.mjs";

describe("a call through the relay", { timeout: 300_000 }, () => {
  const here = gather("relay");

  /** @param {string} name @param {(page: import("puppeteer-core").Page) => Promise<unknown>} [prepare] */
  const person = async (name, prepare) => {
    const one = await here.person(name);
    await prepare?.(one.page);
    return one;
  };

  /** Which way a person's media takes: kind and protocol of the candidate in use. @param {import("./support/person.mjs").Person} person */
  const way = (person) =>
    person.page.evaluate(async () => {
      const stats = await globalThis.testConnection.getStats();
      const all = [...stats.values()];
      const { selectedCandidatePairId } = all.find(({ type, selectedCandidatePairId }) => type === "transport" && selectedCandidatePairId);
      const { candidateType, relayProtocol } = stats.get(stats.get(selectedCandidatePairId).localCandidateId);
      return { candidateType, relayProtocol };
    });

  /** Leaves only the TURN URLs of one kind, as a firewall would. @param {string} kept */
  const only = (kept) => (page) =>
    page.evaluateOnNewDocument((kept) => {
      const Connection = globalThis.RTCPeerConnection;
      globalThis.RTCPeerConnection = class extends Connection {
        constructor(how) {
          const servers = (how?.iceServers ?? []).map((server) => ({ ...server, urls: server.urls.filter((url) => url.includes(kept)) }));
          super(how && { ...how, iceServers: servers.filter(({ urls }) => urls.length > 0) });
        }
      };
    }, kept);

  test("two see and hear each other, one over UDP and one over TCP", async () => {
    const ada = await (await person("Ada", only("transport=udp"))).join("relayed", { query: "video=360&relay=only" });
    const ben = await (await person("Ben", only("transport=tcp"))).join("relayed", { query: "video=360&relay=only" });
    for (const [one, other] of [[ada, "Ben"], [ben, "Ada"]]) {
      const video = await one.seesMoving(other, { frames: 15 });
      assert.equal(video.codec, "VP8");
      await one.hears(other);
    }
    assert.deepEqual(await way(ada), { candidateType: "relay", relayProtocol: "udp" });
    assert.deepEqual(await way(ben), { candidateType: "relay", relayProtocol: "tcp" });
  });

  test("whoever has another way takes it", async () => {
    const ada = await (await person("Ada")).join("direct");
    const ben = await (await person("Ben")).join("direct", { query: "video=360&relay=only" });
    await ada.seesMoving("Ben");
    await ben.seesMoving("Ada");
    assert.notEqual((await way(ada)).candidateType, "relay");
    assert.equal((await way(ben)).candidateType, "relay");
  });

  test("two who are relayed reach each other without the room's server", async () => {
    // As a 1:1 call does: both ends are relayed addresses of this server.
    const ada = await person("Ada");
    await ada.page.goto(`${here.server.url}/`);
    const heard = await ada.page.evaluate(async () => {
      const asked = await fetch("/v1/dev/token", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ room: "r", name: "Ada" }) });
      const { token } = await asked.json();
      const answer = await fetch("/v1/ice", { headers: { authorization: `Bearer ${token}` } });
      const { ice_servers } = await answer.json();
      const iceServers = ice_servers.map(({ urls, username, credential }) => (username ? { urls, username, credential } : { urls }));
      const [here, there] = [0, 1].map(() => new RTCPeerConnection({ iceServers, iceTransportPolicy: "relay" }));
      here.onicecandidate = ({ candidate }) => candidate && there.addIceCandidate(candidate);
      there.onicecandidate = ({ candidate }) => candidate && here.addIceCandidate(candidate);
      const channel = here.createDataChannel("words");
      const arrived = new Promise((done) => (there.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => done(data))));
      channel.onopen = () => channel.send("by two relays");
      await here.setLocalDescription();
      await there.setRemoteDescription(here.localDescription);
      await there.setLocalDescription();
      await here.setRemoteDescription(there.localDescription);
      return Promise.race([arrived, new Promise((done) => setTimeout(() => done(`nothing; ICE is ${here.iceConnectionState}`), 20_000))]);
    });
    assert.equal(heard, "by two relays");
  });
});
