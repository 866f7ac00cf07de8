// How long a call has lasted.

import { duration } from "./format.js";
import { html, useEffect, useState } from "./html.js";

/** @param {{ since: number }} props */
export function Elapsed({ since }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return html`<span class="elapsed" role="timer" aria-label="Time in the call">${duration(now - since)}</span>`;
}
