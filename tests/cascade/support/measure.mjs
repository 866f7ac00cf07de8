// Figures of a stretch of a call, from what the browsers counted before and after it. Owns the arithmetic and the tables.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ARTIFACTS, sleep } from "./world.mjs";

/** A frame is in time if it is in whole so many milliseconds after the fastest one would have been. */
const IN_TIME = 150;

/**
 * Measures for some seconds.
 * @param {{ to: import("./member.mjs").Member, from: import("./member.mjs").Member, more?: object }[]} pairs Who receives whom.
 * @returns {Promise<Record<string, any>[]>} One row for each pair.
 */
export async function stretch(pairs, seconds) {
  const members = [...new Set(pairs.flatMap(({ to, from }) => [to, from]))];
  const read = async () => new Map(await Promise.all(members.map(async (member) => [member, { counts: await member.counts(), sent: await member.sent(), at: Date.now() }])));
  await Promise.all(members.map((member) => member.arrivals()));
  const before = await read();
  await sleep(seconds * 1_000);
  const after = await read();
  const arrivals = new Map(await Promise.all(members.map(async (member) => [member, await member.arrivals()])));
  return Promise.all(pairs.map(async ({ to, from, more }) => {
    const [start, end] = [before.get(to), after.get(to)];
    const count = (kind, key) => (end.counts[from.name]?.[kind]?.[key] ?? 0) - (start.counts[from.name]?.[kind]?.[key] ?? 0);
    // A layer that nobody watches is not sent.
    const { audio, ...layers } = after.get(from).sent;
    const sent = Math.max(...Object.entries(layers).map(([rid, { framesSent }]) => framesSent - (before.get(from).sent[rid]?.framesSent ?? 0)));
    const delays = late(arrivals.get(to)[from.name] ?? []);
    const { [from.name]: gap } = await to.gaps([from.name], start.at, end.at);
    return {
      ...more,
      to: to.name,
      from: from.name,
      fps: round(count("video", "framesDecoded") / ((end.at - start.at) / 1_000), 1),
      sent_fps: round(sent / seconds, 1),
      complete: share(delays.length, sent),
      in_150: share(delays.filter((delay) => delay <= IN_TIME).length, sent),
      late_p50: round(percentile(delays, 0.5)), late_p95: round(percentile(delays, 0.95)), late_p99: round(percentile(delays, 0.99)),
      freezes: count("video", "freezeCount"),
      frozen_ms: round(count("video", "totalFreezesDuration") * 1_000),
      longest_gap_ms: gap,
      buffer_ms: round((count("video", "jitterBufferDelay") / count("video", "jitterBufferEmittedCount")) * 1_000),
      lost: count("video", "packetsLost"), nacks: count("video", "nackCount"), plis: count("video", "pliCount"), keyframes: count("video", "keyFramesDecoded"),
      height: end.counts[from.name]?.video?.frameHeight ?? 0,
      kbps: round((count("video", "bytesReceived") * 8) / (end.at - start.at)),
      audio_lost: count("audio", "packetsLost"),
      concealed: share(count("audio", "concealedSamples"), count("audio", "totalSamplesReceived")),
      audio_buffer_ms: round((count("audio", "jitterBufferDelay") / count("audio", "jitterBufferEmittedCount")) * 1_000),
    };
  }));
}

/** How much later than the fastest one each frame was in whole, by its RTP timestamp: the clocks need not agree. */
function late(frames) {
  if (frames.length === 0) return [];
  const [[first]] = frames;
  const delays = frames.map(([timestamp, at]) => at - ((timestamp - first) | 0) / 90);
  const fastest = delays.reduce((least, delay) => Math.min(least, delay), Infinity);
  return delays.map((delay) => delay - fastest);
}

export const round = (value, digits = 0) => (Number.isFinite(value) ? Number(value.toFixed(digits)) : null);
const share = (part, whole) => (whole > 0 ? round(Math.min(1, part / whole), 4) : null);

export function percentile(values, p) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.ceil(p * sorted.length) - 1)] : NaN;
}

/** Rows as a table of Markdown. */
export function table(rows, columns = Object.keys(rows[0] ?? {})) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(columns), line(columns.map(() => "---")), ...rows.map((row) => line(columns.map((column) => String(row[column] ?? "–"))))].join("\n");
}

/** Keeps what was measured in the artifacts, as JSON and as a table, and prints the table. */
export function keep(name, { rows, ...more }, columns) {
  mkdirSync(ARTIFACTS, { recursive: true });
  writeFileSync(join(ARTIFACTS, `cascade-${name}.json`), `${JSON.stringify({ at: new Date().toISOString(), ...more, rows }, null, 1)}\n`);
  const text = `${table(rows, columns)}\n\n${JSON.stringify(more)}\n`;
  writeFileSync(join(ARTIFACTS, `cascade-${name}.md`), text);
  console.log(`\n${text}`);
}

/** Flags of a script: `options` as `parseArgs` takes them, each with a default and a word of help. */
export function flags(what, options) {
  const { values } = parseArgs({ options: { help: { type: "boolean" }, ...Object.fromEntries(Object.entries(options).map(([name, { type = "string" }]) => [name, { type }])) } });
  if (values.help) {
    console.log(what);
    for (const [name, { help, default: value }] of Object.entries(options)) console.log(`  --${name.padEnd(12)} ${help} [${value}]`);
    process.exit(0);
  }
  return Object.fromEntries(Object.entries(options).map(([name, { default: value }]) => [name, values[name] ?? value]));
}

/** Runs a script to its end, and ends whatever it left. */
export async function main(script) {
  try {
    await script();
    process.exit(0);
  } catch (fault) {
    console.error(fault);
    process.exit(1);
  }
}
