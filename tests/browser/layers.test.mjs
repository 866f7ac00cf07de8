// Real encoders under a receiver's limit: frames, then sharpness, then the picture are given up, and all of it comes back, without
// an error of the decoder, a storm of keyframes, or a picture that stands still for longer than a switch takes.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { gather } from "./support/gather.mjs";

const WIDE = { width: 1300, height: 900 };
const FAST = ["--use-fake-device-for-media-stream=fps=30"];

describe("a receiver whose path gets thin", { timeout: 900_000 }, () => {
  const { person } = gather("layers");

  /** What Ben's browser counted of Ada's picture over some time: what came, and how. */
  const watch = async (ben, ms = 2_500) => {
    const look = () =>
      ben.page.evaluate(async () => {
        const room = globalThis.weirRoom;
        const member = [...room.members.values()].find(({ name }) => name === "Ada");
        const track = member.track("camera");
        const voice = (await room.stats()).inbound.find((each) => each.track === member.track("microphone")?.id);
        let found = null;
        (await globalThis.testConnection.getStats()).forEach((each) => {
          if (each.type === "inbound-rtp" && each.trackIdentifier === track.media?.id) found = each;
        });
        const { framesDecoded = 0, keyFramesDecoded = 0, pliCount = 0, bytesReceived = 0, headerBytesReceived = 0, frameHeight = 0, freezeCount = 0, totalFreezesDuration = 0, jitterBufferDelay = 0, jitterBufferEmittedCount = 0, framesDropped = 0 } = found ?? {};
        return { at: performance.now(), streaming: track.streaming, reason: track.reason, rid: track.rid, // With the headers of fifty packets a second.
        voice: (voice?.bps ?? 0) + 26_000, framesDecoded, keyFramesDecoded, pliCount, bytes: bytesReceived + headerBytesReceived, frameHeight, freezeCount, totalFreezesDuration, jitterBufferDelay, jitterBufferEmittedCount, framesDropped };
      });
    const start = await look();
    await new Promise((resolve) => setTimeout(resolve, ms));
    const end = await look();
    const seconds = (end.at - start.at) / 1000;
    const emitted = end.jitterBufferEmittedCount - start.jitterBufferEmittedCount;
    return {
      ...end,
      fps: (end.framesDecoded - start.framesDecoded) / seconds,
      bps: ((end.bytes - start.bytes) * 8) / seconds,
      buffered: emitted > 0 ? (end.jitterBufferDelay - start.jitterBufferDelay) / emitted : 0,
    };
  };

  /** @param {import("./support/person.mjs").Person} ben @param {number | null} bps */
  const limit = (ben, bps) => ben.page.evaluate((most) => globalThis.weirRoom.limitDownload(most), bps);

  /** Waits until what comes is as `wanted`, and says how long that took: 1-5 s, but an encoder on a busy machine makes its picture
   *  smaller by itself for a while. */
  const becomes = async (ben, what, wanted, within = 30_000) => {
    const since = Date.now();
    for (;;) {
      const seen = await watch(ben, 1_000);
      if (wanted(seen)) return { ...seen, took: Date.now() - since };
      assert.ok(Date.now() - since < within, `${what}: not within ${within} ms; ${JSON.stringify(seen)}`);
    }
  };

  for (const [codec, name, thins] of [
    ["vp8", "VP8", true],
    ["vp9", "VP9", true],
    ["av1", "AV1", true],
    // Chromium's encoder sends H.264 without temporal layers.
    ["h264", "H264", false],
  ]) {
    test(`${name}: frames go first, then sharpness, then the picture, and all comes back`, async (context) => {
      const ada = await (await person("Ada", { args: FAST })).join(`thin-${codec}`, { query: `video=360&codec=${codec}` });
      const ben = await (await person("Ben", { viewport: WIDE, args: FAST })).join(`thin-${codec}`, { query: "video=180" });
      await ben.seesMoving("Ada", { width: 640, frames: 60 });
      const sent = await ada.page.evaluate(async () => {
        const found = [];
        (await globalThis.testConnection.getStats()).forEach((each) => {
          if (each.type === "outbound-rtp" && each.kind === "video") found.push({ rid: each.rid, mode: each.scalabilityMode, height: each.frameHeight, fps: each.framesPerSecond, active: each.active, encoder: each.encoderImplementation });
        });
        return found;
      });
      context.diagnostic(`sends ${JSON.stringify(sent)}`);
      // The publisher's own estimate of its path grows for a while.
      let whole = await watch(ben, 3_000);
      for (let round = 0; round < 8; round += 1) {
        const before = whole.bps;
        whole = await watch(ben, 3_000);
        if (Math.abs(whole.bps - before) < before * 0.08) break;
      }
      context.diagnostic(`whole ${JSON.stringify(whole)}`);
      assert.equal(whole.frameHeight, 360);
      await ben.watchPicture("Ada");
      const steps = [];

      if (thins) {
        await limit(ben, whole.voice + whole.bps * 0.85);
        const fewer = await becomes(ben, "fewer frames of the whole picture", ({ fps, frameHeight }) => frameHeight === 360 && fps > 0.3 * whole.fps && fps < 0.7 * whole.fps);
        assert.equal(fewer.reason, "bandwidth");
        await ben.see(`${ben.tile("Ada")} [data-testid="reduced"]`);
        await ben.shot(`layers-${codec}-fewer-frames`);
        steps.push(["fewer frames", fewer]);
      }
      await limit(ben, whole.voice + whole.bps * (thins ? 0.38 : 0.8));
      const smaller = await becomes(ben, "a smaller picture", ({ frameHeight, fps }) => frameHeight === 180 && fps > 5);
      steps.push(["smaller", smaller]);
      await ben.shot(`layers-${codec}-smaller`);
      await limit(ben, null);
      const back = await becomes(ben, "the whole picture again", ({ fps, frameHeight, reason }) => frameHeight === 360 && fps > 0.75 * whole.fps && reason === null);
      steps.push(["back", back]);
      const { longest } = await ben.frozen("Ada");

      await limit(ben, 20_000);
      await becomes(ben, "a pause", ({ streaming, reason, fps }) => streaming === "paused" && reason === "bandwidth" && fps < 1);
      await ben.see(`${ben.tile("Ada")} [data-testid="paused"]`);
      await ben.shot(`layers-${codec}-paused`);
      await limit(ben, null);
      const again = await becomes(ben, "the whole picture after a pause", ({ fps, frameHeight, reason }) => frameHeight === 360 && fps > 0.75 * whole.fps && reason === null);
      await ben.unsee(`${ben.tile("Ada")} [data-testid="paused"]`);
      steps.push(["again", again]);
      context.diagnostic(`longest without a frame ${Math.round(longest)} ms`);
      for (const [step, seen] of steps) context.diagnostic(`${step} ${JSON.stringify(seen)}`);

      assert.ok(longest < 500, `the picture stood for ${longest} ms`);
      assert.ok(again.keyFramesDecoded - whole.keyFramesDecoded <= 10, "one keyframe or two for each switch");
      assert.ok(again.pliCount - whole.pliCount <= 2, `${again.pliCount - whole.pliCount} requests for keyframes`);
      assert.ok(back.buffered < 0.5, `frames wait ${back.buffered} s in the receiver`);
    });
  }
});
