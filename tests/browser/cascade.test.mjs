// Two people in two regions of one `weir dev`, and what they see while the cluster between them breaks: paths are cut and made
// worse, nodes die and drain. What is measured is how long a tile painted no frame.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { faults, Person } from "./support/person.mjs";
import { startServer } from "./support/server.mjs";

const ROOM = "across";
/** Where Ada and Ben come in, and the region between whose death the direct way survives. */
const [ADAS, BENS, THIRD] = (process.env.WEIR_TEST_REGIONS ?? "iad,sin,fra").split(",");
/** No picture may stand still for longer, in milliseconds, when a way is cut or a node on it dies. */
const REPAIRED_WITHIN = 4_000;
/** Nor when somebody is asked to move to another edge. */
const MOVED_WITHIN = 2_000;
/** Members of an edge that dies without a word are elsewhere by then. */
const ELSEWHERE_WITHIN = 8_000;

describe("a call across regions", { timeout: 600_000 }, () => {
  let server;
  /** @type {any} */ let dev;
  /** @type {Person} */ let ada;
  /** @type {Person} */ let ben;
  /** @type {Person} */ let olga;

  const admin = async (path, body) => {
    const how = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const response = await fetch(`${server.dashboard}${path}`, how);
    const text = await response.text();
    assert.ok(response.ok, `${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  };
  const nodeOf = (region) => dev.regions.find((each) => each.region === region).node;
  const pathNow = async (from, to) => (await admin("/v1/admin/dev")).paths.find((path) => path.from === from && path.to === to).impairment;
  const impair = async (from, to, change) => admin("/v1/admin/dev/path", { from, to, both: true, impairment: { ...(await pathNow(from, to)), ...change } });
  const act = (region, action) => admin("/v1/admin/dev/node", { node: nodeOf(region), action });

  /** Waits for what the nodes say of the cascade. */
  async function status(what, holds, within = 30_000) {
    let last;
    for (const start = Date.now(); Date.now() - start < within; ) {
      last = await admin("/v1/admin/cascade");
      if (holds(last.nodes)) return last.nodes;
      await new Promise((done) => setTimeout(done, 200));
    }
    throw new Error(`${what}: not within ${within} ms: ${JSON.stringify(last)}`);
  }
  const linked = (count) => status("the links are up", (nodes) => nodes.length === count && nodes.every(({ links }) => links.length === count - 1));

  /** The regions by which somebody's camera comes, the viewer's first. */
  const way = (person, name) => person.page.evaluate((name) => [...globalThis.weirRoom.members.values()].find((member) => member.name === name)?.track("camera")?.path.map(({ region }) => region) ?? [], name);
  const comesBy = (person, name, regions) =>
    person.until(`${name} comes by ${regions}`, ({ name, regions }) => [...globalThis.weirRoom.members.values()].find((member) => member.name === name)?.track("camera")?.path.map(({ region }) => region).join() === regions, { name, regions: regions.join() });

  /** Does something and says how long either picture stood still, at most. */
  async function watched(context, what, seconds, step) {
    await Promise.all([ada.watchPicture("Ben"), ben.watchPicture("Ada")]);
    await step();
    await new Promise((done) => setTimeout(done, seconds * 1_000));
    await Promise.all([ada.seesMoving("Ben"), ben.seesMoving("Ada")]);
    const [adas, bens] = [await ada.frozen("Ben"), await ben.frozen("Ada")];
    context.diagnostic(`${what}: Ada saw no frame for ${Math.round(adas.longest)} ms, Ben for ${Math.round(bens.longest)} ms`);
    return Math.max(adas.longest, bens.longest);
  }

  before(async () => {
    server = await startServer("cascade", { regions: true });
    dev = await admin("/v1/admin/dev");
    await linked(3);
    const at = (region) => ({ url: dev.regions.find((each) => each.region === region).url });
    ada = await new Person("Ada", at(ADAS)).open();
    ben = await new Person("Ben", at(BENS)).open();
    olga = await new Person("Olga", { url: server.dashboard }).open({ viewport: { width: 1300, height: 900 } });
    await olga.page.goto(server.dashboard);
    await ada.join(ROOM);
    await ben.join(ROOM);
  });

  after(async () => {
    await Promise.all([ada, ben, olga].map((person) => person?.close()));
    await server?.stop();
  });

  test("they see and hear each other", async () => {
    await Promise.all([ada.seesMoving("Ben", { frames: 30 }), ben.seesMoving("Ada", { frames: 30 })]);
    await Promise.all([ada.hears("Ben"), ben.hears("Ada")]);
  });

  test("chat goes both ways, once", async () => {
    await ada.page.evaluate(() => globalThis.weirRoom.sendChat("from Ada"));
    await ben.page.evaluate(() => globalThis.weirRoom.sendChat("from Ben"));
    for (const person of [ada, ben]) {
      await person.until("both lines", () => ["from Ada", "from Ben"].every((text) => globalThis.weirRoom.chat.filter((line) => line.text === text).length === 1));
    }
  });

  test("where everybody is and how the picture comes can be seen", async () => {
    assert.match(await ada.text("edge"), new RegExp(ADAS));
    await ada.press("i");
    await ada.until("the way in the overlay", () => /edge .* → .*edge /.test(document.querySelector('[data-testid="tile"][data-name="Ben"] [data-testid="tile-path"]')?.textContent ?? ""));
    await ada.click("people");
    await ada.until("Ben's region", (region) => document.querySelector('[data-testid="person"][data-name="Ben"] [data-testid="person-region"]')?.textContent.includes(region), BENS);
    await ada.shot("cascade-01-way");
    await ada.click("panel-close");
    await ada.press("i");
  });

  test("the dashboard draws the same way", async () => {
    const track = await ben.page.evaluate(() => [...globalThis.weirRoom.members.values()].find(({ name }) => name === "Ada").track("camera").id);
    await (await olga.see(`[data-testid="track"][data-track="${track}"]`)).click();
    const hops = (await way(ben, "Ada")).length - 1;
    await olga.until("its hops", (count) => document.querySelectorAll(".hop").length === count, hops);
    await olga.until("kilobits", () => /[1-9]\d* kbps/.test(document.querySelector(".tree")?.textContent ?? ""));
    await olga.shot("cascade-02-dashboard");
    await olga.press("Escape");
  });

  /** Cuts a path that Ada's picture takes to Ben, and waits for the other way. */
  async function cut(context, from, to, other) {
    const longest = await watched(context, `cut between ${from} and ${to}`, 6, () => impair(from, to, { partition: true }));
    await comesBy(ben, "Ada", other);
    assert.ok(longest < REPAIRED_WITHIN, `${longest} ms`);
    await olga.until("the link is drawn as down", (key) => document.querySelector(`[data-link="${key}"]`)?.classList.contains("down"), [nodeOf(from), nodeOf(to)].sort().join("|"));
  }

  test("a cut between two regions is gone round", async (context) => {
    if ((await way(ben, "Ada")).includes(THIRD)) {
      await cut(context, BENS, THIRD, [BENS, ADAS]);
      await impair(BENS, THIRD, { partition: false });
      await linked(3);
    }
    await cut(context, ADAS, BENS, [BENS, THIRD, ADAS]);
    await olga.shot("cascade-03-cut");
  });

  test("a node on the way dies, and the way is another", async (context) => {
    // The cut heals; the way stays as it is for a while, so that the third region is still on it.
    await impair(ADAS, BENS, { partition: false });
    await linked(3);
    assert.deepEqual(await way(ben, "Ada"), [BENS, THIRD, ADAS], "not back at once");
    const longest = await watched(context, "death", 6, () => act(THIRD, "kill"));
    await comesBy(ben, "Ada", [BENS, ADAS]);
    assert.ok(longest < REPAIRED_WITHIN, `${longest} ms`);
    await olga.see(`[data-testid="node"][data-node="${nodeOf(THIRD)}"][data-state="gone"]`);
    await olga.shot("cascade-04-death");
    await act(THIRD, "start");
    await linked(3);
  });

  test("both sides of a partition go on, and find each other again", async (context) => {
    await ada.page.evaluate(() => (globalThis.testJoins = 0));
    for (const other of [BENS, THIRD]) await impair(ADAS, other, { partition: true });
    await new Promise((done) => setTimeout(done, 6_000));
    for (const person of [ada, ben]) assert.equal(await person.page.evaluate(() => globalThis.weirRoom.state), "connected");
    await ada.page.evaluate(() => void globalThis.weirRoom.sendChat("said while cut off"));
    const start = Date.now();
    for (const other of [BENS, THIRD]) await impair(ADAS, other, { partition: false });
    await Promise.all([ada.seesMoving("Ben"), ben.seesMoving("Ada")]);
    context.diagnostic(`pictures ${Date.now() - start} ms after the cut was healed`);
    await ben.until("what was said", () => globalThis.weirRoom.chat.filter(({ text }) => text === "said while cut off").length === 1);
    for (const person of [ada, ben]) await person.until("two tiles", () => document.querySelectorAll('[data-testid="tile"]').length === 2);
    await linked(3);
  });

  test("a bad path, set on the dashboard, is measured and survived", async (context) => {
    const [near, far] = await way(ben, "Ada");
    const pair = [near, far].sort().join("|");
    await (await olga.see(`[data-testid="path-tab"][data-path="${pair}"]`)).click();
    const longest = await watched(context, "5 % loss in bursts of three", 12, () => olga.click("preset-lossy"));
    assert.equal((await pathNow(near, far)).loss, 0.05);
    assert.equal((await pathNow(far, near)).loss, 0.05);
    assert.ok(longest < 2_000, `${longest} ms`);
    const link = [nodeOf(near), nodeOf(far)].sort().join("|");
    await olga.until("loss on the map", (key) => !/ 0 % lost.* 0 % lost/.test(document.querySelector(`[data-link="${key}"]`).getAttribute("aria-label")), link);
    await olga.shot("cascade-05-lossy");
    await olga.click("preset-perfect");
  });

  test("who is at a node that drains moves, and no picture stops", async (context) => {
    const before = await ada.page.evaluate(() => {
      globalThis.testLeft = 0;
      globalThis.weirRoom.on("memberleft", () => (globalThis.testLeft += 1));
      return globalThis.weirRoom.edge.id;
    });
    const longest = await watched(context, "drain", 6, async () => {
      await act(ADAS, "drain");
      await ada.until("another edge", (before) => globalThis.weirRoom.edge.id !== before && globalThis.weirRoom.state === "connected", before);
    });
    for (const person of [ada, ben]) assert.deepEqual((await person.names()).sort(), ["Ada", "Ben"]);
    await Promise.all([ada.hears("Ben"), ben.hears("Ada")]);
    await olga.see(`[data-testid="node"][data-node="${before}"][data-state="draining"]`);
    await olga.shot("cascade-06-drained");
    assert.ok(longest < MOVED_WITHIN, `${longest} ms`);
    assert.equal(await ada.page.evaluate(() => globalThis.testLeft), 0, "nobody left");
    await act(ADAS, "kill");
    await act(ADAS, "start");
    await linked(3);
  });

  test("who is at a node that dies goes on at another, on the same page", async (context) => {
    const before = await ben.page.evaluate(() => globalThis.weirRoom.edge.id);
    await ben.page.evaluate(() => {
      globalThis.testLeft = 0;
      new MutationObserver(() => (globalThis.testLeft += Number(!document.querySelector('[data-testid="call"]')))).observe(document.body, { childList: true, subtree: true });
    });
    const longest = await watched(context, "the own edge's death", 3, async () => {
      await act(BENS, "kill");
      await ben.until("another edge", (before) => globalThis.weirRoom.edge.id !== before && globalThis.weirRoom.state === "connected", before);
    });
    assert.ok(longest < ELSEWHERE_WITHIN, `${longest} ms`);
    assert.equal(await ben.page.evaluate(() => globalThis.testLeft), 0, "the call stayed on screen");
    for (const person of [ada, ben]) await person.until("two tiles", () => document.querySelectorAll('[data-testid="tile"]').length === 2);
    await Promise.all([ada.hears("Ben"), ben.hears("Ada")]);
    await ben.shot("cascade-07-elsewhere");
  });

  test("the pages complained of nothing", () => assert.deepEqual(faults([ada, ben, olga], /WebSocket connection to|ERR_CONNECTION_REFUSED|\/v1\/admin\/(dev|rooms)\)/), []));
});
