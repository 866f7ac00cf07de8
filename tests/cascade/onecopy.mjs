// That a far region gets one copy however many watch there: bytes on the link between the regions with few and with many members,
// all of the same layer. The many are those of `weir load`, which decode nothing:
//
//   node tests/cascade/onecopy.mjs --help

import "./support/isolated.mjs";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { flags, keep, main, round } from "./support/measure.mjs";
import { Member } from "./support/member.mjs";
import { BINARY, path, SECRET, sleep, until, World } from "./support/world.mjs";

/** Members of the east who watch, for as long as they are let. */
async function crowd(world, count) {
  const how = ["--url", world.url("e-edge"), "--key", "test", "--room", "onecopy", "--subscribers", count, "--layout", "all", "--duration", 86_400];
  const child = spawn("nsenter", ["--net=/run/netns/east", BINARY, "load", ...how.map(String), "--samples", "--quiet"], { env: { ...process.env, WEIR_LOAD_SECRET: SECRET }, stdio: ["ignore", "pipe", "inherit"] });
  let now = { connected: 0, received: 0 };
  child.stdout.on("data", (chunk) => {
    // The last whole line.
    const line = String(chunk).trimEnd().split("\n").at(-1);
    now = JSON.parse(line);
  });
  await until(`${count} members watch`, () => now.connected === count, 60_000);
  return { get packets() { return now.received; }, leave: () => child.kill("SIGINT") };
}

/**
 * @param {{ counts: number[], seconds: number, rtt: number }} how
 * @returns {Promise<Record<string, any>[]>}
 */
export async function onecopy({ counts, seconds, rtt }) {
  const world = new World("onecopy", { detour: false });
  let ada;
  const rows = [];
  try {
    await world.start(path(rtt));
    ada = await new Member("ada", "west", world.url("w-edge")).join("onecopy");
    for (const count of counts) {
      const watching = await crowd(world, count);
      // The encoder takes its time to find its rate.
      await sleep(8_000);
      const read = async () => {
        const [status, sent] = [await world.status("m-core"), await ada.sent()];
        const link = status.links.find(({ node }) => node === "e-core");
        // What is watched of it: the voice, and the largest layer.
        const watched = [sent.audio, sent.h];
        const encoded = watched.reduce((sum, { bytesSent, headerBytesSent }) => sum + bytesSent + headerBytesSent, 0);
        return { at: Date.now(), bytes: link.bytes_out, sent: encoded, packets: watching.packets, cpu: { "m-core": world.cpu("m-core"), "e-edge": world.cpu("e-edge") }, tracks: status.tracks };
      };
      const before = await read();
      await sleep(seconds * 1_000);
      const after = await read();
      const took = (after.at - before.at) / 1_000;
      const per_s = (key) => (after[key] - before[key]) / took;
      rows.push({
        members: count,
        link_kB_s: round(per_s("bytes") / 1_000, 2),
        published_kB_s: round(per_s("sent") / 1_000, 2),
        link_per_published: round(per_s("bytes") / per_s("sent"), 4),
        packets_per_member_s: round(per_s("packets") / count, 1),
        cpu_middle: round((after.cpu["m-core"] - before.cpu["m-core"]) / took, 3),
        cpu_edge: round((after.cpu["e-edge"] - before.cpu["e-edge"]) / took, 3),
        children: after.tracks.flatMap(({ kind, children }) => children.map(({ node, layers }) => `${kind} to ${node}: ${layers.join(",")}`)).join("; "),
      });
      console.log(JSON.stringify(rows.at(-1)));
      watching.leave();
      await until("they have left", async () => (await ada.others()).length === 0, 90_000, 500);
    }
    return rows;
  } finally {
    await ada?.close();
    await world.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const { counts, seconds, rtt } = flags("Bytes on the link to a region with few and many members.", {
      counts: { help: "members who watch there", default: "1,10,50" },
      seconds: { help: "measured for each", default: "30" },
      rtt: { help: "round trip of each path in milliseconds", default: "80" },
    });
    keep("onecopy", { rows: await onecopy({ counts: counts.split(",").map(Number), seconds: Number(seconds), rtt: Number(rtt) }), seconds, rtt });
  });
}
