// A server of its own on free ports, for one test file: `weir dev`, or `weir serve` where tokens matter. Its log is kept.

import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createWriteStream, mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
export const ARTIFACTS = process.env.WEIR_TEST_ARTIFACTS ?? join(ROOT, "tests/artifacts");
const BINARY = process.env.WEIR_TEST_BINARY ?? process.env.WEIR_BIN ?? join(ROOT, "target/debug/weir");
const START_WITHIN = 20_000;

/** A port that was free a moment ago. */
function freePort() {
  return new Promise((found) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => found(port));
    });
  });
}

/**
 * Starts it and waits until it answers.
 * @param {string} name Of the log.
 * @param {{ serve?: boolean, regions?: boolean, port?: number, set?: string[] }} [how] `serve`: knows one API key and hands nothing out; `token`
 * mints. `regions`: several of them, as `weir dev` runs them. `set`: of its configuration, as `section.key=value`.
 */
export async function startServer(name, { serve = false, regions = false, port: wanted = 0, set = [] } = {}) {
  if (process.env.WEIR_TEST_URL && !serve) return { url: process.env.WEIR_TEST_URL.replace(/\/$/, ""), stop: async () => {} };
  mkdirSync(ARTIFACTS, { recursive: true });
  const log = createWriteStream(join(ARTIFACTS, `${name}.server.log`));
  const env = { ...process.env, WEIR_AUTH__KEYS__test: randomBytes(32).toString("hex") };
  const port = serve ? await freePort() : wanted;
  const args = serve
    ? ["serve", "--http-listen", `127.0.0.1:${port}`, "--admin-listen", `127.0.0.1:${await freePort()}`, "--udp-port", String(await freePort()), "--tcp-port", "0", "--set", "media.listen_ip=127.0.0.1", "--advertise", "127.0.0.1", "--shards", "1"]
    : ["dev", ...(regions ? [] : ["--single"]), "--port", String(port)];
  const child = spawn(BINARY, [...args, ...set.flatMap((each) => ["--set", each]), "--log", "warn,weir=debug"], { stdio: ["ignore", "pipe", "pipe"], env: serve ? env : process.env });
  let ended = null;
  const exited = new Promise((done) => child.once("exit", (code, signal) => done((ended = code ?? signal))));
  child.once("error", (fault) => (ended = fault));
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      log.write(chunk);
      if (text.length < 20_000) text += chunk;
    });
  }
  let url = serve ? `http://localhost:${port}` : undefined;
  for (const start = Date.now(); ; ) {
    url ??= /http:\/\/localhost:\d+/.exec(text)?.[0];
    if (url && (await fetch(url).then(({ ok }) => ok, () => false))) break;
    if (ended !== null) throw new Error(`weir ended with ${ended}:\n${text}`);
    if (Date.now() - start > START_WITHIN) throw new Error(`weir did not answer within ${START_WITHIN} ms:\n${text}`);
    await new Promise((done) => setTimeout(done, 100));
  }
  return {
    url,
    /** The operator's page of `weir dev`. */
    dashboard: /Dashboard: (http:\/\/[\w.:]+)/.exec(text)?.[1],
    /** Mints a token with the server's own command. */
    token: (room, identity, ...more) => {
      const minted = spawnSync(BINARY, ["token", "--room", room, "--identity", identity, ...more], { env, encoding: "utf8" });
      if (minted.status !== 0) throw new Error(`weir token: ${minted.stderr}`);
      return minted.stdout.trim();
    },
    /** The machine it stands on loses power. */
    kill: () => {
      child.kill("SIGKILL");
      return exited;
    },
    /** Asks it to stop; the code it ends with. */
    stop: async () => {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 8_000);
      const code = await exited;
      clearTimeout(timer);
      log.end();
      return code;
    },
  };
}
