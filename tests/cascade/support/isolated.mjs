// Starts the script it is imported by anew where network namespaces may be made; see `../isolated`. Import it first.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

if (!process.env.WEIR_CASCADE_ISOLATED && !process.argv.includes("--help")) {
  const isolated = fileURLToPath(new URL("../isolated", import.meta.url));
  const { status } = spawnSync(isolated, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], { stdio: "inherit" });
  process.exit(status ?? 1);
}
