// A member of a call in a Chromium of its own, in a region's network. The page is bare: the client library, a video element for
// each track, and notes of every frame. What it says is what the browser counted.

import { chmodSync, existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ROOT, token, until } from "./world.mjs";

// Installed for the browser tests.
const require = createRequire(join(ROOT, "tests/browser/package.json"));
const { default: puppeteer } = await import(pathToFileURL(require.resolve("puppeteer-core")).href);

const CHROMIUM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path)) ?? "chromium";

export class Member {
  /** What the page complained of. @type {string[]} */
  faults = [];

  /**
   * @param {string} name
   * @param {string} region Whose network it stands in.
   * @param {string} url Of its edge.
   */
  constructor(name, region, url) {
    Object.assign(this, { name, region, url });
  }

  /** @param {string} room @param {{ publish?: boolean, fps?: number }} [how] */
  async join(room, { publish = true, fps = 20 } = {}) {
    const folder = mkdtempSync(join(tmpdir(), "member-"));
    const inside = join(folder, "chromium");
    writeFileSync(inside, `#!/bin/sh\nexec nsenter --net=/run/netns/${this.region} ${CHROMIUM} "$@"\n`);
    chmodSync(inside, 0o755);
    this.browser = await puppeteer.launch({
      executablePath: inside,
      headless: true,
      pipe: true,
      userDataDir: join(folder, "profile"),
      args: [
        "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--use-fake-ui-for-media-stream", `--use-fake-device-for-media-stream=fps=${fps}`,
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run", "--mute-audio",
        "--autoplay-policy=no-user-gesture-required", `--unsafely-treat-insecure-origin-as-secure=${this.url}`,
      ],
    });
    this.page = (await this.browser.pages())[0] ?? (await this.browser.newPage());
    await this.page.setBypassCSP(true);
    await this.page.setViewport({ width: 660, height: 760 });
    this.page.on("console", (message) => message.type() === "error" && this.faults.push(message.text()));
    this.page.on("pageerror", (error) => this.faults.push(error.message));
    await this.page.evaluateOnNewDocument(watch);
    // Any document of the edge's will do: the origin is what counts.
    await this.page.goto(`${this.url}/weir.js`);
    await this.page.evaluate(call, { token: token(room, this.name), publish, fps });
    return this;
  }

  /** The names of the others. */
  others() {
    return this.page.evaluate(() => [...globalThis.room.members.values()].map(({ name }) => name).sort());
  }

  /** What the browser counted so far of everybody it receives, by name: `{ video, audio }`. */
  counts() {
    return this.page.evaluate(() => globalThis.counts());
  }

  /** Waits until everybody named is there, alone, and their pictures move. */
  async sees(names, timeout = 45_000) {
    const wanted = [...names].sort();
    await until(`${this.name} sees ${wanted.join(", ")}`, async () => {
      const others = await this.others();
      if (JSON.stringify(others) !== JSON.stringify(wanted)) throw new Error(`there are ${others}`);
      return true;
    }, timeout, 100);
  }

  /** Waits until everybody named is painted anew. */
  async paints(names, { frames = 5, timeout = 45_000 } = {}) {
    const since = Date.now();
    await until(`${this.name} sees ${names.join(", ")} move`, async () => {
      const painted = await this.painted(names, since);
      const still = names.filter((name) => painted[name].length < frames);
      if (still.length > 0) throw new Error(`${still} stands still; counts ${JSON.stringify(await this.counts())}`);
      return true;
    }, timeout, 200);
  }

  /** When frames of each named were painted since, in milliseconds since 1970. @returns {Promise<Record<string, number[]>>} */
  painted(names, since) {
    return this.page.evaluate((names, since) => Object.fromEntries(names.map((name) => [name, (globalThis.painted[name] ?? []).filter((at) => at >= since)])), names, since);
  }

  /** The longest time without a painted frame of each named between two moments, in milliseconds. */
  async gaps(names, from, to) {
    // Somebody may have stood still already.
    const painted = await this.painted(names, from - 10_000);
    return Object.fromEntries(names.map((name) => {
      const before = painted[name].filter((at) => at < from).slice(-1);
      const within = painted[name].filter((at) => at >= from && at < to);
      const times = [...(before.length ? before : [from]), ...within, to];
      return [name, Math.round(Math.max(...times.slice(1).map((at, index) => at - times[index])))];
    }));
  }

  /** Frames that came in whole since, by name: `[rtp timestamp, when]`. Forgets them. */
  arrivals() {
    return this.page.evaluate(() => globalThis.arrivals());
  }

