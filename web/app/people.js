// Who is here, with state and, for those who may, the means to keep order.

import { Avatar } from "./avatar.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Menu } from "./menu.js";
import { Bars } from "./tile.js";

/**
 * @param {object} props
 * @param {import("../weir.js").Room} props.room
 * @param {import("./call.js").Actions} props.actions
 */
export function PeoplePanel({ room, actions }) {
  const { local } = room;
  const others = [...room.members.values()].sort((a, b) => Number(b.hand) - Number(a.hand));
  // Where somebody is says something only if not everybody is in one place.
  const several = room.edges.length > 1 || others.some(({ region }) => region !== room.edge?.region);
  return html`
    <div class="people">
      <button class="button wide invite" data-testid="copy-link" onClick=${actions.copyLink}><${Icon} name="copy" size=${18} />Copy invite link</button>
      <ul class="people-list" aria-label="People in the room">
        <${Person} key="me" member=${local} own=${true} region=${several ? room.edge?.region : null} />
        ${others.map(
          (member) => html`<${Person} key=${member.pid} member=${member} own=${false} region=${several ? member.region : null}>
            <${Menu}
              label=${`Actions for ${member.name || "Guest"}`}
              className="round small plain"
              testid="person-menu"
              align="end"
              below=${true}
              groups=${[
                { items: [{ label: "Message privately", icon: "lock", onSelect: () => actions.messageTo(member.pid), testid: "person-message" }] },
                ...(local.grants.admin
                  ? [
                      {
                        items: [
                          { label: "Mute", icon: "micOff", onSelect: () => actions.admin("mute", member), testid: "person-mute" },
                          ...(member.hand ? [{ label: "Lower hand", icon: "hand", onSelect: () => actions.admin("lower_hand", member), testid: "person-lower" }] : []),
                          { label: "Remove from room", icon: "remove", danger: true, onSelect: () => actions.admin("remove", member), testid: "person-remove" },
                        ],
                      },
                    ]
                  : []),
              ]}
              ><${Icon} name="more" size=${18}
            /></${Menu}>
          </${Person}>`,
        )}
      </ul>
    </div>
  `;
}

/** @param {{ member: any, own: boolean, region?: string | null, children?: unknown }} props */
function Person({ member, own, region, children }) {
  const microphone = member.track("microphone");
  const camera = member.track("camera");
  const muted = microphone === null || microphone.muted;
  const dark = camera === null || camera.muted;
  const speaking = member.level > 15 && !muted;
  return html`<li class=${`person ${speaking ? "speaking" : ""}`} data-testid="person" data-name=${member.name}>
    <${Avatar} name=${member.name || "Guest"} identity=${member.identity} size="small" />
    <span class="person-name">${member.name || "Guest"}${own && html` <small>(you)</small>`}${member.away && html` <small>reconnecting</small>`}</span>
    ${region && html`<span class="region" data-testid="person-region" title=${`Connected in ${region}`}><span class="visually-hidden">Region </span>${region}</span>`}
    ${member.hand && html`<span class="person-hand" title="Hand raised"><${Icon} name="hand" size=${18} /><span class="visually-hidden">Hand raised</span></span>`}
    ${member.quality && html`<${Bars} quality=${member.quality.q} />`}
    <span class=${`person-state ${muted ? "off" : ""}`} title=${muted ? "Microphone off" : "Microphone on"}><${Icon} name=${muted ? "micOff" : "mic"} size=${18} /><span class="visually-hidden">${muted ? "Microphone off" : "Microphone on"}</span></span>
    <span class=${`person-state ${dark ? "off" : ""}`} title=${dark ? "Camera off" : "Camera on"}><${Icon} name=${dark ? "cameraOff" : "camera"} size=${18} /><span class="visually-hidden">${dark ? "Camera off" : "Camera on"}</span></span>
    ${children ?? html`<span class="round small ghost"></span>`}
  </li>`;
}
