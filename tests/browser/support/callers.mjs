// People who call each other over the regions of one `weir dev`: the server, and everybody who was opened at it.

import { Caller } from "./caller.mjs";
import { startServer } from "./server.mjs";

export class Callers {
  #server;
  /** @type {{ region: string, node: string, url: string }[]} */ #regions = [];
  /** @type {Caller[]} */ #people = [];

  /** @param {string} name Of the logs. */
  async start(name) {
    this.#server = await startServer(name, { regions: true });
    const dev = await (await fetch(`${this.#server.dashboard}/v1/admin/dev`)).json();
    this.#regions = dev.regions;
  }

  /** @param {string} name @param {number} region */
  person(name, region) {
    const one = new Caller(name, { url: this.#regions[region].url });
    this.#people.push(one);
    return one.open();
  }

  /** Whoever is at a region's node moves to another. @param {number} region */
  async drain(region) {
    const { node } = this.#regions[region];
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${this.#server.dashboard}/v1/admin/dev/node`, { method: "POST", headers, body: JSON.stringify({ node, action: "drain" }) });
    if (!answer.ok) throw new Error(`${node} does not drain: ${answer.status}`);
  }

  async close() {
    await Promise.all(this.#people.map((person) => person.close()));
    await this.#server?.stop();
  }
}