  /** What this page sends, by rid: counters of the browser. */
  sent() {
    return this.page.evaluate(async () => {
      const sent = {};
      (await globalThis.connection.getStats()).forEach((each) => {
        if (each.type !== "outbound-rtp") return;
        const { framesSent, framesEncoded, bytesSent, headerBytesSent, packetsSent, frameHeight, targetBitrate, qualityLimitationReason, pliCount, nackCount } = each;
        sent[each.kind === "audio" ? "audio" : (each.rid ?? "video")] = { framesSent, framesEncoded, bytesSent, headerBytesSent, packetsSent, frameHeight, targetBitrate, qualityLimitationReason, pliCount, nackCount };
      });
      return sent;
    });
  }

  say(text) {
    return this.page.evaluate((text) => globalThis.room.sendChat(text), text);
  }

  heard() {
    return this.page.evaluate(() => globalThis.room.chat.map(({ text }) => text));
  }

  async close() {
    // Asked to close it may take its time; nothing of it is needed any more.
    this.browser?.process()?.kill("SIGKILL");
    await this.browser?.disconnect();
  }
}

/** Runs in the page before anything else: notes when each frame has come in whole, before it waits for its turn to be shown. */
function watch() {
  const code = `
    const frames = {};
    onrtctransform = ({ transformer: { readable, writable, options: { id } } }) => {
      const note = (frame, controller) => {
        (frames[id] ??= []).push([frame.getMetadata().rtpTimestamp ?? frame.timestamp, performance.timeOrigin + performance.now()]);
        controller.enqueue(frame);
      };
      readable.pipeThrough(new TransformStream({ transform: note })).pipeTo(writable);
    };
    onmessage = () => {
      postMessage(frames);
      for (const id in frames) frames[id] = [];
    };`;
  let worker;
  const Connection = globalThis.RTCPeerConnection;
  globalThis.RTCPeerConnection = class extends Connection {
    constructor(...how) {
      super(...how);
      globalThis.connection = this;
    }
    addTransceiver(...how) {
      const made = super.addTransceiver(...how);
      const { receiver } = made;
      // Later is too late: by then the frames have found a shorter way.
      if (receiver.track.kind === "video") {
        worker ??= new Worker(URL.createObjectURL(new Blob([code])));
        receiver.transform = new globalThis.RTCRtpScriptTransform(worker, { id: receiver.track.id });
      }
      return made;
    }
  };
  /** By name. */
  globalThis.arrivals = async () => {
    if (!worker) return {};
    const frames = await new Promise((done) => {
      worker.onmessage = ({ data }) => done(data);
      worker.postMessage(null);
    });
    return Object.fromEntries(globalThis.received("video").map(({ name, media }) => [name, frames[media] ?? []]));
  };
}

/** Runs in the page: joins, shows everybody, keeps notes. */
async function call({ token, publish, fps }) {
  document.body.replaceChildren();
  const { Room } = await import("/weir.js");
  const room = (globalThis.room = new Room({ token, adaptive: false }));
  const painted = (globalThis.painted = {});
  const show = ({ track, member }) => {
    if (track.kind !== "video") return;
    const element = Object.assign(document.createElement("video"), { width: 320, height: 180, muted: true, autoplay: true, playsInline: true });
    document.body.append(element);
    const detach = room.attach(element, track);
    const times = (painted[member.name] ??= []);
    const note = (now) => {
      times.push(performance.timeOrigin + now);
      element.requestVideoFrameCallback(note);
    };
    element.requestVideoFrameCallback(note);
    const off = room.on("trackremoved", (gone) => {
      if (gone.track !== track) return;
      off();
      detach();
      element.remove();
    });
  };
  room.on("trackadded", show);
  globalThis.received = (kind) =>
    [...room.members.values()].flatMap((member) => [...member.tracks.values()].filter((track) => track.kind === kind && track.media).map((track) => ({ name: member.name, media: track.media.id })));
  globalThis.counts = async () => {
    const found = {};
    const wanted = {
      video: ["packetsReceived", "packetsLost", "framesReceived", "framesDecoded", "framesDropped", "keyFramesDecoded", "freezeCount", "totalFreezesDuration", "jitterBufferDelay", "jitterBufferEmittedCount", "nackCount", "pliCount", "retransmittedPacketsReceived", "frameHeight", "bytesReceived", "totalInterFrameDelay"],
      audio: ["packetsReceived", "packetsLost", "concealedSamples", "silentConcealedSamples", "totalSamplesReceived", "totalAudioEnergy", "jitterBufferDelay", "jitterBufferEmittedCount"],
    };
    const all = [];
    (await globalThis.connection.getStats()).forEach((each) => each.type === "inbound-rtp" && all.push(each));
    for (const kind of ["video", "audio"]) {
      for (const { name, media } of globalThis.received(kind)) {
        const each = all.find(({ trackIdentifier }) => trackIdentifier === media);
        if (each) (found[name] ??= {})[kind] = Object.fromEntries(wanted[kind].map((key) => [key, each[key] ?? 0]));
      }
    }
    return found;
  };
  await room.connect();
  if (publish) {
    await room.setMicrophone(true);
    await room.setCamera(true, { width: 640, height: 360, frameRate: fps });
  }
}
