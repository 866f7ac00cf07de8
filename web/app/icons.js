// The icons, drawn on a grid of 24 with strokes of 1.8. Decorative always: the control that holds one has the name.

import { html } from "./html.js";

const PATHS = {
  mic: html`<rect x="9" y="3" width="6" height="11" rx="3" /><path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3" />`,
  micOff: html`<path d="M15 9.5V6a3 3 0 0 0-5.8-1.1M9 9v2a3 3 0 0 0 4.6 2.5M5.5 11.5a6.5 6.5 0 0 0 10.3 5.3M18.5 11.5a6.4 6.4 0 0 1-.5 2.5M12 18v3M4 4l16 16" />`,
  camera: html`<rect x="3" y="6.5" width="12.5" height="11" rx="2.5" /><path d="m15.5 10.5 4-2.6c.7-.4 1.5 0 1.5.8v6.6c0 .8-.8 1.2-1.5.8l-4-2.6" />`,
  cameraOff: html`<path d="M9.5 6.5H13a2.5 2.5 0 0 1 2.5 2.5v1.5l4-2.6c.7-.4 1.5 0 1.5.8v6.6c0 .5-.3.8-.7.9M14.8 16.4a2.5 2.5 0 0 1-1.8 1.1H5.500A2.500 2.500 0 0 1 3 15V9a2.500 2.500 0 0 1 2.500-2.500M4 4l16 16" />`,
  screen: html`<rect x="3" y="4.5" width="18" height="12.500" rx="2.500" /><path d="M9 20.500h6M12 13.500v-5.500M9.300 10.500 12 7.800l2.700 2.700" />`,
  hand: html`<path d="M7.500 12V6.200a1.400 1.400 0 0 1 2.800 0V11m0-.5V4.400a1.400 1.400 0 0 1 2.800 0V11m0-.3V5.400a1.400 1.400 0 0 1 2.800 0v6.800m0-3.400a1.400 1.400 0 0 1 2.800 0v5.400A6.300 6.300 0 0 1 12.400 20.500c-2.700 0-4.200-1.200-5.500-3.300l-2.300-3.900a1.400 1.400 0 0 1 2.300-1.500l1.400 1.700" />`,
  smile: html`<circle cx="12" cy="12" r="8.800" /><path d="M8.300 14.200a4.400 4.400 0 0 0 7.400 0M9 9.500v.6M15 9.500v.6" />`,
  chat: html`<path d="M20.500 11.600a7.800 7.800 0 0 1-8.300 7.600 9.500 9.500 0 0 1-3.200-.6L4 20l1.300-3.700a7.300 7.300 0 0 1-1.800-4.700A7.900 7.900 0 0 1 12 4a7.900 7.900 0 0 1 8.500 7.600Z" />`,
  people: html`<circle cx="9" cy="8.500" r="3.300" /><path d="M3 19c.4-3.300 2.900-5.300 6-5.300s5.600 2 6 5.300M15.600 5.500a3.200 3.200 0 0 1 0 6M17.300 14.200c2.100.6 3.400 2.300 3.700 4.800" />`,
  more: html`<circle cx="12" cy="5.500" r=".9" /><circle cx="12" cy="12" r=".9" /><circle cx="12" cy="18.500" r=".9" />`,
  leave: html`<path d="M3.200 14.300c-.5-1-.2-2.200.7-3 4.600-3.900 11.600-3.900 16.200 0 .9.800 1.200 2 .7 3l-.6 1.200c-.3.700-1.100 1-1.800.7l-2.700-.9a1.500 1.500 0 0 1-1-1.400v-1.600a11.500 11.500 0 0 0-5.400 0v1.600c0 .6-.4 1.200-1 1.400l-2.700.9c-.7.300-1.500 0-1.800-.7l-.6-1.200Z" />`,
  grid: html`<rect x="3.500" y="4" width="7.500" height="7" rx="1.600" /><rect x="13" y="4" width="7.500" height="7" rx="1.600" /><rect x="3.500" y="13" width="7.500" height="7" rx="1.600" /><rect x="13" y="13" width="7.500" height="7" rx="1.600" />`,
  speaker: html`<rect x="3.500" y="4" width="17" height="10.500" rx="2" /><path d="M3.500 18.500h4M10 18.500h4M16.500 18.500h4" />`,
  pin: html`<path d="M9 4h6M10 4v5.500L7.500 13h9L14 9.500V4M12 13v7" />`,
  unpin: html`<path d="M9 4h6M10 4v3M14 4v5.500l2.500 3.500h-3M10 10l-2.500 3H13M12 13v7M4 4l16 16" />`,
  settings: html`<path d="M4 7h9M17.500 7H20M4 17h3M11.500 17H20" /><circle cx="15.300" cy="7" r="2.300" /><circle cx="9.300" cy="17" r="2.300" />`,
  stats: html`<path d="M4 19.500h16M6.500 16v-4M11 16V6M15.500 16V9.500M20 16v-2" />`,
  keyboard: html`<rect x="2.500" y="6" width="19" height="12" rx="2.500" /><path d="M6.500 10h.1M10 10h.1M13.800 10h.1M17.300 10h.1M8 14h8" />`,
  close: html`<path d="m6 6 12 12M18 6 6 18" />`,
  pause: html`<circle cx="12" cy="12" r="8.800" /><path d="M10 9v6M14 9v6" />`,
  reduced: html`<path d="m6.500 6.500 5.500 5.500 5.500-5.500M6.500 13l5.500 5.500 5.500-5.500" />`,
  down: html`<path d="m7 10 5 5 5-5" />`,
  left: html`<path d="m14.500 6-6 6 6 6" />`,
  right: html`<path d="m9.500 6 6 6-6 6" />`,
  check: html`<path d="m5 12.500 4.500 4.500L19 7.500" />`,
  send: html`<path d="M5 12h13M12.500 6l6 6-6 6" />`,
  copy: html`<rect x="8.500" y="8.500" width="11.500" height="11.500" rx="2.300" /><path d="M15.500 8.500V6.300A2.300 2.300 0 0 0 13.200 4H6.300A2.300 2.300 0 0 0 4 6.300v6.900a2.300 2.300 0 0 0 2.300 2.300h2.200" />`,
  fullscreen: html`<path d="M4 9V5.500A1.500 1.500 0 0 1 5.500 4H9M15 4h3.500A1.500 1.500 0 0 1 20 5.500V9M20 15v3.500a1.500 1.500 0 0 1-1.500 1.500H15M9 20H5.500A1.500 1.500 0 0 1 4 18.500V15" />`,
  lock: html`<rect x="5" y="10.500" width="14" height="9.500" rx="2.300" /><path d="M8.300 10.500V8a3.700 3.700 0 0 1 7.400 0v2.500" />`,
  remove: html`<circle cx="10" cy="8" r="3.500" /><path d="M3.500 19.500c.4-3.600 3-5.700 6.500-5.700 1.200 0 2.300.2 3.200.7M15.500 18h6" />`,
  volume: html`<path d="M4 9.500v5h3.500L12 18.500v-13L7.500 9.500ZM15.500 9a4.200 4.200 0 0 1 0 6M18 6.500a7.800 7.800 0 0 1 0 11" />`,
  volumeOff: html`<path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.500ZM15.500 9.500l5 5M20.500 9.500l-5 5" />`,
  apart: html`<path d="M20.500 10.500V7A2.500 2.500 0 0 0 18 4.500H6A2.500 2.500 0 0 0 3.500 7v9A2.500 2.500 0 0 0 6 18.500h3.500" /><rect x="12.500" y="13.500" width="8" height="6" rx="1.500" />`,
  alert: html`<path d="M12 4 2.800 19.500h18.400ZM12 10v4.500M12 17.200v.1" />`,
};

/** @param {{ name: keyof typeof PATHS, size?: number }} props */
export function Icon({ name, size = 22 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">${PATHS[name]}</svg>`;
}

export function Mark({ size = 28 }) {
  return html`<img class="mark" src="/app/mark.svg" width=${size} height=${size} alt="" />`;
}
