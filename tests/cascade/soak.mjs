// That nothing is left behind: for hours, crowds of `weir load` come and go in rooms that span two edges, and every quarter of an
// hour all leave for a minute. What each node holds then is what it held the time before, or the run fails.
//
//   node tests/cascade/soak.mjs --help

import "./support/isolated.mjs";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { flags, keep, main, round } from "./support/measure.mjs";
import { BINARY, path, SECRET, sleep, until, World } from "./support/world.mjs";

/** Where crowds come to, and the region of each. */
const EDGES = { "w-edge": "west", "e-edge": "east" };
const NODES = [...Object.keys(EDGES), "w-core", "m-core", "e-core"];
/** How long all are gone: longer than a session is kept for who may come back. */
const REST = 60_000;
/** What a node may hold beyond what it held at the first rest: allocators keep some for later. */
const SLACK = { bytes: 8 << 20, fds: 4, threads: 0 };

/** Holds a node to a share of one core, so that it is as loaded as one likes while the rest of the machine is not. */
function hold(pid, name, share) {
  const v2 = existsSync("/sys/fs/cgroup/cgroup.controllers");
  const group = join("/sys/fs/cgroup", v2 ? "" : "cpu", `weir-soak-${name}`);
  mkdirSync(group, { recursive: true });
  const [period, quota] = [10_000, Math.max(1_000, Math.round(share * 10_000))];
  if (v2) writeFileSync(join(group, "cpu.max"), `${quota} ${period}`);
  else {
    writeFileSync(join(group, "cpu.cfs_period_us"), String(period));
    writeFileSync(join(group, "cpu.cfs_quota_us"), String(quota));
  }
  writeFileSync(join(group, "cgroup.procs"), String(pid));
}

