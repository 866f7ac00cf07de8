// Which cameras, microphones and speakers there are. Owns the list and its refresh; opening one is the library's.

import { useEffect, useState } from "./html.js";

/** @typedef {{ cameras: MediaDeviceInfo[], microphones: MediaDeviceInfo[], outputs: MediaDeviceInfo[] }} Devices */

/** @returns {Promise<Devices>} */
async function list() {
  const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  /** @param {MediaDeviceKind} kind */
  const of = (kind) => all.filter((each) => each.kind === kind && each.deviceId !== "");
  return { cameras: of("videoinput"), microphones: of("audioinput"), outputs: of("audiooutput") };
}

/** Labels are empty until the first permission, so the list is read again when `asked` changes. @param {unknown} asked */
export function useDevices(asked) {
  const [devices, setDevices] = useState(/** @type {Devices} */ ({ cameras: [], microphones: [], outputs: [] }));
  useEffect(() => {
    let gone = false;
    const refresh = () => list().then((found) => !gone && setDevices(found), () => {});
    refresh();
    navigator.mediaDevices?.addEventListener?.("devicechange", refresh);
    return () => {
      gone = true;
      navigator.mediaDevices?.removeEventListener?.("devicechange", refresh);
    };
  }, [asked]);
  return devices;
}

/** @param {MediaDeviceInfo} device @param {number} index @param {string} what */
export function deviceName(device, index, what) {
  return device.label.replace(/\s*\([0-9a-f]{4}:[0-9a-f]{4}\)$/i, "") || `${what} ${index + 1}`;
}
