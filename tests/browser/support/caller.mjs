// One person who makes calls from browser to browser, by the client library alone: a page of the server's with a room in it, and
// an element for each of the others.

import { Person } from "./person.mjs";

export class Caller extends Person {
  /** @param {Parameters<Person["open"]>[0]} [how] */
  async open(how) {
    await super.open(how);
    await this.page.evaluateOnNewDocument(() => {
      // What a client of another make might say, and what the page is told.
      const Socket = globalThis.WebSocket;
      globalThis.testHeard = [];
      globalThis.WebSocket = class extends Socket {
        constructor(...how) {
          super(...how);
          globalThis.testSocket = this;
          this.addEventListener("message", ({ data }) => globalThis.testHeard.push(JSON.parse(data)));
        }
      };
      // Cameras and microphones that were opened: all of them must be let go of.
      const devices = globalThis.navigator.mediaDevices;
      const capture = devices?.getUserMedia.bind(devices);
      globalThis.testCaptured = [];
      if (devices) {
        devices.getUserMedia = async (...how) => {
          const stream = await capture(...how);
          globalThis.testCaptured.push(...stream.getTracks());
          return stream;
        };
      }
    });
    return this;
  }

  /** Says what the call was instead, too. @override @param {Parameters<Person["until"]>} how */
  async until(...how) {
    try {
      await super.until(...how);
    } catch (fault) {
      const call = await this.page.evaluate(() => globalThis.testCall && (({ state, reason, via, parties }) => ({ state, reason, via, parties: parties.map(({ name }) => name) }))(globalThis.testCall)).catch(String);
      throw new Error(`${fault.message}; the call ${JSON.stringify(call)}`, { cause: fault });
    }
  }

  /** Says something by the page's own socket, past the library. @param {{ [field: string]: unknown }[]} frames */
  raw(...frames) {
    return this.page.evaluate((frames) => frames.forEach((frame) => globalThis.testSocket.send(JSON.stringify(frame))), frames);
  }

  /** A value of the page's call. @param {string} what */
  of(what) {
    return this.page.evaluate((what) => globalThis.testCall[what], what);
  }

  /** Joins a room as callers do: receiving and sending nothing. @param {string} room @param {{ [option: string]: unknown }} [options] */
  async meet(room, options = {}) {
    await this.page.goto(`${this.server.url}/`);
    await this.page.evaluate(
      async ({ room, name, options, given }) => {
        const { Room } = await import("/weir.js");
        const token = async () => {
          if (given) return given;
          const asked = await fetch("/v1/dev/token", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ room, name, identity: name.toLowerCase() }) });
          return (await asked.json()).token;
        };
        // What is not in the window is not sent.
        document.body.replaceChildren();
        const here = new Room({ token, autoSubscribe: false, ...options });
        globalThis.weirRoom = here;
        globalThis.testFaults = [];
        const elements = new Map();
        const watch = (call) => {
          globalThis.testCall = call;
          call.on("fault", ({ error }) => globalThis.testFaults.push(error.message));
          const look = () => {
            for (const { pid, identity } of call.parties) {
              if (elements.has(identity) || call.state !== "connected") continue;
              const element = document.createElement("video");
              Object.assign(element, { autoplay: true, muted: true, playsInline: true, width: 320, height: 180 });
              const place = document.createElement("div");
              place.dataset.who = identity;
              place.style.display = "inline-block";
              place.append(element);
              document.body.append(place);
              elements.set(identity, place);
              call.attach(element, pid);
            }
          };
          call.on("change", look);
          call.on("state", ({ state }) => {
            if (state !== "ended") return;
            for (const element of elements.values()) element.remove();
            elements.clear();
          });
        };
        here.calls.on("call", ({ call }) => watch(call));
        here.calls.on("incoming", ({ call }) => globalThis.testAnswer?.(call));
        await here.connect();
      },
      { room, name: this.name, options, given: this.server.admits?.(room, this.name) },
    );
    return this;
  }

  /** What is done with calls that come. @param {"accept" | "decline" | "nothing"} what */
  answers(what) {
    return this.page.evaluate((what) => {
      globalThis.testAnswer = (call) => what !== "nothing" && call[what]();
    }, what);
  }

  /** Rings somebody by name. @param {string} name @param {{ [option: string]: unknown }} [options] */
  async rings(name, options = {}) {
    await this.until(`${name} is here`, (name) => [...globalThis.weirRoom.members.values()].some((each) => each.name === name), name);
    await this.page.evaluate(
      ({ name, options }) => {
        const { pid } = [...globalThis.weirRoom.members.values()].find((each) => each.name === name);
        globalThis.weirRoom.calls.call(pid, options);
      },
      { name, options },
    );
  }

  /** Rings the only other one at a moment, and hears no ring of theirs before. Resolves with the name of the call. @param {number} at */
  ringsAt(at) {
    return this.page.evaluate(async (at) => {
      const { calls, members } = globalThis.weirRoom;
      const hear = calls.hear.bind(calls);
      const early = [];
      calls.hear = (message) => (message.t === "call" ? early.push(message) > 0 : hear(message));
      await new Promise((done) => setTimeout(done, at - Date.now()));
      const { id } = calls.call([...members.keys()][0]);
      delete calls.hear;
      early.forEach(hear);
      return id;
    }, at);
  }

  /** @param {string} state @param {string} [reason] */
  async call(state, reason) {
    await this.until(`the call is ${state}`, ({ state, reason }) => globalThis.testCall?.state === state && (reason === undefined || globalThis.testCall.reason === reason), { state, reason });
  }

  /** @param {"direct" | "relayed" | "room"} way */
  async goes(way) {
    await this.until(`the call goes ${way}`, (way) => globalThis.testCall?.via === way, way);
  }

  /** Waits until somebody's picture has moved on by some frames. @param {string} name */
  async watches(name, frames = 15) {
    const selector = `${this.tile(name)} video`;
    await this.page.waitForSelector(selector);
    const start = await this.page.$eval(selector, (element) => element.getVideoPlaybackQuality().totalVideoFrames);
    await this.until(
      `${name} moves`,
      ({ selector, least }) => (document.querySelector(selector)?.getVideoPlaybackQuality().totalVideoFrames ?? 0) >= least,
      { selector, least: start + frames },
    );
  }

  /** Where somebody is shown. @param {string} name */
  tile(name) {
    return `[data-who="${name.toLowerCase()}"]`;
  }

  /** Does something with the call of now. @param {"hangUp" | "toRoom" | "restartIce"} what */
  does(what) {
    return this.page.evaluate((what) => void globalThis.testCall[what](), what);
  }
}
