// The operator's dashboard against a cluster that is not there: what it makes of the figures, what it sends when things are
// broken on purpose, and what it says when the node does not answer.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { place } from "../../web/dashboard/layout.js";
import { linkKey, Model } from "../../web/dashboard/model.js";
import { Cluster, serve } from "./support/cluster.mjs";
import { faults, Person } from "./support/person.mjs";

describe("what the dashboard concludes", () => {
  const taken = (cluster, model = new Model(), at = 0) => {
    model.take(cluster.cascade(), at);
    return model;
  };

  test("each link is there once, with what its two ends say", () => {
    const cluster = new Cluster();
    cluster.paths.set("iad|fra", { loss: 0.25 });
    const model = taken(cluster);
    assert.deepEqual([...model.links.keys()], ["fra|iad", "fra|sin", "iad|sin"]);
    const link = model.links.get(linkKey("iad", "fra"));
    assert.equal(link.there.loss, 0);
    assert.equal(link.back.loss, 0.25);
  });

  test("one node's word is enough to draw the links of all", () => {
    const cluster = new Cluster();
    const model = new Model();
    model.take({ nodes: [cluster.status("fra")] }, 0);
    assert.equal(model.links.size, 3);
    assert.deepEqual([...model.nodes.values()].map(({ id, here }) => [id, here]), [["fra", true], ["iad", false], ["sin", false]]);
  });

  test("a tree follows the ways that were told, by whichever end", () => {
    const cluster = new Cluster();
    const hops = (model) => model.tracks.get("t00000000000a11").hops.map(({ from, to }) => `${from}>${to}`).sort();
    assert.deepEqual(hops(taken(cluster)), ["fra>iad", "fra>sin"]);
    for (const key of ["fra|sin", "sin|fra"]) cluster.paths.set(key, { partition: true });
    assert.deepEqual(hops(taken(cluster)), ["fra>iad", "iad>sin"]);
    const alone = new Model();
    alone.take({ nodes: [cluster.status("sin")] }, 0);
    assert.deepEqual(hops(alone), ["fra>iad", "iad>sin"], "the end of the way knows all of it");
  });

  test("who goes is remembered for a while, and told once", () => {
    const cluster = new Cluster();
    const model = taken(cluster);
    cluster.running.delete("iad");
    taken(cluster, model, 1_000);
    taken(cluster, model, 2_000);
    assert.equal(model.nodes.get("iad").gone, true);
    assert.equal(model.links.get("fra|iad").up, false);
    assert.deepEqual(model.events.map(({ text }) => text), ["iad can't be reached any more"]);
    cluster.running.add("iad");
    taken(cluster, model, 3_000);
    assert.equal(model.events[0].text, "the link iad – sin is up again");
    cluster.running.delete("iad");
    taken(cluster, model, 4_000);
    taken(cluster, model, 4_000 + 301_000);
    assert.equal(model.nodes.has("iad"), false);
    assert.equal(model.history.has("iad"), false);
  });

  test("five minutes are kept and no more", () => {
    const cluster = new Cluster();
    const model = new Model();
    for (let turn = 0; turn < 400; turn += 1) taken(cluster, model, turn * 1_000);
    assert.equal(model.history.get("fra|iad").rtt.length, 300);
  });

  test("whatever the regions, all stand on the map and apart", () => {
    for (let count = 1; count <= 12; count += 1) {
      for (const star of [false, true]) {
        const names = Array.from({ length: count }, (_, index) => `r${index}`);
        const regions = new Map(names.map((name) => [name, [{ id: name }]]));
        const links = names.flatMap((a, index) => names.slice(index + 1).filter((b) => !star || a === "r0" || a === "r1").map((b) => ({ a, b })));
        const places = place(regions, links, 900, 560);
        for (const one of places) {
          assert.ok(one.x - one.r >= 0 && one.x + one.r <= 900 && one.y - one.r >= 0 && one.y + one.r <= 560, `${count}: ${JSON.stringify(one)}`);
          for (const other of places) assert.ok(one === other || Math.hypot(one.x - other.x, one.y - other.y) > 50, `${count}: ${one.id} on ${other.id}`);
        }
      }
    }
  });
});

