// A call that is on: the others large, oneself small, what can be done, and which way it goes. Written words and files are
// `callpanel.js`.

import { WeirError } from "../weir.js";
import { Avatar } from "./avatar.js";
import { CallPanel } from "./callpanel.js";
import { Elapsed } from "./elapsed.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";
import { useKeys } from "./keys.js";
import { Menu } from "./menu.js";
import { cameraOptions, preferences } from "./session.js";
import { Toasts } from "./toasts.js";

/** @type {Record<import("../weir.js").CallWay, [string, string]>} */
const WAYS = {
  direct: ["direct", "From browser to browser; no server sees or hears it."],
  relayed: ["relayed", "From browser to browser through a relay, which carries it sealed."],
  room: ["through the server", "The room's server passes it on."],
};

/**
 * @param {object} props
 * @param {import("../weir.js").Call} props.call
 * @param {import("../weir.js").Room} props.room
 * @param {string} props.place
 * @param {import("./toasts.js").Toast[]} props.toasts
 * @param {(key: number) => void} props.onDismiss
 */
export function OnCall({ call, room, place, toasts, onDismiss }) {
  const [panel, setPanel] = useState(false);
  const [read, setRead] = useState(0);
  const [blocked, setBlocked] = useState(false);
  const [fault, setFault] = useState("");
  const own = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const { chat, files, parties } = call;
  const arrived = chat.filter((line) => !line.own).length + files.filter((file) => !file.outgoing).length;
  const unread = panel ? 0 : arrived - read;

  useEffect(() => call.on("audioblocked", () => setBlocked(true)), [call]);
  useEffect(() => {
    if (panel) setRead(arrived);
  }, [panel, arrived]);
  useEffect(() => {
    if (own.current) own.current.srcObject = call.preview && new MediaStream([call.preview]);
  }, [call.preview]);

  /** @param {() => Promise<void>} step */
  const attempt = (step) => {
    setFault("");
    step().catch((error) => setFault(error instanceof WeirError ? error.message : "That did not work."));
  };
  const actions = {
    microphone: () => attempt(() => call.setMicrophone(!call.microphone, { deviceId: preferences.get().microphone })),
    camera: () => attempt(() => call.setCamera(!call.camera, cameraOptions())),
    panel: () => setPanel(!panel),
  };
  useKeys({ m: actions.microphone, v: actions.camera, c: actions.panel, Escape: () => setPanel(false) });

  const here = new Set(parties.map(({ pid }) => pid));
  const others = [...room.members.values()].filter(({ pid }) => !here.has(pid) && !call.invited.has(pid));
  const [way, meaning] = call.via ? WAYS[call.via] : ["", ""];
  return html`
    <main class="call oncall" data-testid="oncall" data-state=${call.state} data-via=${call.via ?? ""}>
      <div class="call-body">
        <div class="stage-place">
          <div class="parties" data-count=${Math.min(parties.length, 4)}>
            ${parties.map((party) => html`<${Party} key=${party.identity} call=${call} party=${party} />`)}
          </div>
          <div class=${`own-picture ${call.camera ? "" : "dark"}`} data-testid="own-picture">
            <video ref=${own} class=${`mirror ${call.camera ? "" : "hidden"}`} autoplay playsinline muted aria-label="Your camera"></video>
            ${!call.camera && html`<${Avatar} name=${room.local.name || "You"} identity=${room.local.identity} size="small" />`}
          </div>
          <p class="way" data-testid="way" role="status">
            ${call.state === "connecting"
              ? html`<span class="spinner" aria-hidden="true"></span>Connecting…`
              : html`<span title=${meaning}>${way || "connected"}</span>${call.rtt !== null && html`<span class="way-rtt">${Math.round(call.rtt)} ms</span>`}<${Elapsed} since=${call.connectedAt ?? Date.now()} />`}
          </p>
          ${[...call.invited.values()].some(({ state }) => state === "ringing") && html`<p class="way inviting" role="status" data-testid="inviting">Calling ${[...call.invited.values()].find(({ state }) => state === "ringing")?.name}…</p>`}
          ${blocked &&
          html`<button
            class="button primary unblock"
            data-testid="unblock"
            onClick=${() => {
              setBlocked(false);
              void call.startAudio();
            }}
          >
            <${Icon} name="volume" size=${20} />Turn the sound on
          </button>`}
          <div class="call-fault" role="alert">${fault && html`<p class="notice"><${Icon} name="alert" size=${18} />${fault}</p>`}</div>
          <${Toasts} toasts=${toasts} onDismiss=${onDismiss} />
        </div>
        ${panel && html`<${CallPanel} call=${call} onClose=${() => setPanel(false)} />`}
      </div>
      <footer class="toolbar">
        <div class="toolbar-side start"><span class="room-name">${place}</span></div>
        <div class="toolbar-main" role="group" aria-label="Call controls">
          <button class=${`control ${call.microphone ? "" : "off"}`} aria-pressed=${call.microphone} aria-label="Microphone" title=${`${call.microphone ? "Mute" : "Unmute"} (m)`} data-testid="mic" onClick=${actions.microphone}><${Icon} name=${call.microphone ? "mic" : "micOff"} /></button>
          <button class=${`control ${call.camera ? "" : "off"}`} aria-pressed=${call.camera} aria-label="Camera" title=${`${call.camera ? "Camera off" : "Camera on"} (v)`} data-testid="camera" onClick=${actions.camera}><${Icon} name=${call.camera ? "camera" : "cameraOff"} /></button>
          <button class=${`control ${panel ? "on" : ""}`} aria-pressed=${panel} aria-label=${unread > 0 ? `Messages and files, ${unread} new` : "Messages and files"} title="Messages and files (c)" data-testid="chat" onClick=${actions.panel}><${Icon} name="chat" />${unread > 0 && html`<span class="count" data-testid="unread">${unread}</span>`}</button>
          <${Menu}
            label="Add a person"
            className="control"
            testid="add"
            groups=${[
              {
                title: others.length > 0 ? "Add to the call" : "Nobody else is here",
                items: others.map((member) => ({ label: member.name || "Guest", icon: "people", onSelect: () => attempt(() => call.add(member.pid)), testid: "add-person" })),
              },
            ]}
            ><${Icon} name="add"
          /></${Menu}>
          <button class="control leave" aria-label="Hang up" title="Hang up" data-testid="hang-up" onClick=${() => call.hangUp()}><${Icon} name="leave" size=${26} /></button>
        </div>
        <div class="toolbar-side end"></div>
      </footer>
    </main>
  `;
}