/** One crowd: it comes, stays for some seconds and leaves. What it measured. */
function crowd(world, edge, args) {
  const load = [`--net=/run/netns/${EDGES[edge]}`, BINARY, "load", "--url", world.url(edge), "--key", "test", "--json", "-", "--quiet", ...args.map(String)];
  const child = spawn("nsenter", load, { env: { ...process.env, WEIR_LOAD_SECRET: SECRET }, stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  const done = new Promise((done, failed) =>
    child.once("exit", () => {
      try {
        done(JSON.parse(out.slice(out.indexOf("{"))));
      } catch (cause) {
        failed(new Error(`weir load said ${err.slice(-500)}`, { cause }));
      }
    }));
  return { done, stop: () => child.kill("SIGINT") };
}

/** Lets crowds come and go at every edge, each anew when it has left, until `stop` is called. */
function churn(world, { members, rooms, video }, totals) {
  let going = true;
  const now = new Set();
  const keepUp = async (edge, room) => {
    while (going) {
      // From a short visit to a long call, each with the others of its room on both edges.
      const stays = Math.round(5 + 55 * Math.random() ** 2);
      const one = crowd(world, edge, ["--room", `soak-${room}`, "--identity", `${edge}-`, "--members", members, "--layout", "grid:9,speaker", "--video", video, "--fps", 15, "--duration", stays, "--ramp", 10]);
      now.add(one);
      try {
        const { joins, heard } = await one.done;
        totals.joined += joins.connected;
        totals.failed += joins.failed;
        totals.packets += heard.audio.received + heard.video.received;
        totals.voices += heard.audio.expected;
        totals.voices_lost += heard.audio.lost;
      } catch (error) {
        totals.broken += 1;
        console.error(String(error));
        await sleep(1_000);
      }
      now.delete(one);
    }
  };
  const all = Object.keys(EDGES).flatMap((edge) => Array.from({ length: rooms }, (_, room) => keepUp(edge, room)));
  return { stop: () => ((going = false), now.forEach((one) => one.stop()), Promise.all(all)) };
}

/** What a node holds. */
async function held(world, id) {
  const all = await world.metrics(id);
  const of = (name) => all[`weir_${name}`] ?? 0;
  return {
    mb: round(of("process_resident_memory_bytes") / (1 << 20), 1), fds: of("process_open_fds"), threads: of("process_threads"),
    rooms: of("rooms"), members: of("members"), sockets: of("sockets"), peers: of("peers"), subscriptions: of("subscriptions"), tracks: of("tracks"), cascade_tracks: of("cascade_tracks"),
  };
}

const EMPTY = ["rooms", "members", "sockets", "peers", "subscriptions", "tracks", "cascade_tracks"];

/** @param {{ minutes: number, every: number, members: number, rooms: number, video: string, cpu: number }} how */
export async function soak({ minutes, every, cpu, ...crowds }) {
  process.env.WEIR_TEST_LOG ??= "info";
  const world = new World("soak");
  const totals = { joined: 0, failed: 0, broken: 0, packets: 0, voices: 0, voices_lost: 0 };
  const [rests, faults] = [[], []];
  const [begun, rows] = [Date.now(), []];
  try {
    await world.start(path(20));
    if (cpu) for (const edge of Object.keys(EDGES)) hold(world.pid(edge), edge, cpu / 100);
    while (Date.now() - begun < minutes * 60_000) {
      const coming = churn(world, crowds, totals);
      const end = Math.min(begun + minutes * 60_000, Date.now() + every * 60_000);
      let before = { at: Date.now(), cpu: world.cpu("w-edge") };
      while (Date.now() < end) {
        await sleep(Math.min(30_000, Math.max(0, end - Date.now())));
        const now = { at: Date.now(), cpu: world.cpu("w-edge") };
        const row = { min: round((now.at - begun) / 60_000, 1), what: "busy", of_core: round((now.cpu - before.cpu) / (now.at - before.at) * 1_000, 3), ...(await held(world, "w-edge")) };
        before = now;
        rows.push(row);
        console.log(Object.entries(row).map(([key, value]) => `${key} ${value}`).join("  "));
      }
      await coming.stop();
      await sleep(REST);
      const rest = Object.fromEntries(await Promise.all(NODES.map(async (id) => [id, await held(world, id)])));
      rests.push(rest);
      for (const [id, of] of Object.entries(rest)) {
        console.log(`rest ${rests.length}  ${id.padEnd(7)} ${JSON.stringify(of)}`);
        for (const what of EMPTY) if (of[what] !== 0) faults.push(`${id} still holds ${of[what]} ${what} at rest ${rests.length}`);
      }
    }
    const [first, last] = [rests[0], rests.at(-1)];
    for (const id of NODES) {
      const [from, to] = [first[id], last[id]];
      if ((to.mb - from.mb) * (1 << 20) > SLACK.bytes) faults.push(`${id} grew from ${from.mb} to ${to.mb} MB`);
      for (const what of ["fds", "threads"]) if (to[what] > from[what] + SLACK[what]) faults.push(`${id} has ${to[what]} ${what}, it had ${from[what]}`);
    }
    return { rows, rests, totals, faults };
  } finally {
    await world.close();
  }
}

await main(async () => {
  const how = flags("Crowds come and go for hours, and nothing may be left behind.", {
    minutes: { default: "120", help: "how long" },
    every: { default: "15", help: "minutes between two rests" },
    members: { default: "4", help: "members of each crowd" },
    rooms: { default: "3", help: "rooms, each with a crowd at each edge" },
    video: { default: "180p", help: "their cameras" },
    cpu: { default: "0", help: "per cent of a core that each edge may use; 0 for all" },
  });
  const { video, ...numbers } = how;
  const { rows, rests, totals, faults } = await soak({ video, ...Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, Number(value)])) });
  keep("soak", { rows: rests.map((rest, at) => ({ rest: at + 1, ...Object.fromEntries(Object.entries(rest).map(([id, { mb, fds, threads }]) => [id, `${mb} MB, ${fds} fds, ${threads} threads`])) })), busy: rows, rests, totals });
  console.log(totals);
  for (const fault of faults) console.error(fault);
  if (faults.length) throw new Error("something was left behind");
});
