// How a captured track is encoded: simulcast ladders, codec order, content hints. Pure but for asking the browser which codecs
// it has. `media.js` calls it when a track is published.

/** @typedef {import("../weir.js").VideoCodec} VideoCodec */
/** @typedef {import("../weir-protocol.js").Source} Source */

/**
 * One rung: `scale` divides the captured size; `spatial` layers are within its one stream.
 * @typedef {{ rid: string, scale: number, maxBitrate: number, maxFramerate?: number, spatial?: number }} Rung
 */

/** Names of the rungs, smallest first; what they hold follows from the captured size. */
const RIDS = ["q", "h", "f"];

/** Bits per second that make a talking head look clean in VP8 at 30 frames per second, by picture height. */
const HEAD_RATES = [
  [1080, 3_000_000],
  [720, 1_700_000],
  [540, 1_000_000],
  [480, 800_000],
  [360, 500_000],
  [270, 300_000],
  [180, 150_000],
  [0, 100_000],
];

/** A shared screen is mostly still, but text must be sharp at once when it is not. */
const SCREEN_RATE = 2_500_000;
const SCREEN_SMALL_RATE = 400_000;

/** @param {number} height */
function headRate(height) {
  for (const [atLeast, rate] of HEAD_RATES) if (height >= atLeast) return rate;
  return 100_000;
}

/**
 * The rungs a video track is sent in, smallest first. Browsers leave out rungs of a small picture by themselves, and then
 * announced and sent layers differ; so a small picture gets fewer from the start.
 * @param {Source} source
 * @param {number} width
 * @param {number} height
 * @returns {Rung[]}
 */
export function ladder(source, width, height) {
  if (source === "screen_share") {
    return [
      { rid: "q", scale: 2, maxBitrate: SCREEN_SMALL_RATE, maxFramerate: 5 },
      { rid: "f", scale: 1, maxBitrate: SCREEN_RATE, maxFramerate: 30 },
    ];
  }
  // A phone held upright captures a tall picture: what counts is its shorter side.
  const side = Math.min(width, height) || 720;
  const count = side >= 540 ? 3 : side >= 270 ? 2 : 1;
  return RIDS.slice(0, count).map((rid, index) => {
    const scale = 2 ** (count - 1 - index);
    return { rid, scale, maxBitrate: headRate(Math.floor(side / scale)) };
  });
}

/**
 * Puts a camera's rungs into one stream of spatial layers, where the codec and the browser can: it takes a third less to send than
 * as many streams, and the server passes on the part that each receiver can use. A screen stays in streams of its own: most
 * receivers want it whole, and a small one in five frames a second costs next to nothing.
 * @param {Rung[]} rungs @param {Source} source @param {VideoCodec} codec
 * @returns {Rung[]}
 */
export function scalable(rungs, source, codec) {
  const top = rungs.at(-1);
  if (!top || source !== "camera" || rungs.length < 2 || (codec !== "vp9" && codec !== "av1") || !sendsSpatialLayers()) return rungs;
  return [{ ...top, maxBitrate: rungs.reduce((sum, rung) => sum + rung.maxBitrate, 0), spatial: rungs.length }];
}

/** @type {boolean | undefined} */
let spatialLayers;

/** A browser that doesn't know the modes forgets what it was asked for. */
function sendsSpatialLayers() {
  if (spatialLayers === undefined) {
    const connection = new RTCPeerConnection();
    // TypeScript's own declarations don't know the member yet.
    const asked = /** @type {RTCRtpEncodingParameters & { scalabilityMode: string }} */ ({ scalabilityMode: "L3T3_KEY" });
    const { sender } = connection.addTransceiver("video", { sendEncodings: [asked] });
    const kept = /** @type {Partial<typeof asked> | undefined} */ (sender.getParameters().encodings?.[0]);
    spatialLayers = kept?.scalabilityMode === asked.scalabilityMode;
    connection.close();
  }
  return spatialLayers;
}

