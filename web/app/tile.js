// One person or one shared screen: picture or avatar, name, state, what can be done with it. Attaching the track tells the
// library how large it is shown.

import { Avatar } from "./avatar.js";
import { kbps, percent } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";
import { why } from "./why.js";

/** @typedef {import("./tiles.js").Tile} Tile */

/**
 * @param {object} props
 * @param {Tile} props.tile
 * @param {import("../weir.js").Room} props.room
 * @param {boolean} [props.large] The one that the stage is about.
 * @param {boolean} [props.pinned]
 * @param {(key: string) => void} props.onPin
 * @param {import("../weir.js").StatsSnapshot | null} props.stats
 * @param {Record<string, string>} [props.style]
 */
export function TileView({ tile, room, large = false, pinned = false, onPin, stats, style }) {
  const video = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const [hasPicture, setHasPicture] = useState(false);
  const { video: track, local, what } = tile;
  const id = local ? track?.cid : track?.id;
  const priority = pinned ? 3 : large ? 2 : what === "screen" ? 1 : 0;

  useEffect(() => {
    const element = video.current;
    if (!element || !track) return undefined;
    if (local) {
      element.srcObject = track.media ? new MediaStream([track.media]) : null;
      return undefined;
    }
    return room.attach(element, track, { priority });
  }, [id, local ? track?.media : null, priority]);

  useEffect(() => {
    const element = video.current;
    if (!element) return undefined;
    const came = () => setHasPicture(element.videoWidth > 0);
    const went = () => setHasPicture(false);
    // An element that was playing when it gets a new stream emits `emptied` first.
    element.addEventListener("resize", came);
    element.addEventListener("loadeddata", came);
    element.addEventListener("emptied", went);
    return () => {
      element.removeEventListener("resize", came);
      element.removeEventListener("loadeddata", came);
      element.removeEventListener("emptied", went);
    };
  }, []);

  // The last picture of somebody who moved to another server stays until the next one comes, or the library clears it.
  const pictured = useRef("");
  const moved = !local && pictured.current !== "" && pictured.current !== tile.pid;
  const showsVideo = hasPicture && (track ? !track.muted && (!local || track.media !== null) : moved);
  if (track && showsVideo && (local || track.media)) pictured.current = tile.pid;
  const waiting = Boolean(track && !track.muted && !local && !hasPicture);
  const paused = local || moved || track?.streaming !== "paused" ? null : PAUSED[track.reason ?? ""]?.(tile.name) ?? null;
  const reduced = local || track?.streaming !== "active" ? null : REDUCED[track.reason ?? ""] ?? null;
  const label = what === "screen" ? `${local ? "Your" : `${tile.name}'s`} screen` : local ? `${tile.name} (you)` : tile.name;
  const quality = tile.member.quality?.q ?? null;
  return html`
    <article
      class=${`tile ${what} ${tile.speaking && what === "camera" ? "speaking" : ""} ${large ? "large" : ""} ${tile.member.away ? "away" : ""} ${paused ? "paused" : ""}`}
      style=${style}
      aria-label=${label}
      data-testid="tile"
      data-key=${tile.key}
      data-name=${tile.name}
      data-rid=${local ? "" : track?.rid ?? ""}
      data-video=${showsVideo ? "on" : "off"}
      data-reason=${local ? "" : track?.reason ?? ""}
    >
      <video ref=${video} class=${`${local && what === "camera" ? "mirror" : ""} ${showsVideo ? "" : "hidden"}`} autoplay playsinline muted aria-hidden="true"></video>
      ${!showsVideo && html`<div class=${`no-video ${waiting ? "waiting" : ""}`}><${Avatar} name=${tile.name} identity=${tile.identity} /></div>`}
      ${paused && html`<div class="paused-note" role="status" data-testid="paused"><${Icon} name=${paused.icon} size=${22} /><span>${paused.text}</span></div>`}
      ${tile.member.hand && what === "camera" && html`<span class="badge hand" title="Hand raised" data-testid="hand-badge"><${Icon} name="hand" size=${18} /><span class="visually-hidden">Hand raised</span></span>`}
      ${tile.member.away && html`<span class="badge away-badge">Reconnecting…</span>`}
      <div class="caption" aria-live="off" data-testid="caption"></div>
      <footer class="nameplate">
        ${what === "camera" && tile.muted && html`<span class="muted-mark" title="Microphone off" data-testid="muted-mark"><${Icon} name="micOff" size=${16} /><span class="visually-hidden">Microphone off</span></span>`}
        ${what === "screen" && html`<${Icon} name="screen" size=${16} />`}
        <span class="name">${label}</span>
        ${reduced && html`<span class="reduced-mark" role="img" aria-label=${reduced} title=${reduced} data-testid="reduced"><${Icon} name="reduced" size=${15} /></span>`}
        ${quality && !local && html`<${Bars} quality=${quality} />`}
      </footer>
      <div class="tile-actions">
        <button class="round small" aria-pressed=${pinned} aria-label=${`${pinned ? "Unpin" : "Pin"} ${label}`} title=${pinned ? "Unpin" : "Pin"} data-testid="pin" onClick=${() => onPin(tile.key)}>
          <${Icon} name=${pinned ? "unpin" : "pin"} size=${18} />
        </button>
      </div>
      ${stats && html`<${TileStats} tile=${tile} stats=${stats} />`}
    </article>
  `;
}

