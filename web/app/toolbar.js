// The bar at the bottom: what one does in a call. Draws and reports; `call.js` decides.

import { deviceName, useDevices } from "./devices.js";
import { Elapsed } from "./elapsed.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Menu } from "./menu.js";

export const REACTIONS = ["👍", "👏", "❤️", "😂", "😮", "🎉"];

/**
 * @param {object} props
 * @param {import("../weir.js").Room} props.room
 * @param {import("./call.js").Actions} props.actions
 * @param {"chat" | "people" | null} props.panel
 * @param {number} props.unread
 * @param {boolean} props.speakerView
 * @param {boolean} props.statsOn
 * @param {{ camera: string, microphone: string, output: string }} props.chosen
 * @param {number} props.since
 */
export function Toolbar({ room, actions, panel, unread, speakerView, statsOn, chosen, since }) {
  const { local } = room;
  const microphone = local.track("microphone");
  const camera = local.track("camera");
  const micOn = microphone !== null && !microphone.muted;
  const cameraOn = camera !== null && !camera.muted;
  const sharing = local.track("screen_share") !== null;
  const canShare = Boolean(navigator.mediaDevices?.getDisplayMedia);
  const devices = useDevices(`${microphone?.media?.id}${camera?.media?.id}`);
  const people = room.members.size + 1;

  /** @param {MediaDeviceInfo[]} list @param {string} current @param {string} what @param {(id: string) => void} choose */
  const choices = (list, current, what, choose) =>
    list.map((device, index) => ({
      label: deviceName(device, index, what),
      checked: list.some(({ deviceId }) => deviceId === current) ? device.deviceId === current : index === 0,
      onSelect: () => choose(device.deviceId),
    }));

  return html`
    <footer class="toolbar">
      <div class="toolbar-side start">
        <span class="room-name" data-testid="room-title">${room.name}</span>
        <${Elapsed} since=${since} />
        ${room.edge && room.edges.length > 1 && html`<span class="region" data-testid="edge" title=${`Connected at ${room.edge.id} in ${room.edge.region}`}><span class="visually-hidden">Connected at </span>${room.edge.id === room.edge.region ? room.edge.region : `${room.edge.id} · ${room.edge.region}`}</span>`}
      </div>
      <div class="toolbar-main" role="group" aria-label="Call controls">
        <div class="split">
          <button class=${`control ${micOn ? "" : "off"}`} aria-pressed=${micOn} aria-label="Microphone" title=${`${micOn ? "Mute" : "Unmute"} (m)`} data-testid="mic" onClick=${actions.toggleMicrophone}>
            <${Icon} name=${micOn ? "mic" : "micOff"} />
          </button>
          <${Menu}
            label="Microphone and speaker"
            className="control-more"
            testid="mic-menu"
            align="start"
            groups=${[
              { title: "Microphone", items: choices(devices.microphones, chosen.microphone, "Microphone", actions.chooseMicrophone) },
              ...(devices.outputs.length > 0 ? [{ title: "Speaker", items: choices(devices.outputs, chosen.output, "Speaker", actions.chooseOutput) }] : []),
            ]}
            ><${Icon} name="down" size=${16}
          /></${Menu}>
        </div>
        <div class="split">
          <button class=${`control ${cameraOn ? "" : "off"}`} aria-pressed=${cameraOn} aria-label="Camera" title=${`${cameraOn ? "Camera off" : "Camera on"} (v)`} data-testid="camera" onClick=${actions.toggleCamera}>
            <${Icon} name=${cameraOn ? "camera" : "cameraOff"} />
          </button>
          <${Menu} label="Choose camera" className="control-more" testid="camera-menu" align="start" groups=${[{ title: "Camera", items: choices(devices.cameras, chosen.camera, "Camera", actions.chooseCamera) }]}><${Icon} name="down" size=${16} /></${Menu}>
        </div>
        ${canShare &&
        html`<button class=${`control wide-only ${sharing ? "on" : ""}`} aria-pressed=${sharing} aria-label="Share screen" title=${`${sharing ? "Stop sharing" : "Share screen"} (s)`} data-testid="share" onClick=${actions.toggleShare}>
          <${Icon} name="screen" />
        </button>`}
        <button class=${`control wide-only ${local.hand ? "on" : ""}`} aria-pressed=${local.hand} aria-label="Raise hand" title=${`${local.hand ? "Lower hand" : "Raise hand"} (h)`} data-testid="hand" onClick=${actions.toggleHand}>
          <${Icon} name="hand" />
        </button>
        <div class="wide-only">
          <${Menu} label="React" className="control" testid="react" groups=${[{ row: true, items: REACTIONS.map((emoji) => ({ label: emoji, onSelect: () => actions.react(emoji), testid: `react-${emoji}` })) }]}><${Icon} name="smile" /></${Menu}>
        </div>
        <button class=${`control narrow-only ${panel === "chat" ? "on" : ""}`} aria-pressed=${panel === "chat"} aria-label=${unread ? `Chat, ${unread} unread` : "Chat"} data-testid="chat-narrow" onClick=${() => actions.openPanel("chat")}>
          <${Icon} name="chat" />${unread > 0 && html`<span class="count">${unread > 99 ? "99+" : unread}</span>`}
        </button>
        <${Menu}
          label="More"
          className="control"
          testid="more"
          align="end"
          groups=${[
            ...(globalThis.innerWidth <= 640 ? [{ row: true, items: REACTIONS.map((emoji) => ({ label: emoji, onSelect: () => actions.react(emoji), testid: `more-react-${emoji}` })) }] : []),
            {
              items: [
                ...(globalThis.innerWidth <= 640
                  ? [
                      { label: `People (${people})`, icon: "people", onSelect: () => actions.openPanel("people"), testid: "more-people" },
                      { label: local.hand ? "Lower hand" : "Raise hand", icon: "hand", onSelect: actions.toggleHand, testid: "more-hand" },
                      ...(canShare ? [{ label: sharing ? "Stop sharing" : "Share screen", icon: "screen", onSelect: actions.toggleShare, testid: "more-share" }] : []),
                    ]
                  : []),
                { label: speakerView ? "Grid view" : "Speaker view", icon: speakerView ? "grid" : "speaker", hint: "l", onSelect: actions.toggleLayout, testid: "more-layout" },
                { label: "Copy invite link", icon: "copy", onSelect: actions.copyLink, testid: "more-copy" },
                { label: "Full screen", icon: "fullscreen", hint: "f", onSelect: actions.toggleFullscreen, testid: "more-fullscreen" },
              ],
            },
            {
              items: [
                { label: "Settings", icon: "settings", onSelect: actions.openSettings, testid: "more-settings" },
                { label: statsOn ? "Hide statistics" : "Show statistics", icon: "stats", hint: "i", onSelect: actions.toggleStats, testid: "more-stats" },
                { label: "Keyboard shortcuts", icon: "keyboard", hint: "?", onSelect: actions.openHelp, testid: "more-help" },
              ],
            },
          ]}
          ><${Icon} name="more"
        /></${Menu}>
        <button class="control leave" aria-label="Leave the room" title="Leave" data-testid="leave" onClick=${actions.leave}><${Icon} name="leave" size=${26} /></button>
      </div>
      <div class="toolbar-side end">
        <button class=${`control quiet ${speakerView ? "on" : ""}`} aria-pressed=${speakerView} aria-label="Speaker view" title="Speaker view (l)" data-testid="layout" onClick=${actions.toggleLayout}><${Icon} name=${speakerView ? "speaker" : "grid"} /></button>
        <button class=${`control quiet ${panel === "people" ? "on" : ""}`} aria-pressed=${panel === "people"} aria-label=${`People, ${people}`} title="People (p)" data-testid="people" onClick=${() => actions.openPanel("people")}>
          <${Icon} name="people" /><span class="count neutral" data-testid="people-count">${people}</span>
        </button>
        <button class=${`control quiet ${panel === "chat" ? "on" : ""}`} aria-pressed=${panel === "chat"} aria-label=${unread ? `Chat, ${unread} unread` : "Chat"} title="Chat (c)" data-testid="chat" onClick=${() => actions.openPanel("chat")}>
          <${Icon} name="chat" />${unread > 0 && html`<span class="count" data-testid="unread">${unread > 99 ? "99+" : unread}</span>`}
        </button>
      </div>
    </footer>
  `;
}
