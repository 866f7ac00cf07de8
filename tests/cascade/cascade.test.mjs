// The cascade as people meet it: real nodes in three regions, real Chromiums at the outer ones, real packets lost. A short version
// of the measurements beside it; what is asserted leaves room for an unoptimised build on a busy machine. Run by `tests/run cascade`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { kills, summary } from "./kills.mjs";
import { lossy } from "./lossy.mjs";
import { partition } from "./partition.mjs";

test("a call over two lossy paths goes on without a freeze worth the name", async (context) => {
  const rows = await lossy({ losses: [2], rtt: 80, seconds: 10, warm: 5, arms: ["cascade"], watchers: false });
  for (const row of rows) {
    context.diagnostic(JSON.stringify(row));
    const what = `${row.to} sees ${row.from}: ${JSON.stringify(row)}`;
    assert.ok(row.fps >= 0.7 * row.sent_fps && row.fps > 7, what);
    assert.ok(row.complete >= 0.9, what);
    assert.ok(row.frozen_ms < 3_000, what);
    assert.ok(row.concealed < 0.15, what);
  }
});

test("the picture comes back within two seconds after the core in the middle died, and stays when it is drained", async (context) => {
  const rows = await kills({ kills: 2, drains: 1, restart: 500, rtt: 80, detour: true, watchers: false });
  context.diagnostic(JSON.stringify(summary(rows)));
  for (const row of rows) assert.ok(row.gap_ms < (row.what === "kill" ? 4_000 : 1_000), JSON.stringify(row));
  assert.ok(summary(rows)[0].p50_ms <= 2_000, JSON.stringify(rows));
});

test("a region that is cut off calls on by itself, and is one room with the others again", async (context) => {
  const rows = await partition({ seconds: 12, times: 1, rtt: 80 });
  context.diagnostic(JSON.stringify(rows));
  for (const row of rows) {
    assert.equal(row.chat, "each line once");
    assert.ok(row.near_gap_ms < 2_000, JSON.stringify(row));
  }
});
