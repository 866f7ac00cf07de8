// What a call across regions is like when the paths between them lose packets: by the cascade, and beside it the same call
// with the far browsers joined at the publisher's own edge over the same two paths, one behind the other.
//
//   node tests/cascade/lossy.mjs --help

import "./support/isolated.mjs";
import { fileURLToPath } from "node:url";
import { Call } from "./support/call.mjs";
import { flags, keep, main, stretch } from "./support/measure.mjs";
import { path, sleep, World } from "./support/world.mjs";

/**
 * @param {{ losses: number[], rtt: number, seconds: number, warm: number, arms: string[], watchers: boolean, burst?: number }} how
 * @returns {Promise<Record<string, any>[]>}
 */
export async function lossy({ losses, rtt, seconds, warm, arms, watchers, burst = 1 }) {
  const rows = [];
  for (const arm of arms) {
    const world = await new World(`lossy-${arm}`).start(path(rtt));
    let call;
    try {
      const far = arm === "direct" ? await world.farEdge(path(rtt)) : { url: world.url("e-edge"), impair: () => {} };
      call = new Call(world, "lossy", { far: far.url });
      const [ada, eve] = [await call.join("ada", "west"), await call.join("eve", "east")];
      const west = watchers ? [ada, await call.join("wes", "west", { publish: false })] : [ada];
      const east = watchers ? [eve, await call.join("eli", "east", { publish: false })] : [eve];
      const pairs = [...east.map((to) => ({ to, from: ada })), ...west.map((to) => ({ to, from: eve }))];
      for (const { to, from } of pairs) await to.paints([from.name]);
      for (const loss of losses) {
        const impairment = path(rtt, loss / 100, { burst });
        world.impair(impairment);
        far.impair(impairment);
        await sleep(warm * 1_000);
        const by = arm === "direct" ? [] : await world.path("e-edge");
        const found = await stretch(pairs.map((pair) => ({ ...pair, more: { loss: `${loss} %`, arm } })), seconds);
        rows.push(...found);
        console.log(`${arm}, ${loss} % loss${by.length ? `, by ${by.join(" ")}` : ""}: ${found.map(({ to, from, fps, sent_fps, in_150, freezes }) => `${to} sees ${from} at ${fps} of ${sent_fps} fps, ${in_150} in time, ${freezes} freezes`).join("; ")}`);
      }
    } finally {
      await call?.close();
      await world.close();
    }
  }
  return rows;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const { losses, rtt, seconds, warm, arms, burst, ...rest } = flags("Calls over lossy paths, by the cascade and directly.", {
      losses: { help: "percent of packets lost on each path, each way", default: "0,1,2,5" },
      rtt: { help: "round trip of each path in milliseconds; the way from west to east has two", default: "80" },
      seconds: { help: "measured at each loss", default: "25" },
      warm: { help: "seconds before that", default: "8" },
      arms: { help: "cascade, direct", default: "cascade,direct" },
      burst: { help: "mean length of a loss in packets", default: "1" },
      alone: { type: "boolean", help: "one member in each region, not two", default: false },
    });
    const numbers = losses.split(",").map(Number);
    const rows = await lossy({ losses: numbers, rtt: Number(rtt), seconds: Number(seconds), warm: Number(warm), arms: arms.split(","), burst: Number(burst), watchers: !rest.alone });
    rows.sort((a, b) => numbers.indexOf(parseFloat(a.loss)) - numbers.indexOf(parseFloat(b.loss)));
    keep("lossy", { rows, rtt, seconds, burst });
  });
}
