// The way in: see and hear oneself, choose devices and a name, then join. Owns the preview's devices until the room takes them.

import { captureCamera, captureMicrophone, Room } from "../weir.js";
import { Avatar } from "./avatar.js";
import { deviceName, useDevices } from "./devices.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { Icon, Mark } from "./icons.js";
import { Meter } from "./meter.js";
import { cameraOptions, giveToken, joinFault, joinToken, preferences, tabIdentity } from "./session.js";

/**
 * A device that is opened while it is on, again when another is chosen, and handed over on joining.
 * @param {boolean} on @param {string} deviceId @param {(options: { deviceId: string }) => Promise<MediaStreamTrack>} capture
 */
function useCapture(on, deviceId, capture) {
  const [media, setMedia] = useState(/** @type {MediaStreamTrack | null} */ (null));
  const [error, setError] = useState("");
  const taken = useRef(false);
  useEffect(() => {
    if (!on) return undefined;
    let gone = false;
    /** @type {MediaStreamTrack | null} */
    let opened = null;
    setError("");
    capture({ deviceId }).then(
      (track) => {
        if (gone) return track.stop();
        opened = track;
        setMedia(track);
      },
      (fault) => !gone && setError(fault.message),
    );
    return () => {
      gone = true;
      if (!taken.current) opened?.stop();
      setMedia(null);
    };
  }, [on, deviceId]);
  return { media, error, take: () => ((taken.current = true), media) };
}