/**
 * `sendEncodings` for a ladder. One rung needs no rid.
 * @param {Rung[]} rungs
 * @param {VideoCodec} codec
 * @returns {RTCRtpEncodingParameters[]}
 */
export function sendEncodings(rungs, codec) {
  return rungs.map(({ rid, scale, maxBitrate, maxFramerate, spatial = 1 }) => ({
    ...(rungs.length > 1 && { rid }),
    scaleResolutionDownBy: scale,
    maxBitrate,
    ...(maxFramerate !== undefined && { maxFramerate }),
    ...(codec !== "h264" && { scalabilityMode: mode(rungs.length, spatial, codec) }),
  }));
}

/**
 * Frames that nothing builds on can be left out for a receiver whose connection is thin; three layers make that 7, 15 or 30 a
 * second. Spatial layers build on each other in keyframes only: a receiver of the large picture needs no other.
 * @param {number} streams @param {number} spatial @param {VideoCodec} codec
 */
function mode(streams, spatial, codec) {
  if (spatial > 1) return `L${spatial}T3_KEY`;
  // Without a mode Chromium takes several VP9 or AV1 encodings for one stream of spatial layers.
  if (streams > 1 && codec !== "vp8") return "L1T1";
  return "L1T3";
}

/**
 * What the protocol says of each layer.
 * @param {Rung[]} rungs
 * @param {MediaTrackSettings} settings
 * @returns {import("../weir-protocol.js").PublishedLayer[]}
 */
export function layers(rungs, settings) {
  return rungs.map(({ rid, scale, maxBitrate, maxFramerate }) => ({
    rid: rungs.length > 1 ? rid : null,
    w: Math.floor((settings.width ?? 0) / scale),
    h: Math.floor((settings.height ?? 0) / scale),
    fps: Math.round(Math.min(settings.frameRate ?? 30, maxFramerate ?? 60)),
    max_bps: maxBitrate,
  }));
}

/**
 * Puts the wanted codec first and keeps the others as fallbacks. Empty when the browser can't say.
 * @param {"audio" | "video"} kind
 * @param {string} codec Without `audio/` or `video/`.
 * @returns {RTCRtpCodec[]}
 */
export function codecOrder(kind, codec) {
  const all = globalThis.RTCRtpSender?.getCapabilities?.(kind)?.codecs ?? [];
  const wanted = `${kind}/${codec}`.toLowerCase();
  const first = all.filter((each) => each.mimeType.toLowerCase() === wanted);
  if (first.length === 0) return [];
  return [...first, ...all.filter((each) => !first.includes(each))];
}

/** @type {Record<Source, string>} */
const HINTS = { camera: "motion", microphone: "speech", screen_share: "detail", screen_share_audio: "music" };

/**
 * Tells the encoder what the picture or sound is, unless the application already did.
 * @param {MediaStreamTrack} track
 * @param {Source} source
 */
export function hint(track, source) {
  if ("contentHint" in track && track.contentHint === "") track.contentHint = HINTS[source];
}

/**
 * Lets Opus stop sending in silence on these m-lines: the sender obeys what the other side's description asks for.
 * @param {string} sdp The server's answer.
 * @param {Set<string>} mids
 */
export function withOpusDtx(sdp, mids) {
  const sections = sdp.split(/(?=^m=)/m);
  return sections
    .map((section) => {
      const mid = /^a=mid:(\S+)/m.exec(section)?.[1];
      if (mid === undefined || !mids.has(mid)) return section;
      const payload = /^a=rtpmap:(\d+) opus\//im.exec(section)?.[1];
      if (payload === undefined) return section;
      const line = new RegExp(`^a=fmtp:${payload} (.*?)(\\r?)$`, "m");
      if (/usedtx=/.test(line.exec(section)?.[1] ?? "")) return section;
      return line.test(section)
        ? section.replace(line, `a=fmtp:${payload} $1;usedtx=1$2`)
        : section.replace(/^(a=rtpmap:\d+ opus\/.*?)(\r?)$/im, `$1$2\na=fmtp:${payload} usedtx=1$2`);
    })
    .join("");
}
