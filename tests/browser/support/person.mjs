// One person at one computer: a Chromium process of its own with a fake camera and microphone, and what such a person does
// and sees. Waits are for conditions, and bounded.

import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";
import { ARTIFACTS } from "./server.mjs";

const CHROMIUM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path)) ?? "chromium";

/** Conditions that need media may take this long on a busy machine; the others are there much sooner. */
export const PATIENCE = 45_000;

/** Wide enough for the full bar, small enough that a tile of four calls for the small layer of a 360p camera. */
const WINDOW = { width: 780, height: 560 };

export class Person {
  /** What the page said that it should not have. */
  faults = [];

  /** @param {string} name @param {{ url: string }} server */
  constructor(name, server) {
    this.name = name;
    this.server = server;
  }

  /**
   * @param {{ viewport?: import("puppeteer-core").Viewport, args?: string[], inside?: (program: string) => string }} [how] `inside`: a
   * program that starts the browser elsewhere, as in another network.
   */
  async open({ viewport = WINDOW, args = [], inside } = {}) {
    this.profile = mkdtempSync(join(tmpdir(), "weir-test-"));
    this.browser = await puppeteer.launch({
      executablePath: inside?.(CHROMIUM) ?? CHROMIUM,
      pipe: inside !== undefined,
      headless: true,
      userDataDir: this.profile,
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream=fps=15",
        "--auto-select-tab-capture-source-by-title=weir",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--mute-audio",
        ...args,
      ],
    });
    this.page = (await this.browser.pages())[0] ?? (await this.browser.newPage());
    await this.page.setViewport(viewport);
    this.page.on("console", (message) => {
      if (message.type() === "error") this.faults.push(`console: ${message.text()} (${message.location().url ?? ""})`);
    });
    this.page.on("pageerror", (error) => this.faults.push(`error: ${error.message}`));
    await this.page.evaluateOnNewDocument(() => {
      // The page itself never hands its connection out; a test that fails wants to know all that the browser counts.
      const Connection = globalThis.RTCPeerConnection;
      const made = [];
      globalThis.RTCPeerConnection = class extends Connection {
        constructor(...how) {
          super(...how);
          made.push(this);
        }
      };
      // One that was only made to ask what the browser can do is closed by then.
      Object.defineProperty(globalThis, "testConnection", { get: () => made.findLast((each) => each.signalingState !== "closed") ?? made.at(-1) });
      addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
    });
    return this;
  }

  /** Opens the room's page, types a name and clicks on Join, as people do. */
  async join(room, { query = "video=360" } = {}) {
    await this.page.goto(`${this.server.url}/room/${room}?${query}`);
    await this.type("name", this.name);
    await this.page.waitForFunction(() => document.querySelector('[data-testid="preview"]').videoWidth > 0, { timeout: PATIENCE });
    await this.click("join");
    await this.inCall();
    return this;
  }

  async inCall() {
    await this.see('[data-testid="call"][data-state="connected"]');
  }

  // ---- doing ----

  /** @param {string} id */
  async click(id) {
    const element = await this.see(`[data-testid="${id}"]`);
    await element.click();
  }

  /** @param {string} id @param {string} text */
  async type(id, text) {
    const element = await this.see(`[data-testid="${id}"]`);
    await element.click({ count: 3 });
    await element.type(text);
  }

  /** @param {string} key */
  async press(key) {
    await this.page.keyboard.press(key);
  }

  // ---- seeing ----

  /** Waits until it can be seen. @param {string} selector */
  see(selector, timeout = PATIENCE) {
    return this.page.waitForSelector(selector, { visible: true, timeout });
  }

  /** Waits until it can't be seen any more. @param {string} selector */
  unsee(selector, timeout = PATIENCE) {
    return this.page.waitForSelector(selector, { hidden: true, timeout });
  }

  tile(name) {
    return `[data-testid="tile"][data-name="${name}"]`;
  }

  /** @param {string} id @returns {Promise<string>} */
  text(id) {
    return this.page.$eval(`[data-testid="${id}"]`, (element) => element.textContent.trim());
  }

  /** Who has a tile. */
  names() {
    return this.page.$$eval('[data-testid="tile"]', (tiles) => tiles.map((tile) => tile.dataset.name));
  }

  /** Waits until a function of the page's, given `argument`, is true; says what was there instead. */
  async until(what, check, argument, timeout = PATIENCE) {
    try {
      await this.page.waitForFunction(check, { timeout, polling: 200 }, argument);
    } catch (fault) {
      await this.shot(`failed-${what.replace(/\W+/g, "-")}`).catch(() => {});
      const seen = await this.received().catch((error) => String(error));
      const raw = await this.counters().catch((error) => String(error));
      throw new Error(`${this.name}: ${what}: not within ${timeout} ms; receives ${JSON.stringify(seen)}; counts ${JSON.stringify(raw)}`, { cause: fault });
    }
  }

  /**
   * What arrives, by the name of the person it comes from and the source, from the browser's own counters.
   * @returns {Promise<Record<string, Record<string, any>>>}
   */
  received() {
    return this.page.evaluate(async () => {
      const room = globalThis.weirRoom;
      const stats = await room.stats();
      const found = {};
      for (const member of room.members.values()) {
        found[member.name] = {};
        for (const track of member.tracks.values()) {
          const inbound = stats.inbound.find((each) => each.track === track.id);
          found[member.name][track.source] = { ...inbound, muted: track.muted, streaming: track.streaming, rid: track.rid };
        }
      }
      return found;
    });
  }

  /** What the browser counts of the video it receives, by m-line. */
  counters() {
    return this.page.evaluate(async () => {
      const found = [];
      (await globalThis.testConnection.getStats()).forEach((each) => {
        if (each.type !== "inbound-rtp" || each.kind !== "video") return;
        const { mid, ssrc, packetsReceived, packetsLost, framesReceived, framesDecoded, keyFramesDecoded, framesDropped, pliCount, nackCount, retransmittedPacketsReceived } = each;
        found.push({ mid, ssrc, packetsReceived, packetsLost, framesReceived, framesDecoded, keyFramesDecoded, framesDropped, pliCount, nackCount, retransmittedPacketsReceived });
      });
      return found;
    });
  }

  /** Waits until someone's picture has moved on by some frames; what it is like then. */
  async seesMoving(name, { source = "camera", frames = 8, width } = {}) {
    // An m-line counts on when it is given to another track: counting starts when this one has it.
    await this.until(
      `${name}'s ${source} has a place`,
      async ({ name, source }) => {
        const room = globalThis.weirRoom;
        const track = [...room.members.values()].find((each) => each.name === name)?.track(source);
        return track?.media && (await room.stats()).inbound.some((each) => each.track === track.id);
      },
      { name, source },
    );
    const start = (await this.received())[name][source].framesDecoded;
    await this.until(
      `${name}'s ${source} moves${width ? ` at ${width} wide` : ""}`,
      async ({ name, source, atLeast, width }) => {
        const room = globalThis.weirRoom;
        const member = [...room.members.values()].find((each) => each.name === name);
        const track = member?.track(source);
        const inbound = track && (await room.stats()).inbound.find((each) => each.track === track.id);
        return inbound && inbound.framesDecoded >= atLeast && (!width || inbound.width === width);
      },
      { name, source, atLeast: start + frames, width },
    );
    return (await this.received())[name][source];
  }

  /** From now on, notes when someone's tile paints a frame, whatever stream or element it comes from. */
  watchPicture(name) {
    return this.page.evaluate((selector) => {
      // While the page itself stands still, as on a machine that others use too, it can't see a picture move.
      let [looked, away] = [performance.now(), 0];
      const clock = () => performance.now() - away;
      const painted = { at: [clock()], frames: -1, clock };
      (globalThis.testPainted ??= {})[selector] = painted;
      // Counted, not called back for: a callback that waits while the track of the stream is swapped may never come.
      setInterval(() => {
        const now = performance.now();
        if (now - looked > 60) away += now - looked;
        looked = now;
        const element = document.querySelector(selector);
        const frames = element?.getVideoPlaybackQuality().totalVideoFrames ?? painted.frames;
        if (frames === painted.frames) return;
        painted.frames = frames;
        if (!element.classList.contains("hidden")) painted.at.push(clock());
      }, 10);
    }, `${this.tile(name)} video`);
  }

  /** The longest time in milliseconds without a frame since {@link watchPicture}, and when the last ones came. */
  frozen(name) {
    return this.page.evaluate((selector) => {
      const { at, clock } = globalThis.testPainted[selector];
      const times = [...at, clock()];
      return { longest: Math.max(...times.slice(1).map((time, index) => time - times[index])), frames: times.length - 2 };
    }, `${this.tile(name)} video`);
  }

  /** Waits until someone's voice brings energy. */
  async hears(name) {
    const start = (await this.received())[name]?.microphone?.audioEnergy ?? 0;
    await this.until(
      `${name} can be heard`,
      async ({ name, start }) => {
        const room = globalThis.weirRoom;
        const track = [...room.members.values()].find((each) => each.name === name)?.track("microphone");
        const inbound = track && (await room.stats()).inbound.find((each) => each.track === track.id);
        return inbound && inbound.audioEnergy > start + 1e-4;
      },
      { name, start },
    );
  }

  /** @param {string} step */
  async shot(step) {
    mkdirSync(ARTIFACTS, { recursive: true });
    await this.page.screenshot({ path: join(ARTIFACTS, `${step}-${this.name.toLowerCase().replace(/\W+/g, "-")}.png`) });
  }

  // ---- faults of the world ----

  /** No HTTP and no WebSocket; the media, which are UDP, go on. @param {boolean} offline */
  async offline(offline) {
    this.network ??= await this.page.createCDPSession();
    await this.network.send("Network.enable");
    await this.network.send("Network.emulateNetworkConditions", { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
    // The emulation spares sockets that are open already.
    if (offline) await this.page.evaluate(() => globalThis.weirRoom.simulate("socket"));
  }

  /** The computer loses power. */
  crash() {
    this.browser.process().kill("SIGKILL");
  }

  async close() {
    await this.browser?.close().catch(() => {});
    if (this.profile) rmSync(this.profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** Faults of pages, without those that a test brought about. @param {Person[]} people @param {RegExp} [expected] */
export function faults(people, expected = /^$/) {
  return people.flatMap(({ name, faults: all }) => all.filter((fault) => !expected.test(fault)).map((fault) => `${name}: ${fault}`));
}
