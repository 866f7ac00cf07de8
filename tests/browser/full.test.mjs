// An edge that is full sends a newcomer to another, and the call is one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { faults, Person } from "./support/person.mjs";
import { startServer } from "./support/server.mjs";

test("who finds an edge full is let in at another", { timeout: 180_000 }, async () => {
  const server = await startServer("full", { regions: true, set: ["limits.members=1"] });
  const [ada, ben] = ["Ada", "Ben"].map((name) => new Person(name, server));
  try {
    await Promise.all([ada.open(), ben.open()]);
    await ada.join("crowded", { query: "video=180" });
    await ben.join("crowded", { query: "video=180" });
    const edges = await Promise.all([ada, ben].map(({ page }) => page.evaluate(() => globalThis.weirRoom.edge.id)));
    assert.notEqual(edges[0], edges[1]);
    await Promise.all([ada.seesMoving("Ben"), ben.seesMoving("Ada")]);
    assert.deepEqual(faults([ada, ben]), []);
  } finally {
    await Promise.all([ada, ben].map((person) => person.close()));
    await server.stop();
  }
});
