// A `weir dev` of its own on free ports, for one test file. Its log is kept.

import { spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
export const ARTIFACTS = process.env.WEIR_TEST_ARTIFACTS ?? join(ROOT, "tests/artifacts");
const BINARY = process.env.WEIR_TEST_BINARY ?? process.env.WEIR_BIN ?? join(ROOT, "target/debug/weir");
const START_WITHIN = 20_000;

/** Starts it and waits for the address it prints. */
export async function startServer(name) {
  if (process.env.WEIR_TEST_URL) return { url: process.env.WEIR_TEST_URL.replace(/\/$/, ""), stop: async () => {} };
  mkdirSync(ARTIFACTS, { recursive: true });
  const log = createWriteStream(join(ARTIFACTS, `${name}.server.log`));
  const child = spawn(BINARY, ["dev", "--port", "0", "--log", "warn,weir=debug"], { stdio: ["ignore", "pipe", "pipe"] });
  const exited = new Promise((done) => child.once("exit", (code, signal) => done(code ?? signal)));
  child.stderr.pipe(log, { end: false });
  const url = await new Promise((found, failed) => {
    let text = "";
    const timer = setTimeout(() => failed(new Error(`weir dev printed no address within ${START_WITHIN} ms:\n${text}`)), START_WITHIN);
    child.once("error", failed);
    void exited.then((code) => failed(new Error(`weir dev ended with ${code}; see ${log.path}\n${text}`)));
    child.stdout.on("data", (chunk) => {
      log.write(chunk);
      text += chunk;
      const address = /http:\/\/localhost:\d+/.exec(text)?.[0];
      if (!address) return;
      clearTimeout(timer);
      found(address);
    });
  });
  return {
    url,
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