describe("the dashboard", { timeout: 120_000 }, () => {
  const cluster = new Cluster();
  let server;
  /** @type {Person} */ let olga;

  before(async () => {
    server = await serve(cluster);
    olga = await new Person("Olga", server).open({ viewport: { width: 1300, height: 900 } });
    await olga.page.goto(server.url);
  });
  after(async () => {
    await olga?.close();
    await server?.stop();
  });

  const label = (key) => olga.page.$eval(`[data-testid="link"][data-link="${key}"]`, (link) => link.getAttribute("aria-label"));

  test("shows nodes and links with figures in words", async () => {
    await olga.see('[data-testid="node"][data-node="sin"]');
    assert.match(await label("fra|iad"), /^Link fra to iad: 9\d ms, there \d/);
    assert.equal(await olga.page.$$eval('[data-testid="node-row"]', (rows) => rows.length), 3);
    await olga.shot("dashboard-01-map");
  });

  test("a link opens by keyboard, with its last minutes", async () => {
    await olga.page.$eval('[data-testid="link"][data-link="fra|sin"]', (link) => link.focus());
    await olga.press("Enter");
    await olga.until("figures", () => /Round trip/.test(document.querySelector('[data-testid="details"]')?.textContent ?? ""));
    await olga.press("Escape");
    await olga.unsee('[data-testid="details"]');
  });

  test("a track's tree is drawn and told", async () => {
    await olga.click("room");
    await (await olga.see('[data-room="stand-up"] button')).click();
    await (await olga.see('[data-track="t00000000000a11"]')).click();
    await olga.until("two hops", () => document.querySelectorAll(".hop").length === 2);
    assert.match(await olga.text("details"), /fra publisher.*kbps.*720p: wanted, nothing comes/s);
    await olga.shot("dashboard-02-tree");
    await olga.press("Escape");
  });

  test("a path is made worse, cut and healed, in both directions", async () => {
    await olga.click("preset-lossy");
    await olga.until("the loss on the map", () => /5\.0 %/.test(document.querySelector('[data-link="fra|iad"]').getAttribute("aria-label")));
    const [path, body] = cluster.asked.at(-1);
    assert.equal(path, "/v1/admin/dev/path");
    assert.deepEqual(body, { from: "fra", to: "iad", both: true, impairment: { delay_ms: 45, jitter_ms: 8, loss: 0.05, burst: 3, rate_kbps: 0, queue_ms: 0, partition: false } });
    await olga.click("partition");
    await olga.see('[data-testid="link"][data-link="fra|iad"].down');
    await olga.shot("dashboard-03-cut");
    await olga.click("partition");
    await olga.until("the link back", () => !document.querySelector('[data-link="fra|iad"]').classList.contains("down"));
    assert.equal(cluster.asked.at(-1)[1].impairment.loss, 0.05, "what else was set stays");
    await olga.page.focus('[data-testid="slide-delay_ms"]');
    for (let press = 0; press < 3; press += 1) await olga.press("ArrowRight");
    await olga.until("a longer way", () => document.querySelector('[data-testid="slide-delay_ms"]').value === "60");
    await new Promise((done) => setTimeout(done, 400));
    assert.equal(cluster.asked.at(-1)[1].impairment.delay_ms, 60);
  });

  test("nodes are killed, started and, after a second press, drained", async () => {
    await (await olga.see('[data-node="iad"] [data-testid="dev-kill"]')).click();
    await olga.see('[data-testid="node"][data-node="iad"][data-state="gone"]');
    await olga.until("the news", () => /iad can't be reached/.test(document.querySelector(".events").textContent));
    await (await olga.see('[data-node="iad"] [data-testid="dev-start"]')).click();
    await olga.see('[data-testid="node"][data-node="iad"][data-state="serving"]');
    const drain = '[data-testid="node-row"][data-node="sin"] [data-testid="drain"]';
    await (await olga.see(drain)).click();
    assert.equal(cluster.draining.size, 0);
    await (await olga.see(drain)).click();
    await olga.see('[data-testid="node"][data-node="sin"][data-state="draining"]');
  });

  test("names are only ever text", async () => {
    cluster.extra = [{ ...cluster.status("fra"), me: null, nodes: [{ ...cluster.info("fra"), id: "<img src=x>", region: "<b>", neighbours: [] }], links: [], tracks: [], region_links: [] }];
    await olga.see('[data-testid="node-row"][data-node="<img src=x>"]');
    assert.equal(await olga.page.$$eval("td img, svg img, td b", (all) => all.length), 0);
    cluster.extra = [];
  });

  test("fits a phone", async () => {
    await olga.page.setViewport({ width: 390, height: 844 });
    await new Promise((done) => setTimeout(done, 300));
    assert.equal(await olga.page.evaluate(() => document.documentElement.scrollWidth), 390);
    await olga.shot("dashboard-04-phone");
  });

  test("a node that does not answer is said so, and what was known stays", async () => {
    await server.stop();
    await olga.see('[data-testid="unreachable"]');
    assert.match(await olga.text("unreachable"), /What you see is from \d/);
    assert.ok(await olga.page.$('[data-testid="node"][data-node="fra"]'));
    await olga.shot("dashboard-05-gone");
    server = await serve(cluster, Number(new URL(server.url).port));
    await olga.unsee('[data-testid="unreachable"]');
  });

  test("the page complained of nothing", () => assert.deepEqual(faults([olga], /ERR_CONNECTION_REFUSED/), []));
});
