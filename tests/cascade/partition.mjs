// A region is cut off and comes back: each side's call goes on meanwhile, and after it there is one room again.
//
//   node tests/cascade/partition.mjs --help

import "./support/isolated.mjs";
import { fileURLToPath } from "node:url";
import { Call } from "./support/call.mjs";
import { flags, keep, main } from "./support/measure.mjs";
import { path, sleep, until, World } from "./support/world.mjs";

/**
 * @param {{ seconds: number, times: number, rtt: number }} how
 * @returns {Promise<Record<string, any>[]>} A row for each time.
 */
export async function partition({ seconds, times, rtt }) {
  const world = new World("partition");
  let call;
  const rows = [];
  try {
    await world.start(path(rtt));
    call = new Call(world, "partition");
    const { members } = call;
    const [ada, eve] = [await call.join("ada", "west"), await call.join("eve", "east")];
    const [wes, eli] = [await call.join("wes", "west", { publish: false }), await call.join("eli", "east", { publish: false })];
    const everybody = ["ada", "eli", "eve", "wes"];
    const publishers = [ada, eve];
    const all = () => Promise.all(members.map((member) => member.sees(everybody.filter((name) => name !== member.name), 90_000)));
    const moving = () => Promise.all(members.map((member) => member.paints(publishers.filter((from) => from !== member).map(({ name }) => name), { timeout: 90_000 })));
    await all();
    await moving();
    for (let time = 1; time <= times; time++) {
      const cut = Date.now();
      world.impair({ ...path(rtt), partition: true }, ["em", "ew"]);
      // Each side loses the other's members, and those only.
      const sides = [[ada, ["wes"]], [wes, ["ada"]], [eve, ["eli"]], [eli, ["eve"]]];
      await Promise.all(sides.map(([member, others]) => member.sees(others, 60_000)));
      const apart_ms = Date.now() - cut;
      await Promise.all([ada.say(`west ${time}`), eve.say(`east ${time}`)]);
      await sleep(Math.max(0, cut + seconds * 1_000 - Date.now()));
      const end = Date.now();
      const near = { wes: (await wes.gaps(["ada"], cut, end)).ada, eli: (await eli.gaps(["eve"], cut, end)).eve };
      const healed = Date.now();
      world.impair(path(rtt), ["em", "ew"]);
      await all();
      const presence_ms = Date.now() - healed;
      await moving();
      // Five frames were painted by then; the first of them is what counts.
      const first = await Promise.all(members.flatMap((member) => publishers.filter((from) => from !== member).map(async ({ name }) => {
        const painted = await member.painted([name], healed);
        return painted[name][0] - healed;
      })));
      const lines = Array.from({ length: time }, (_, index) => [`east ${index + 1}`, `west ${index + 1}`]).flat().sort();
      const chat = await until("everybody has each line once", async () => {
        const heard = await Promise.all(members.map(async (member) => (await member.heard()).sort()));
        if (!heard.every((texts) => JSON.stringify(texts) === JSON.stringify(lines))) throw new Error(`heard were ${JSON.stringify(heard)}`);
        return true;
      }, 20_000).catch((fault) => String(fault.cause ?? fault));
      rows.push({ time, apart_ms, near_gap_ms: Math.max(near.wes, near.eli), presence_ms, frames_ms: Math.round(Math.max(...first)), chat: chat === true ? "each line once" : chat });
      console.log(JSON.stringify(rows.at(-1)));
    }
    return rows;
  } finally {
    await call?.close();
    await world.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const { seconds, times, rtt } = flags("A region is cut off for a while during a call.", {
      seconds: { help: "how long", default: "15" },
      times: { help: "how often", default: "3" },
      rtt: { help: "round trip of each path in milliseconds", default: "80" },
    });
    keep("partition", { rows: await partition({ seconds: Number(seconds), times: Number(times), rtt: Number(rtt) }), seconds, rtt });
  });
}
