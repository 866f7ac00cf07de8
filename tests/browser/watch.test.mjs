// `/watch/ROOM`: somebody who is not in the room sees and hears who speaks there, from another region, hears only after a click where
// the browser wants one, and sees it again when the server that carried it is gone.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { faults, Person } from "./support/person.mjs";
import { startServer } from "./support/server.mjs";

describe("watching", { timeout: 240_000 }, () => {
  let server;
  /** @type {string[]} */
  let edges;
  /** @type {Person[]} */
  const people = [];

  /** @param {string} name @param {string} url @param {Parameters<Person["open"]>[0]} [how] */
  const person = async (name, url, how) => {
    const one = new Person(name, { url });
    people.push(one);
    return one.open(how);
  };
  const live = (/** @type {Person} */ who) => who.see('[data-testid="watch"][data-live="true"]');
  const frames = (/** @type {Person} */ who) => who.page.evaluate(() => document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames);

  before(async () => {
    server = await startServer("watch", { regions: true });
    // They find each other in the first moment.
    for (const start = Date.now(); ; await new Promise((done) => setTimeout(done, 100))) {
      edges = (await (await fetch(`${server.url}/v1/edges`)).json()).edges.map(({ url }) => url);
      if (edges.length === 3) break;
      assert.ok(Date.now() - start < 20_000, String(edges));
    }
  });
  after(async () => {
    const complaints = faults(people, /status of 401|ERR_CONNECTION_REFUSED/);
    await Promise.all(people.map((one) => one.close()));
    await server?.stop();
    assert.deepEqual(complaints, [], "the pages complained");
  });

  test("an empty room says so, and whoever comes is seen in another region", async () => {
    // As browsers are out of the box: no sound before a click.
    const tv = await person("Tv", edges[2]);
    await tv.page.goto(`${edges[2]}/watch/studio`);
    await tv.see('[data-testid="watch"][data-state="connected"]');
    await tv.shot("watch-1-empty");
    const ada = await person("Ada", edges[0]);
    await ada.join("studio");
    await live(tv);
    await tv.until("frames", () => document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames > 20);
    await tv.shot("watch-2-live");
    // Nobody in the room sees a viewer.
    assert.equal(await ada.page.evaluate(() => globalThis.weirRoom.members.size), 0);
  });

  test("the sound comes with a click, and is heard", async () => {
    const tv = people[0];
    if (await tv.page.$('[data-testid="sound"]')) {
      await tv.shot("watch-3-sound");
      await tv.click("sound");
    }
    await tv.until("sound", async () => {
      const stats = [...((await globalThis.weirViewer.stats()) ?? new Map()).values()];
      return !document.querySelector("video").muted && stats.some(({ type, kind, totalAudioEnergy }) => type === "inbound-rtp" && kind === "audio" && totalAudioEnergy > 0);
    });
    await tv.press("m");
    assert.ok(await tv.page.evaluate(() => document.querySelector("video").muted));
    await tv.press("m");
    assert.ok(!(await tv.page.evaluate(() => document.querySelector("video").muted)));
  });

  test("when the server is gone another one shows it", async () => {
    const tv = people[0];
    const admin = new URL(server.dashboard).origin;
    const { edges: known } = await (await fetch(`${edges[2]}/v1/edges`)).json();
    const { id } = known[0];
    const died = Date.now();
    const answer = await fetch(`${admin}/v1/admin/dev/node`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ node: id, action: "kill" }) });
    assert.ok(answer.ok, `${answer.status} ${await answer.text()}`);
    await tv.until("a session elsewhere", (gone) => globalThis.weirViewer.state === "connected" && !performance.getEntriesByType("resource").findLast(({ name }) => name.includes("/whep/")).name.startsWith(gone), edges[2]);
    console.log(`# at another server after ${Date.now() - died} ms`);
    const before = await frames(tv);
    await tv.until("frames again", (before) => document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames > before + 20, before);
    await live(tv);
  });

  test("one member can be watched, and a wrong token says what is missing", async () => {
    const ada = people[1];
    const identity = await ada.page.evaluate(() => globalThis.weirRoom.local.identity);
    const tv = await person("Pocket", edges[0], { viewport: { width: 390, height: 780 }, args: ["--autoplay-policy=no-user-gesture-required"] });
    await tv.page.goto(`${edges[0]}/watch/studio?member=${identity}#token=nonsense`);
    await tv.see('[data-testid="refused"]');
    await tv.shot("watch-4-refused");
    const token = await tv.page.evaluate(async () => {
      const asked = { room: "studio", identity: "tv", name: "tv" };
      return (await (await fetch("/v1/dev/token", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked) })).json()).token;
    });
    await tv.type("token", token);
    await tv.page.keyboard.press("Enter");
    await live(tv);
    await tv.shot("watch-5-phone");
  });
});
