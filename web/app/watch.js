// `/watch/ROOM`: a picture as large as the window, for somebody who only watches. Whoever speaks, or with `?member=IDENTITY` that one.

import { Viewer } from "../weir.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { Icon, Mark } from "./icons.js";
import { giveToken, joinToken } from "./session.js";

/** Controls go after so many milliseconds without a move. */
const IDLE = 3_000;
/** A picture that stands for so long is none, in milliseconds. */
const STILL = 2_500;

/** @param {{ name: string, onHome: () => void }} props */
export function Watch({ name, onHome }) {
  const member = new URLSearchParams(location.search).get("member") ?? undefined;
  const [, redraw] = useState(0);
  const [round, setRound] = useState(0);
  const [live, setLive] = useState(false);
  const [muted, setMuted] = useState(false);
  const [blocked, setBlocked] = useState(false);
  const [idle, setIdle] = useState(false);
  const picture = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const stage = useRef(/** @type {HTMLElement | null} */ (null));
  const viewer = useRef(/** @type {Viewer | null} */ (null));

  useEffect(() => {
    const video = picture.current;
    if (!video) return undefined;
    const one = new Viewer({ room: name, member, token: () => joinToken(name, "Viewer") });
    viewer.current = one;
    // For tests and for the curious.
    Object.assign(globalThis, { weirViewer: one });
    const ended = one.on("change", () => {
      redraw((count) => count + 1);
      void play();
    });
    let [frames, at] = [0, 0];
    const timer = setInterval(() => {
      const now = video.getVideoPlaybackQuality().totalVideoFrames;
      if (now !== frames) [frames, at] = [now, performance.now()];
      setLive(at > 0 && performance.now() - at < STILL);
    }, 250);
    // An element that waits for its first frame would keep the tab loading until somebody speaks.
    const begin = () => {
      video.srcObject = one.media;
      one.start();
    };
    if (document.readyState === "complete") begin();
    else addEventListener("load", begin, { once: true });
    const gone = () => one.close();
    addEventListener("pagehide", gone);
    return () => {
      removeEventListener("load", begin);
      removeEventListener("pagehide", gone);
      clearInterval(timer);
      ended();
      one.close();
    };
  }, [name, member, round]);

  /** Browsers start no sound before a click; a picture they do. */
  const play = async () => {
    const video = picture.current;
    if (!video || !video.paused) return;
    try {
      await video.play();
    } catch (fault) {
      if (!(fault instanceof DOMException) || fault.name !== "NotAllowedError" || video.muted) return;
      video.muted = true;
      setMuted(true);
      setBlocked(true);
      await video.play().catch(() => {});
    }
  };

  /** @param {boolean} on */
  const mute = (on) => {
    if (picture.current) picture.current.muted = on;
    setMuted(on);
    setBlocked(false);
    void play();
  };

  const whole = () => {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void stage.current?.requestFullscreen?.().catch(() => {});
  };
  const apart = () => {
    if (document.pictureInPictureElement) void document.exitPictureInPicture();
    else void picture.current?.requestPictureInPicture?.().catch(() => {});
  };

  useEffect(() => {
    let timer = 0;
    const moved = () => {
      setIdle(false);
      clearTimeout(timer);
      timer = window.setTimeout(() => setIdle(true), IDLE);
    };
    /** @param {KeyboardEvent} event */
    const pressed = (event) => {
      moved();
      if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "m") mute(!picture.current?.muted);
      else if (event.key === "f") whole();
    };
    moved();
    addEventListener("pointermove", moved);
    addEventListener("pointerdown", moved);
    addEventListener("keydown", pressed);
    return () => {
      clearTimeout(timer);
      removeEventListener("pointermove", moved);
      removeEventListener("pointerdown", moved);
      removeEventListener("keydown", pressed);
    };
  }, []);

  const { state = "idle", error = null } = viewer.current ?? {};
  const refused = state === "closed" && error !== null;
  return html`
    <main class=${`watch ${idle && live ? "idle" : ""}`} ref=${stage} data-testid="watch" data-state=${state} data-live=${live}>
      <video ref=${picture} data-testid="watched" class=${live ? "" : "still"} autoplay playsinline aria-label=${member ? `${member}, in ${name}` : `Whoever speaks in ${name}`}></video>
      ${!live && !refused && html`<div class="watch-note" role="status">
        ${state === "connected" ? html`<p class="watch-title">Nobody to be seen yet</p><p>${member ? `${member} appears here with a camera on.` : "Whoever speaks appears here, in picture and sound."}</p>` : html`<span class="spinner"></span><p class="watch-title">${state === "reconnecting" ? "Connecting again" : "Connecting"}</p>${error && html`<p>${error.message}</p>`}`}
      </div>`}
      ${refused && html`<${Refused} error=${error} onAgain=${() => setRound(round + 1)} />`}
      <header class="watch-top">
        <a class="brand" href="/" onClick=${(/** @type {Event} */ event) => (event.preventDefault(), onHome())} aria-label="Back to start"><${Mark} size=${26} /></a>
        <span class="watch-name">${name}</span>
        ${live && html`<span class="live" data-testid="live">Live</span>`}
      </header>
      ${blocked && html`<button class="button primary large watch-sound" data-testid="sound" onClick=${() => mute(false)}><${Icon} name="volume" />Turn on the sound</button>`}
      ${!refused && html`<div class="watch-bar">
        <button class="round" data-testid="mute" aria-pressed=${muted} aria-label=${muted ? "Turn on the sound (M)" : "Turn off the sound (M)"} onClick=${() => mute(!muted)}><${Icon} name=${muted ? "volumeOff" : "volume"} /></button>
        ${document.pictureInPictureEnabled && html`<button class="round" aria-label="Picture in picture" onClick=${apart}><${Icon} name="apart" /></button>`}
        ${document.fullscreenEnabled && html`<button class="round" data-testid="fullscreen" aria-label="Full screen (F)" onClick=${whole}><${Icon} name="fullscreen" /></button>`}
      </div>`}
    </main>
  `;
}

/** @param {{ error: import("../weir.js").WeirError, onAgain: () => void }} props */
function Refused({ error, onAgain }) {
  const [token, setToken] = useState("");
  const needsToken = error.code === "unauthorized" || error.code === "forbidden";
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (needsToken) giveToken(token);
    onAgain();
  };
  return html`<form class="watch-note watch-refused" data-testid="refused" onSubmit=${submit}>
    <p class="watch-title">${needsToken ? "An invitation is needed" : "This can't be watched"}</p>
    <p class="sentence">${error.message}</p>
    ${needsToken && html`<label class="visually-hidden" for="token">Token</label>
      <input id="token" data-testid="token" class="field" placeholder="Paste a token" autocomplete="off" spellcheck="false" value=${token} onInput=${(/** @type {any} */ event) => setToken(event.target.value)} />`}
    <button class="button primary large" disabled=${needsToken && !token.trim()}>${needsToken ? "Watch" : "Try again"}</button>
  </form>`;
}
