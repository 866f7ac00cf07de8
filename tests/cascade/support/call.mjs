// Who is in a call in a world, and where each comes in.

import { Member } from "./member.mjs";

export class Call {
  /** @type {Member[]} */
  members = [];

  /**
   * @param {import("./world.mjs").World} world
   * @param {string} room
   * @param {{ far?: string }} [how] `far`: the edge of who is in the east, if it is not the east's.
   */
  constructor(world, room, { far = world.url("e-edge") } = {}) {
    Object.assign(this, { room, edges: { west: world.url("w-edge"), east: far } });
  }

  /** @param {string} name @param {"west" | "east"} region @param {{ publish?: boolean }} [how] */
  join(name, region, how) {
    const member = new Member(name, region, this.edges[region]);
    this.members.push(member);
    return member.join(this.room, how);
  }

  async close() {
    await Promise.all(this.members.map((member) => member.close()));
  }
}
