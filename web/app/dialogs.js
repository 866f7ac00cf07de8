// Settings and help, as modal dialogs: the browser keeps the focus inside and closes on Escape.

import { html, useEffect, useRef, useState } from "./html.js";
import { useDevices } from "./devices.js";
import { Icon } from "./icons.js";
import { SHORTCUTS } from "./keys.js";
import { Meter } from "./meter.js";
import { DeviceSelect } from "./prejoin.js";
import { applyTheme, preferences } from "./session.js";

/** @param {{ title: string, onClose: () => void, children: unknown, testid: string }} props */
function Dialog({ title, onClose, children, testid }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    dialog.current?.showModal();
    return () => before?.focus?.();
  }, []);
  return html`<dialog
    ref=${dialog}
    class="dialog"
    aria-label=${title}
    data-testid=${testid}
    onClose=${onClose}
    onClick=${(/** @type {Event} */ event) => event.target === dialog.current && dialog.current?.close()}
  >
    <div class="dialog-body">
      <header>
        <h2>${title}</h2>
        <button class="round small plain" aria-label="Close" data-testid="dialog-close" onClick=${() => dialog.current?.close()}><${Icon} name="close" size=${20} /></button>
      </header>
      ${children}
    </div>
  </dialog>`;
}

/** @param {{ onClose: () => void }} props */
export function Help({ onClose }) {
  return html`<${Dialog} title="Keyboard shortcuts" onClose=${onClose} testid="help">
    <dl class="shortcuts">
      ${SHORTCUTS.map(([key, what]) => html`<div key=${key}><dt>${what}</dt><dd><kbd>${key}</kbd></dd></div>`)}
    </dl>
  </${Dialog}>`;
}

/**
 * @param {object} props
 * @param {import("../weir.js").Room} props.room
 * @param {import("./call.js").Actions} props.actions
 * @param {{ camera: string, microphone: string, output: string, cameraHeight: number }} props.chosen
 * @param {boolean} props.statsOn
 * @param {() => void} props.onClose
 */
export function Settings({ room, actions, chosen, statsOn, onClose }) {
  const microphone = room.local.track("microphone")?.media ?? null;
  const devices = useDevices(microphone?.id);
  const [theme, setTheme] = useState(preferences.get().theme);
  return html`<${Dialog} title="Settings" onClose=${onClose} testid="settings">
    <div class="settings">
      <p class="settings-label">Camera</p>
      <${DeviceSelect} label="Camera" icon="camera" devices=${devices.cameras} value=${chosen.camera} onChange=${actions.chooseCamera} testid="settings-camera" />
      <p class="settings-label">Camera quality</p>
      <${Choice}
        label="Camera quality"
        name="height"
        options=${[
          [360, "Save data"],
          [720, "Standard"],
          [1080, "High"],
        ]}
        value=${chosen.cameraHeight}
        onChange=${actions.chooseCameraHeight}
      />
      <p class="settings-label">Microphone</p>
      <${DeviceSelect} label="Microphone" icon="mic" devices=${devices.microphones} value=${chosen.microphone} onChange=${actions.chooseMicrophone} testid="settings-microphone" />
      <div class="mic-check"><${Meter} media=${microphone} /></div>
      ${devices.outputs.length > 0 &&
      html`<p class="settings-label">Speaker</p>
        <${DeviceSelect} label="Speaker" icon="volume" devices=${devices.outputs} value=${chosen.output} onChange=${actions.chooseOutput} testid="settings-output" />`}
      <p class="settings-label">Colours</p>
      <${Choice}
        label="Colours"
        name="theme"
        options=${[
          ["dark", "Dark"],
          ["light", "Light"],
          ["system", "System"],
        ]}
        value=${theme}
        onChange=${(/** @type {string} */ each) => {
          preferences.set({ theme: each });
          applyTheme();
          setTheme(each);
        }}
      />
      <label class="check"><input type="checkbox" checked=${statsOn} onChange=${actions.toggleStats} /><span>Show statistics on every tile</span></label>
    </div>
  </${Dialog}>`;
}

/** @param {{ label: string, name: string, options: [string | number, string][], value: string | number, onChange: (value: any) => void }} props */
function Choice({ label, name, options, value, onChange }) {
  return html`<div class="choice" role="radiogroup" aria-label=${label}>
    ${options.map(
      ([each, text]) => html`<label key=${each}><input type="radio" name=${name} checked=${value === each} data-testid=${`${name}-${each}`} onChange=${() => onChange(each)} /><span>${text}</span></label>`,
    )}
  </div>`;
}
