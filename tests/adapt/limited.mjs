// One receiver behind a narrow wire among receivers that are not: what it sees and hears, what the others do, and how soon it is
// back when the wire is wide again. `limited()` is the measurement; run by itself it prints a table.

import "../cascade/support/isolated.mjs";
import { flags, keep, round, stretch } from "../cascade/support/measure.mjs";
import { sleep, until } from "../cascade/support/world.mjs";
import { Star } from "./support/star.mjs";

/** What ann sends at best, in lines. */
const TOP = 720;

/** @param {{ kbps?: number, queue_ms?: number, seconds?: number }} [how] */
export async function limited({ kbps = 500, queue_ms = 200, seconds = 20 } = {}) {
  const star = await new Star().start("limited");
  const [ann, ben, cat] = ["ann", "ben", "cat"].map((name) => star.member(name));
  try {
    await Promise.all([ann.join("adapt", { publish: false, fps: 15 }), ben.join("adapt", { publish: false })]);
    await ann.page.evaluate(async (height) => {
      await globalThis.room.setMicrophone(true);
      await globalThis.room.setCamera(true, { width: (height * 16) / 9, height, frameRate: 15 });
    }, TOP);
    await ben.paints(["ann"]);
    star.narrow("cat", kbps, queue_ms);
    const watch = star.watch("adapt", ({ identity }) => identity === "cat");
    await cat.join("adapt", { publish: false });
    await cat.paints(["ann"], { frames: 1 });
    await sleep(5_000);
    const pairs = [{ to: cat, from: ann }, { to: ben, from: ann }];
    const rows = (await stretch(pairs, seconds)).map((row) => ({ wire: `${kbps} kbps`, ...row }));

    const lifted = Date.now();
    star.narrow("cat", null);
    const back = await until("the top layer again", async () => {
      const counts = await cat.counts();
      return counts.ann?.video?.frameHeight >= TOP && Date.now() - lifted;
    }, 40_000, 100).catch(() => null);
    await sleep(3_000);

    // In the midst of a call: the wire becomes narrow under the top layers.
    star.narrow("cat", kbps, queue_ms);
    const again = (await stretch(pairs, 15)).map((row) => ({ wire: "narrowed", ...row }));
    const sends = await ann.page.evaluate(async () => {
      const pair = [...(await globalThis.connection.getStats()).values()].find((each) => each.type === "candidate-pair" && each.nominated);
      return pair?.availableOutgoingBitrate;
    });
    return { rows: [...rows, ...again], timeline: watch.stop(), back_ms: back, publisher_estimate_kbps: round(sends / 1_000), metrics: await star.metrics() };
  } finally {
    await Promise.all([ann, ben, cat].map((member) => member.close()));
    star.close();
  }
}

if (process.argv[1] === (await import("node:url")).fileURLToPath(import.meta.url)) {
  const { kbps } = flags("One receiver behind a narrow wire.", { kbps: { default: "500", help: "what the wire carries" } });
  const { metrics, timeline, ...result } = await limited({ kbps: Number(kbps) });
  for (const { at, estimate_bps, budget_bps, demand_bps, pictures } of timeline) {
    const layers = pictures.map(({ target, current, reason, bps }) => `${current?.h ?? "-"}@${current?.fps ?? "-"}→${target?.h ?? "-"} ${round(bps / 1_000)} kbps${reason ? ` (${reason})` : ""}`);
    console.log(`${(at / 1_000).toFixed(1).padStart(6)} s  estimate ${round(estimate_bps / 1_000)}  budget ${round(budget_bps / 1_000)}  demand ${round(demand_bps / 1_000)}  ${layers.join("; ")}`);
  }
  const counters = Object.fromEntries(Object.entries(metrics).filter(([name]) => /paced|pacer|padding|rtx_out|rtp_out|bytes_out|keyframe/.test(name)));
  keep("adapt", { ...result, counters }, ["wire", "to", "from", "height", "fps", "sent_fps", "freezes", "frozen_ms", "longest_gap_ms", "kbps", "lost", "nacks", "plis", "late_p95", "concealed", "audio_lost"]);
  process.exit(0);
}
