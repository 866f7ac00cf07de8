// What rings: somebody calls (a dialog that wants an answer), or one calls somebody (a page to wait on).

import { Avatar } from "./avatar.js";
import { html, useEffect, useRef } from "./html.js";
import { Icon } from "./icons.js";
import { ringTone } from "./ringtone.js";
import { cameraOptions, preferences } from "./session.js";

/** @param {{ call: import("../weir.js").Call }} props */
export function Incoming({ call }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    dialog.current?.showModal();
    const silent = ringTone("incoming");
    return () => {
      silent();
      before?.focus?.();
    };
  }, []);
  /** @param {boolean} video */
  const accept = (video) => void call.accept({ audio: { deviceId: preferences.get().microphone }, video: video && cameraOptions() });
  return html`<dialog
    ref=${dialog}
    class="dialog incoming"
    role="alertdialog"
    aria-labelledby="incoming-who"
    data-testid="incoming"
    onCancel=${(/** @type {Event} */ event) => {
      event.preventDefault();
      call.decline();
    }}
  >
    <div class="ring-who"><${Avatar} name=${call.name || "Guest"} identity=${call.identity} /></div>
    <h2 id="incoming-who">${call.name || "Somebody"} calls</h2>
    <p class="hint">${call.media.video ? "Video call" : "Voice call"}</p>
    <div class="ring-answers">
      <button class="answer" data-testid="decline" onClick=${() => call.decline()}><span class="round off"><${Icon} name="leave" size=${26} /></span>Decline</button>
      <button class="answer" data-testid="accept-voice" autofocus=${!call.media.video} onClick=${() => accept(false)}><span class=${`round ${call.media.video ? "" : "call-go"}`}><${Icon} name="phone" size=${24} /></span>${call.media.video ? "Voice only" : "Accept"}</button>
      ${call.media.video && html`<button class="answer" data-testid="accept" autofocus onClick=${() => accept(true)}><span class="round call-go"><${Icon} name="camera" size=${24} /></span>Accept</button>`}
    </div>
  </dialog>`;
}

/** @param {{ call: import("../weir.js").Call }} props */
export function Ringing({ call }) {
  const preview = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const end = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    end.current?.focus();
    return ringTone("outgoing");
  }, []);
  useEffect(() => {
    if (preview.current) preview.current.srcObject = call.preview && new MediaStream([call.preview]);
  }, [call.preview]);
  return html`
    <main class="ringing" data-testid="ringing">
      <video ref=${preview} class=${`mirror ${call.preview ? "" : "hidden"}`} autoplay playsinline muted aria-hidden="true"></video>
      <div class="ring-front">
        <div class="ring-who pulse"><${Avatar} name=${call.name || "Guest"} identity=${call.identity} /></div>
        <h1 role="status">Calling ${call.name || "Guest"}…</h1>
        <button class="answer" ref=${end} data-testid="cancel" onClick=${() => call.hangUp()}><span class="round off"><${Icon} name="leave" size=${26} /></span>Cancel</button>
      </div>
    </main>
  `;
}
