// Opens cameras, microphones and screens with constraints that suit a call. Owns the constraints; devices chosen by people are the
// application's to remember. Usable on its own, before a room is joined.

import { captureError, WeirError } from "./errors.js";
import { hint } from "./encodings.js";

/**
 * @param {import("../weir.js").CameraOptions} [options]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function captureCamera({ deviceId, width = 1280, height = 720, frameRate = 30, facingMode } = {}) {
  return capture("camera", {
    video: {
      ...device(deviceId),
      ...(facingMode !== undefined && { facingMode }),
      width: { ideal: width },
      height: { ideal: height },
      frameRate: { ideal: frameRate },
    },
  });
}

/**
 * @param {import("../weir.js").MicrophoneOptions} [options]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function captureMicrophone({ deviceId, echoCancellation = true, noiseSuppression = true, autoGainControl = true } = {}) {
  return capture("microphone", { audio: { ...device(deviceId), echoCancellation, noiseSuppression, autoGainControl } });
}

/**
 * Asks the person what to share. The second track is the shared sound, where the browser offers it.
 * @param {import("../weir.js").ScreenOptions} [options]
 * @returns {Promise<{ video: MediaStreamTrack, audio: MediaStreamTrack | null }>}
 */
export async function captureScreen({ audio = true, frameRate = 30 } = {}) {
  if (!navigator.mediaDevices?.getDisplayMedia) throw new WeirError("unsupported", "This browser can't share a screen.");
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({
      video: { frameRate: { ideal: frameRate, max: frameRate }, width: { max: 2560 }, height: { max: 1440 } },
      audio,
    });
    const [video] = stream.getVideoTracks();
    if (!video) throw new WeirError("capture_failed", "Nothing was chosen to be shared.");
    hint(video, "screen_share");
    const [sound] = stream.getAudioTracks();
    if (sound) hint(sound, "screen_share_audio");
    return { video, audio: sound ?? null };
  } catch (fault) {
    throw captureError(fault);
  }
}

/**
 * @param {"camera" | "microphone"} source
 * @param {MediaStreamConstraints} constraints
 * @returns {Promise<MediaStreamTrack>}
 */
async function capture(source, constraints) {
  if (!navigator.mediaDevices?.getUserMedia) throw new WeirError("unsupported", "Cameras and microphones need HTTPS or localhost.");
  try {
    const stream = await navigator.mediaDevices.getUserMedia(constraints);
    const [track] = stream.getTracks();
    if (!track) throw new WeirError("capture_failed", "The device gave nothing.");
    hint(track, source);
    return track;
  } catch (fault) {
    const kind = source === "camera" ? "video" : "audio";
    const wanted = /** @type {MediaTrackConstraints} */ (constraints[kind]);
    // A remembered device that is gone must not keep anybody out: take another.
    if (wanted.deviceId !== undefined && fault instanceof Error && fault.name === "OverconstrainedError") {
      return capture(source, { [kind]: { ...wanted, deviceId: undefined } });
    }
    throw captureError(fault);
  }
}

/** Demanded, not wished for: a wish is weighed against the picture's size, and loses. @param {string | undefined} id */
function device(id) {
  return id ? { deviceId: { exact: id } } : {};
}
