// A wall of tiles behind a narrow wire: forty cameras, and one who watches them all with 2 Mbps. Both crowds are those of `weir load`,
// which measure and decode nothing. Prints a table.

import "../cascade/support/isolated.mjs";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { flags, keep, round } from "../cascade/support/measure.mjs";
import { BINARY, SECRET, sleep } from "../cascade/support/world.mjs";
import { NODE, Star } from "./support/star.mjs";

const URL = `http://${NODE}:8080`;

/** A crowd behind the wire of `ns`, or beside the node. What it samples each second is gathered in `samples`. */
function crowd(ns, args) {
  const load = [BINARY, "load", "--key", "test", "--url", URL, "--room", "tiles", "--samples", "--quiet", ...args.map(String)];
  const [command, ...rest] = ns ? ["nsenter", `--net=/run/netns/${ns}`, ...load] : load;
  const child = spawn(command, rest, { env: { ...process.env, WEIR_LOAD_SECRET: SECRET }, stdio: ["ignore", "pipe", "inherit"] });
  const samples = [];
  createInterface({ input: child.stdout }).on("line", (line) => samples.push(JSON.parse(line)));
  return { samples, stop: () => child.kill("SIGTERM") };
}

/** @param {{ kbps?: number, count?: number, seconds?: number, queue_ms?: number }} [how] */
export async function tiles({ kbps = 2_000, count = 40, seconds = 30, queue_ms = 200 } = {}) {
  const star = await new Star().start("tiles");
  star.beside();
  star.wire("cat");
  star.narrow("cat", kbps, queue_ms);
  const cameras = crowd(null, ["--publishers", count, "--video", "360p", "--fps", 15, "--video-bps", "200k", "--duration", 3_600]);
  try {
    await sleep(count * 50 + 4_000);
    const watcher = crowd("cat", ["--subscribers", 1, "--layout", `grid:${count}`, "--duration", 3_600]);
    const watch = star.watch("tiles", ({ tracks }) => tracks.length === 0);
    // Slots, keyframes and the estimate take their time.
    await sleep(12_000);
    const from = watcher.samples.length;
    await sleep(seconds * 1_000);
    const steady = watcher.samples.slice(from);
    const estimates = watch.stop();
    watcher.stop();
    const shown = steady.map(({ layers }) => layers.reduce((sum, layer) => sum + layer, 0));
    return {
      wire: `${kbps} kbps`,
      tiles: count,
      shown_least: Math.min(...shown), shown_most: Math.max(...shown),
      freezes: steady.at(-1).freezes - steady[0].freezes,
      loss: round(steady.reduce((sum, { loss }) => sum + loss, 0) / steady.length, 4),
      kbps: round(steady.reduce((sum, { received_bps }) => sum + received_bps, 0) / steady.length / 1_000),
      samples: watcher.samples, estimates,
    };
  } finally {
    cameras.stop();
    star.close();
  }
}

if (process.argv[1] === (await import("node:url")).fileURLToPath(import.meta.url)) {
  const { kbps, tiles: count } = flags("A wall of tiles behind a narrow wire.", { kbps: { default: "2000", help: "what the wire carries" }, tiles: { default: "40", help: "cameras" } });
  const { samples, estimates, ...row } = await tiles({ kbps: Number(kbps), count: Number(count) });
  for (const { at, layers, freezes, loss, received_bps } of samples) console.log(`${at.toFixed(0).padStart(4)} s  ${layers}  freezes ${freezes}  loss ${loss.toFixed(3)}  ${round(received_bps / 1_000)} kbps`);
  for (const { at, estimate_bps, budget_bps, demand_bps, pictures } of estimates) {
    const given = pictures.filter(({ current }) => current !== null);
    console.log(`${(at / 1_000).toFixed(1).padStart(6)} s  estimate ${round(estimate_bps / 1_000)}  budget ${round(budget_bps / 1_000)}  demand ${round(demand_bps / 1_000)}  ${given.length} of ${pictures.length} at ${round(given.reduce((sum, { bps }) => sum + bps, 0) / given.length / 1_000)} kbps`);
  }
  keep("tiles", { rows: [row] });
  process.exit(0);
}