/** @param {{ call: import("../weir.js").Call, party: import("../weir.js").CallParty }} props */
function Party({ call, party }) {
  const video = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const [size, setSize] = useState(0);
  // Before the party's session may be another one.
  useLayoutEffect(() => {
    const element = video.current;
    if (!element) return undefined;
    const sized = () => setSize(element.videoWidth);
    element.addEventListener("resize", sized);
    element.addEventListener("loadeddata", sized);
    const detach = call.attach(element, party.pid);
    return () => {
      detach();
      element.removeEventListener("resize", sized);
      element.removeEventListener("loadeddata", sized);
    };
  }, []);
  const seen = party.camera && size > 0;
  return html`<article class="tile party" aria-label=${party.name} data-testid="party" data-name=${party.name} data-video=${seen ? "on" : "off"}>
    <video ref=${video} class=${seen ? "" : "hidden"} autoplay playsinline muted aria-hidden="true"></video>
    ${!seen && html`<div class="no-video"><${Avatar} name=${party.name || "Guest"} identity=${party.identity} /></div>`}
    <p class="nameplate">
      ${!party.microphone && html`<span class="muted-mark" title="Microphone off" data-testid="muted-mark"><${Icon} name="micOff" size=${16} /><span class="visually-hidden">Microphone off</span></span>`}
      <span class="name">${party.name || "Guest"}</span>
    </p>
  </article>`;
}
