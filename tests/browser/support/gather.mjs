// One server for all tests of a file or suite, and the people of each test: they are gone when it ends, for the machine is small, and
// it fails if one of their pages complained.

import assert from "node:assert/strict";
import { after, afterEach, before } from "node:test";
import { faults, Person } from "./person.mjs";
import { startServer } from "./server.mjs";

/** To be called where tests are declared. @param {string} name Of the server's log. */
export function gather(name) {
  /** @type {Awaited<ReturnType<typeof startServer>>} */
  let server;
  /** @type {Person[]} */
  let people = [];

  before(async () => {
    server = await startServer(name);
  });
  afterEach(async (context) => {
    const complaints = faults(people);
    await Promise.all(people.map((person) => person.close()));
    people = [];
    assert.deepEqual(complaints, [], `the pages complained in “${context.name}”`);
  });
  after(async () => {
    assert.equal(await server?.stop(), process.env.WEIR_TEST_URL ? undefined : 0, "the server stops cleanly when asked");
  });

  return {
    get server() {
      return server;
    },
    /** Somebody with an open browser, for the test that runs. @param {string} name @param {Parameters<Person["open"]>[0] & { at?: { url: string } }} [how] */
    person: async (name, { at = server, ...how } = {}) => {
      const one = new Person(name, at);
      people.push(one);
      return one.open(how);
    },
  };
}
