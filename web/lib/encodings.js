// How a captured track is encoded: simulcast ladders, codec order, content hints. Pure but for asking the browser which codecs
// it has. `media.js` calls it when a track is published.

/** @typedef {import("../weir.js").VideoCodec} VideoCodec */
/** @typedef {import("../weir-protocol.js").Source} Source */

/**
 * One rung: `scale` divides the captured size.
 * @typedef {{ rid: string, scale: number, maxBitrate: number, maxFramerate?: number }} Rung
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
 * `sendEncodings` for a ladder. One rung needs no rid.
 * @param {Rung[]} rungs
 * @param {VideoCodec} codec
 * @returns {RTCRtpEncodingParameters[]}
 */
export function sendEncodings(rungs, codec) {
  return rungs.map(({ rid, scale, maxBitrate, maxFramerate }) => ({
    ...(rungs.length > 1 && { rid }),
    scaleResolutionDownBy: scale,
    maxBitrate,
    ...(maxFramerate !== undefined && { maxFramerate }),
    // Without it Chromium takes several VP9 or AV1 encodings for one SVC stream.
    ...(codec === "vp9" || codec === "av1" ? { scalabilityMode: rungs.length > 1 ? "L1T1" : "L1T2" } : {}),
  }));
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