/** @param {{ name: string, again: boolean, onJoined: (room: Room) => void, onHome: () => void }} props */
export function Prejoin({ name, again, onJoined, onHome }) {
  const [settings, setSettings] = useState(preferences.get);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const [needsToken, setNeedsToken] = useState(false);
  const [token, setToken] = useState("");
  const camera = useCapture(settings.cameraOn, settings.camera, () => captureCamera(cameraOptions()));
  const microphone = useCapture(settings.microphoneOn, settings.microphone, captureMicrophone);
  const devices = useDevices(`${camera.media?.id}${microphone.media?.id}`);
  const preview = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const codec = new URLSearchParams(location.search).get("codec");
  const relayOnly = new URLSearchParams(location.search).get("relay") === "only";

  useEffect(() => {
    if (preview.current) preview.current.srcObject = camera.media && new MediaStream([camera.media]);
  }, [camera.media]);

  /** @param {Record<string, unknown>} changes */
  const change = (changes) => {
    preferences.set(changes);
    setSettings({ ...settings, ...changes });
  };

  const join = async () => {
    setBusy(true);
    setError("");
    if (token) giveToken(token);
    const displayName = settings.name.trim();
    preferences.set({ name: displayName });
    /** @type {Room | undefined} */
    let room;
    try {
      room = new Room({
        token: () => joinToken(name, displayName),
        client: "weir-web/0.1.0",
        ...(codec && ["vp8", "vp9", "h264", "av1"].includes(codec) && { videoCodec: /** @type {any} */ (codec) }),
        relayOnly,
      });
      await room.connect();
    } catch (fault) {
      const known = joinFault(fault);
      if (known.code === "unauthorized") setNeedsToken(true);
      const message = known.message || "The room can't be joined.";
      setError(message[0]?.toUpperCase() + message.slice(1));
      setBusy(false);
      return;
    }
    const video = camera.take();
    const audio = microphone.take();
    const { grants } = room.local;
    // What fails is told in the call; nobody should be kept out for want of a camera.
    if (grants.publish) {
      // A device may still be on its way when somebody joins at once: what was chosen holds.
      if (video) room.setCamera(true, { media: video }).catch(() => {});
      else if (settings.cameraOn && !camera.error) room.setCamera(true, cameraOptions()).catch(() => {});
      if (audio) room.setMicrophone(true, { media: audio }).catch(() => {});
      else if (settings.microphoneOn && !microphone.error) room.setMicrophone(true, { deviceId: settings.microphone }).catch(() => {});
    }
    if (settings.output) void room.setAudioOutput(settings.output).catch(() => {});
    onJoined(room);
  };

  // A reload in the middle of a call goes straight back in, with the devices that were on.
  const returning = again && settings.name.trim() !== "";
  const settled =
    (!settings.cameraOn || camera.media !== null || camera.error !== "") &&
    (!settings.microphoneOn || microphone.media !== null || microphone.error !== "");
  const started = useRef(false);
  useEffect(() => {
    if (!returning || !settled || started.current) return;
    started.current = true;
    void join();
  }, [returning, settled]);

  const displayName = settings.name.trim() || "You";
  return html`
    <main class="page prejoin" data-testid="prejoin">
      <header class="brand">
        <a href="/" onClick=${(/** @type {Event} */ event) => (event.preventDefault(), onHome())} aria-label="weir, back to start"><${Mark} size=${30} /><span>weir</span></a>
      </header>
      <section class="prejoin-body">
        <div class="preview">
          <video ref=${preview} class="mirror" autoplay playsinline muted aria-label="Your camera" data-testid="preview"></video>
          ${!camera.media &&
          html`<div class="preview-off">
            <${Avatar} name=${displayName} identity=${tabIdentity()} />
            <p>${settings.cameraOn ? camera.error || "Starting the camera…" : "Camera is off"}</p>
          </div>`}
          <div class="preview-bar">
            <button
              class=${`round ${settings.microphoneOn ? "" : "off"}`}
              aria-pressed=${settings.microphoneOn}
              aria-label="Microphone"
              title=${settings.microphoneOn ? "Turn the microphone off" : "Turn the microphone on"}
              data-testid="prejoin-mic"
              onClick=${() => change({ microphoneOn: !settings.microphoneOn })}
            >
              <${Icon} name=${settings.microphoneOn ? "mic" : "micOff"} />
            </button>
            <button
              class=${`round ${settings.cameraOn ? "" : "off"}`}
              aria-pressed=${settings.cameraOn}
              aria-label="Camera"
              title=${settings.cameraOn ? "Turn the camera off" : "Turn the camera on"}
              data-testid="prejoin-camera"
              onClick=${() => change({ cameraOn: !settings.cameraOn })}
            >
              <${Icon} name=${settings.cameraOn ? "camera" : "cameraOff"} />
            </button>
          </div>
        </div>
        <form
          class="join-form"
          onSubmit=${(/** @type {Event} */ event) => {
            event.preventDefault();
            if (!busy && settings.name.trim()) void join();
          }}
        >
          <p class="eyebrow">You are about to join</p>
          <h1>${name}</h1>
          <label class="stack">
            <span>Your name</span>
            <input
              class="field"
              data-testid="name"
              autocomplete="name"
              maxlength="60"
              autofocus
              required
              placeholder="How others see you"
              value=${settings.name}
              onInput=${(/** @type {any} */ event) => setSettings({ ...settings, name: event.target.value })}
            />
          </label>
          <${DeviceSelect} label="Camera" icon="camera" devices=${devices.cameras} value=${settings.camera} onChange=${(/** @type {string} */ camera) => change({ camera })} testid="camera-select" />
          <${DeviceSelect} label="Microphone" icon="mic" devices=${devices.microphones} value=${settings.microphone} onChange=${(/** @type {string} */ microphone) => change({ microphone })} testid="microphone-select" />
          <div class="mic-check">
            ${microphone.error
              ? html`<p class="hint error-text">${microphone.error}</p>`
              : html`<${Meter} media=${microphone.media} /><span class="hint">${settings.microphoneOn ? "Say something" : "Microphone is off"}</span>`}
          </div>
          <${DeviceSelect} label="Speaker" icon="volume" devices=${devices.outputs} value=${settings.output} onChange=${(/** @type {string} */ output) => change({ output })} testid="speaker-select" />
          ${needsToken &&
          html`<label class="stack">
            <span>Token</span>
            <input class="field mono" data-testid="token" autocomplete="off" spellcheck="false" placeholder="eyJ…" value=${token} onInput=${(/** @type {any} */ event) => setToken(event.target.value)} />
          </label>`}
          <div role="alert">${error && html`<p class="notice" data-testid="join-error"><${Icon} name="alert" size=${18} />${error}</p>`}</div>
          <button class="button primary large wide" data-testid="join" disabled=${busy || !settings.name.trim()}>
            ${busy ? html`<span class="spinner" aria-hidden="true"></span>Joining…` : "Join now"}
          </button>
        </form>
      </section>
    </main>
  `;
}

/** @param {{ label: string, icon: any, devices: MediaDeviceInfo[], value: string, onChange: (id: string) => void, testid: string }} props */
export function DeviceSelect({ label, icon, devices, value, onChange, testid }) {
  if (devices.length === 0) return null;
  const known = devices.some(({ deviceId }) => deviceId === value);
  return html`<label class="device-select">
    <${Icon} name=${icon} size=${20} />
    <span class="visually-hidden">${label}</span>
    <select class="field" data-testid=${testid} value=${known ? value : devices[0]?.deviceId} onChange=${(/** @type {any} */ event) => onChange(event.target.value)}>
      ${devices.map((device, index) => html`<option key=${device.deviceId} value=${device.deviceId} selected=${known ? device.deviceId === value : index === 0}>${deviceName(device, index, label)}</option>`)}
    </select>
    <${Icon} name="down" size=${18} />
  </label>`;
}
