// How long the picture stands still when the core in the middle dies and comes back, and that it does not when it is drained.
//
//   node tests/cascade/kills.mjs --help

import "./support/isolated.mjs";
import { fileURLToPath } from "node:url";
import { Call } from "./support/call.mjs";
import { flags, keep, main, percentile, round } from "./support/measure.mjs";
import { path, sleep, until, World } from "./support/world.mjs";

const MIDDLE = "m-core";
/** How long after a fault frames are looked at. */
const LOOK = 8_000;

/**
 * @param {{ kills: number, drains: number, restart: number, rtt: number, detour: boolean, watchers: boolean }} how `restart`: how
 *   many milliseconds after its death it is started again.
 * @returns {Promise<Record<string, any>[]>} A row for each fault and receiver.
 */
export async function kills({ kills, drains, restart, rtt, detour, watchers }) {
  const world = new World("kills", { detour });
  let call;
  const rows = [];
  try {
    await world.start(path(rtt));
    call = new Call(world, "kills");
    const [ada, eve] = [await call.join("ada", "west"), await call.join("eve", "east")];
    const receivers = [{ to: ada, from: eve }, { to: eve, from: ada }];
    if (watchers) receivers.push({ to: await call.join("wes", "west", { publish: false }), from: eve }, { to: await call.join("eli", "east", { publish: false }), from: ada });
    /** Whole again: both ways through the middle, and painted. */
    const whole = async () => {
      await world.isJoined();
      await until("the way leads through the middle", async () => {
        const ways = await Promise.all(["w-edge", "e-edge"].map((id) => world.path(id)));
        if (!ways.every((way) => way.includes(MIDDLE))) throw new Error(`the ways are ${ways.map((way) => way.join(" ")).join(" and ")}`);
        return true;
      }, 180_000, 500);
      for (const { to, from } of receivers) await to.paints([from.name]);
      await sleep(2_000);
    };
    const faults = async (what, count, fault) => {
      for (let number = 1; number <= count; number++) {
        await whole();
        const freezes = async () => new Map(await Promise.all(receivers.map(async ({ to, from }) => [to, (await to.counts())[from.name]?.video ?? {}])));
        const before = await freezes();
        const at = Date.now();
        await fault();
        await sleep(Math.max(0, at + LOOK - Date.now()));
        const end = Date.now();
        for (const { to, from } of receivers) await to.paints([from.name]);
        const after = await freezes();
        for (const { to, from } of receivers) {
          const { [from.name]: gap_ms } = await to.gaps([from.name], at - 200, Math.max(end, Date.now()));
          const count = (key) => after.get(to)[key] - before.get(to)[key];
          rows.push({ what, number, to: to.name, from: from.name, gap_ms, freezes: count("freezeCount"), frozen_ms: round(count("totalFreezesDuration") * 1_000) });
        }
        console.log(`${what} ${number}: longest gaps ${rows.slice(-receivers.length).map(({ to, gap_ms, freezes }) => `${to} ${gap_ms} ms, ${freezes} freezes`).join("; ")}`);
      }
    };
    await faults("kill", kills, async () => {
      await world.kill(MIDDLE);
      await sleep(restart);
      world.launch(MIDDLE);
      await world.isUp(MIDDLE);
    });
    await faults("drain", drains, async () => {
      const started = Date.now();
      await world.drain(MIDDLE);
      console.log(`drained within ${Date.now() - started} ms`);
      await world.terminate(MIDDLE);
      world.launch(MIDDLE);
      await world.isUp(MIDDLE);
    });
    return rows;
  } finally {
    await call?.close();
    await world.close();
  }
}

/** One line for each kind of fault. */
export function summary(rows) {
  return [...new Set(rows.map(({ what }) => what))].map((what) => {
    const these = rows.filter((row) => row.what === what);
    const gaps = these.map(({ gap_ms }) => gap_ms);
    return { what, faults: new Set(these.map(({ number }) => number)).size, gaps: gaps.length, p50_ms: percentile(gaps, 0.5), p95_ms: percentile(gaps, 0.95), max_ms: Math.max(...gaps), freezes: these.reduce((sum, { freezes }) => sum + freezes, 0) };
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const given = flags("The core in the middle is killed and restarted, then drained and restarted, during a call.", {
      kills: { help: "how often it dies", default: "20" },
      drains: { help: "how often it is drained", default: "5" },
      restart: { help: "milliseconds until it is started again", default: "1000" },
      rtt: { help: "round trip of each path in milliseconds", default: "80" },
      straight: { type: "boolean", help: "there is no way around the middle", default: false },
      alone: { type: "boolean", help: "one member in each region, not two", default: false },
    });
    const number = (name) => Number(given[name]);
    const rows = await kills({ kills: number("kills"), drains: number("drains"), restart: number("restart"), rtt: number("rtt"), detour: !given.straight, watchers: !given.alone });
    keep(given.straight ? "kills-straight" : "kills", { rows: summary(rows), faults: rows, restart: given.restart, rtt: given.rtt });
  });
}
