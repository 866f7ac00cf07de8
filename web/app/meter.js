// How loud a microphone is, as bars. Draws straight into the DOM: sixty renders a second would be a waste.

import { html, useEffect, useRef } from "./html.js";

const BARS = 12;

/** @param {{ media: MediaStreamTrack | null, label?: string }} props */
export function Meter({ media, label = "Microphone level" }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (!media || !globalThis.AudioContext) return undefined;
    const context = new AudioContext();
    const source = context.createMediaStreamSource(new MediaStream([media]));
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    let level = 0;
    const timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      let sum = 0;
      for (const sample of samples) sum += sample * sample;
      const decibels = 10 * Math.log10(sum / samples.length + 1e-9);
      level = Math.max(level * 0.8, Math.min(1, Math.max(0, (decibels + 60) / 50)));
      const lit = Math.round(level * BARS);
      const element = box.current;
      if (!element) return;
      element.setAttribute("aria-valuenow", String(Math.round(level * 100)));
      [...element.children].forEach((bar, index) => bar.classList.toggle("lit", index < lit));
    }, 60);
    return () => {
      clearInterval(timer);
      source.disconnect();
      void context.close();
    };
  }, [media]);
  return html`<div class="meter" ref=${box} role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax="100" aria-valuenow="0" data-testid="mic-meter">
    ${Array.from({ length: BARS }, (_, index) => html`<i key=${index}></i>`)}
  </div>`;
}