/** Why there is no picture, where a person would wonder: not of what is off screen, and not of a camera that was turned off. @type {Record<string, (name: string) => { icon: "pause" | "cameraOff", text: string }>} */
const PAUSED = {
  bandwidth: () => ({ icon: "pause", text: "Paused to keep the call going on this connection" }),
  link: () => ({ icon: "pause", text: "Paused: the way between the servers is busy" }),
  busy: () => ({ icon: "pause", text: "Paused: the server has too much to do" }),
  no_media: (name) => ({ icon: "cameraOff", text: `No picture is coming from ${name}` }),
};

/** @type {Record<string, string>} */
const REDUCED = {
  bandwidth: "Reduced to fit this connection",
  link: "Reduced: the way between the servers is busy",
  busy: "Reduced: the server has too much to do",
};

const QUALITY = { excellent: 3, good: 2, poor: 1, lost: 0 };

/** @param {{ quality: keyof typeof QUALITY }} props */
export function Bars({ quality }) {
  const lit = QUALITY[quality] ?? 0;
  return html`<span class=${`bars bars-${lit}`} role="img" aria-label=${`Connection: ${quality}`} title=${`Connection: ${quality}`}>
    ${[0, 1, 2].map((bar) => html`<i key=${bar} class=${bar < lit ? "lit" : ""}></i>`)}
  </span>`;
}

/** @param {{ tile: Tile, stats: import("../weir.js").StatsSnapshot }} props */
function TileStats({ tile, stats }) {
  const { video: track, local, what } = tile;
  /** @type {[string, string][]} */
  const lines = [];
  if (track && local) {
    const sent = stats.outbound.find((each) => each.track === track.id);
    if (sent) {
      lines.push(["sends", `${sent.codec ?? "?"}${sent.limitedBy === "none" ? "" : ` · ${sent.limitedBy}`}`]);
      for (const layer of [...sent.layers].sort((a, b) => a.width - b.width)) {
        lines.push([layer.rid ?? "one", layer.active && layer.width ? `${layer.width}×${layer.height} ${Math.round(layer.fps)} fps ${kbps(layer.bps)}` : "off"]);
      }
      lines.push(["loss", percent(sent.loss)]);
    }
  } else if (track) {
    const received = stats.inbound.find((each) => each.track === track.id);
    if (received) {
      lines.push(["video", `${received.codec ?? "?"}${received.rid ? ` · ${received.rid}` : ""} · ${track.streaming ?? "…"}${track.reason ? ` (${track.reason.replace("_", " ")})` : ""}`]);
      lines.push(["size", `${received.width}×${received.height} ${Math.round(received.fps)} fps`]);
      lines.push(["rate", kbps(received.bps)]);
      lines.push(["loss", `${percent(received.loss)} · ${received.freezes} freezes`]);
    }
    lines.push(...why(stats.server, track.id));
  }
  const voice = what === "camera" && !local ? stats.inbound.find((each) => each.track === tile.member.track("microphone")?.id) : undefined;
  if (voice) lines.push(["audio", `${voice.codec ?? "?"} ${kbps(voice.bps)} · ${percent(voice.loss)}`]);
  const quality = tile.member.quality;
  if (quality) lines.push(["rtt", `${quality.rtt_ms} ms`]);
  const path = track && !local ? way(track.path) : "";
  if (path) lines.push(["path", path]);
  if (lines.length === 0) return null;
  return html`<dl class="tile-stats" data-testid="tile-stats">
    ${lines.map(([key, value]) => html`<div key=${key}><dt>${key}</dt><dd data-testid=${key === "path" ? "tile-path" : undefined}>${value}</dd></div>`)}
  </dl>`;
}

/** The servers a track comes through, from its publisher to here. @param {readonly import("../weir.js").Edge[]} path @returns {string} */
export function way(path) {
  const last = path.length - 1;
  return [...path]
    .reverse()
    .map(({ id, region }, index) => `${index === 0 || index === last ? "edge" : "core"} ${id === region ? region : `${region} (${id})`}`)
    .join(" → ");
}
