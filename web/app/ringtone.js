// The sound of a phone, made and not loaded: two soft notes every few seconds. A browser that wants a click before it plays sound
// rings silently; the dialog is there anyway.

const EVERY = 3_000;
/** Full scale is 1. */
const LOUDNESS = 0.06;
/** @type {Record<"incoming" | "outgoing", [at: number, hertz: number, seconds: number][]>} */
const NOTES = {
  incoming: [
    [0, 659, 0.35],
    [0.25, 880, 0.5],
    [0.8, 659, 0.35],
    [1.05, 880, 0.6],
  ],
  outgoing: [[0, 440, 0.9]],
};

/** Rings until the returned function is called. @param {"incoming" | "outgoing"} which */
export function ringTone(which) {
  if (!globalThis.AudioContext) return () => {};
  const context = new AudioContext();
  const ring = () => {
    if (context.state !== "running") return;
    for (const [at, hertz, seconds] of NOTES[which]) {
      const start = context.currentTime + at;
      const tone = new OscillatorNode(context, { type: "sine", frequency: hertz });
      const volume = new GainNode(context, { gain: 0 });
      volume.gain.setValueAtTime(0, start);
      volume.gain.linearRampToValueAtTime(LOUDNESS, start + 0.03);
      volume.gain.exponentialRampToValueAtTime(0.0005, start + seconds);
      tone.connect(volume).connect(context.destination);
      tone.start(start);
      tone.stop(start + seconds);
    }
  };
  const begin = setTimeout(ring, 50);
  const again = setInterval(ring, EVERY);
  return () => {
    clearTimeout(begin);
    clearInterval(again);
    void context.close();
  };
}
