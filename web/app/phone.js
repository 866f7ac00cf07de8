// `/call/PLACE`: who is here, ring one of them, and the call that comes of it. Owns the room that people meet in; a call's own view
// is `oncall.js`, what rings is `ringing.js`.

import { Room, WeirError } from "../weir.js";
import { Avatar } from "./avatar.js";
import { useDevices } from "./devices.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { Icon, Mark } from "./icons.js";
import { OnCall } from "./oncall.js";
import { Incoming, Ringing } from "./ringing.js";
import { cameraOptions, giveToken, joinFault, joinToken, preferences, randomRoom, roomSlug } from "./session.js";
import { Toasts, useToasts } from "./toasts.js";

/** Why a call is over, by who rang: what happened, in words. */
const ENDS = {
  hung_up: () => "The call has ended.",
  left: (/** @type {string} */ name) => `${name} is gone.`,
  declined: (/** @type {string} */ name, /** @type {boolean} */ own) => (own ? `${name} declined.` : `You declined ${name}'s call.`),
  busy: (/** @type {string} */ name) => `${name} is in another call.`,
  cancelled: (/** @type {string} */ name, /** @type {boolean} */ own) => (own ? "You gave up ringing." : `You missed a call from ${name}.`),
  timeout: (/** @type {string} */ name, /** @type {boolean} */ own) => (own ? `${name} did not answer.` : `You missed a call from ${name}.`),
  failed: () => "No connection came about, or it was lost.",
  unavailable: (/** @type {string} */ name) => `${name} takes no calls on the page that they have open.`,
};

/** @param {{ place: string | null, onPlace: (place: string) => void, onHome: () => void }} props */
export function Phone({ place, onPlace, onHome }) {
  const [room, setRoom] = useState(/** @type {Room | null} */ (null));
  const [end, setEnd] = useState("");
  useEffect(() => () => room?.leave(), [room]);
  if (room) {
    return html`<${Lobby}
      key=${room}
      room=${room}
      place=${place ?? ""}
      onClosed=${(/** @type {string} */ why) => {
        setEnd(why);
        setRoom(null);
      }}
      onHome=${onHome}
    />`;
  }
  return html`<${Entrance}
    place=${place}
    end=${end}
    onHome=${onHome}
    onIn=${(/** @type {Room} */ joined, /** @type {string} */ where) => {
      onPlace(where);
      setEnd("");
      setRoom(joined);
    }}
  />`;
}

/** At once, not after the next frame: somebody may be typing. @param {HTMLElement | null} element */
const focus = (element) => element?.focus();

/** @param {{ place: string | null, end: string, onIn: (room: Room, place: string) => void, onHome: () => void }} props */
function Entrance({ place, end, onIn, onHome }) {
  const [name, setName] = useState(preferences.get().name);
  const [where, setWhere] = useState(place ?? "");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(end);
  const [needsToken, setNeedsToken] = useState(false);
  const [token, setToken] = useState("");

  const enter = async () => {
    setBusy(true);
    setError("");
    if (token) giveToken(token);
    const displayName = name.trim();
    const target = roomSlug(where) || randomRoom();
    preferences.set({ name: displayName });
    const asked = new URLSearchParams(location.search);
    const room = new Room({
      token: () => joinToken(target, displayName),
      client: "weir-web/0.1.0",
      autoSubscribe: false,
      relayOnly: asked.get("relay") === "only",
      calls: { autoMove: asked.get("move") !== "never", ...(asked.has("ring") && { ringMs: Number(asked.get("ring")) * 1000 }) },
    });
    try {
      await room.connect();
    } catch (fault) {
      const known = joinFault(fault);
      if (known.code === "unauthorized") setNeedsToken(true);
      setError(known.message);
      setBusy(false);
      return;
    }
    onIn(room, target);
  };

  return html`
    <main class="page landing" data-testid="phone-entrance">
      <header class="brand">
        <a href="/" onClick=${(/** @type {Event} */ event) => (event.preventDefault(), onHome())} aria-label="weir, back to start"><${Mark} size=${30} /><span>weir</span></a>
      </header>
      <section class="landing-body">
        <h1>Call somebody.</h1>
        <p class="lede">Both of you open the same meeting place, and either rings the other. What you say goes straight from browser to browser where the network lets it.</p>
        <form
          class="phone-form"
          onSubmit=${(/** @type {Event} */ event) => {
            event.preventDefault();
            if (!busy && name.trim()) void enter();
          }}
        >
          <label class="stack">
            <span>Your name</span>
            <input ref=${focus} class="field" data-testid="name" autocomplete="name" maxlength="60" required placeholder="How others see you" value=${name} onInput=${(/** @type {any} */ event) => setName(event.target.value)} />
          </label>
          <label class="stack">
            <span>Meeting place</span>
            <input class="field" data-testid="phone-place" autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="64" placeholder="A name you share, or leave it empty for a new one" value=${where} onInput=${(/** @type {any} */ event) => setWhere(event.target.value)} />
          </label>
          ${needsToken &&
          html`<label class="stack">
            <span>Token</span>
            <input class="field mono" data-testid="token" autocomplete="off" spellcheck="false" placeholder="eyJ…" value=${token} onInput=${(/** @type {any} */ event) => setToken(event.target.value)} />
          </label>`}
          <div role="alert">${error && html`<p class="notice" data-testid="join-error"><${Icon} name="alert" size=${18} />${error}</p>`}</div>
          <button class="button primary large wide" data-testid="phone-enter" disabled=${busy || !name.trim()}>
            ${busy ? html`<span class="spinner" aria-hidden="true"></span>Opening…` : "Open the meeting place"}
          </button>
        </form>
      </section>
    </main>
  `;
}

/** @param {{ room: Room, place: string, onClosed: (why: string) => void, onHome: () => void }} props */
function Lobby({ room, place, onClosed, onHome }) {
  const [, redraw] = useState(0);
  const [ended, setEnded] = useState(/** @type {{ text: string, pid: string } | null} */ (null));
  const [copied, setCopied] = useState(false);
  const { toasts, toast, dismiss } = useToasts();
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  useDevices("");

  useEffect(() => {
    // For tests and for the curious.
    Object.assign(globalThis, { weirRoom: room });
    const draw = () => redraw((count) => count + 1);
    const off = [
      room.on("change", draw),
      room.on("closed", ({ error, reason }) => reason !== "left" && onClosed(error.message)),
      room.calls.on("incoming", draw),
      room.calls.on("call", ({ call }) => {
        setEnded(null);
        call.on("change", draw);
        call.on("state", draw);
        call.on("fault", ({ error }) => toast({ text: error.message, icon: "alert", bad: true }));
        call.on("invitation", ({ invitation: { name, state } }) => state !== "ringing" && toast({ text: ENDS[state](name, true), icon: "people" }));
        draw();
      }),
      room.calls.on("ended", ({ call }) => {
        const reason = call.reason ?? "hung_up";
        setEnded({ text: ENDS[reason](call.name || "The other person", call.outgoing), pid: call.pid });
        draw();
      }),
    ];
    return () => off.forEach((each) => each());
  }, [room]);

  const call = room.calls.current;
  useEffect(() => {
    document.title = call?.state === "ringing" && !call.outgoing ? `${call.name} calls · weir` : `${place} · weir`;
  }, [call?.state, call?.id]);
  // After a call the focus is where the next thing to do is.
  useLayoutEffect(() => {
    if (ended) heading.current?.focus();
  }, [ended]);

  /** @param {string} pid @param {boolean} video */
  const ring = (pid, video) => {
    const { microphone } = preferences.get();
    try {
      room.calls.call(pid, { audio: { deviceId: microphone }, video: video && cameraOptions() });
    } catch (fault) {
      toast({ text: fault instanceof WeirError ? fault.message : "The call could not be made.", icon: "alert", bad: true });
    }
  };
  const copy = () =>
    navigator.clipboard?.writeText(`${location.origin}/call/${encodeURIComponent(place)}`).then(
      () => setCopied(true),
      () => {},
    );

  if (call && call.state !== "ringing") return html`<${OnCall} key=${call} call=${call} room=${room} place=${place} toasts=${toasts} onDismiss=${dismiss} />`;
  if (call?.outgoing) return html`<${Ringing} call=${call} />`;
  const people = [...room.members.values()];
  return html`
    <main class="page landing" data-testid="phone-lobby" data-state=${room.state}>
      <header class="brand">
        <a href="/" onClick=${(/** @type {Event} */ event) => (event.preventDefault(), onHome())} aria-label="weir, back to start"><${Mark} size=${30} /><span>weir</span></a>
      </header>
      <section class="landing-body phone-lobby">
        <p class="eyebrow">${room.state === "reconnecting" ? "Reconnecting…" : `You are here as ${room.local.name}`}</p>
        <h1 tabindex="-1" ref=${heading}>${place}</h1>
        <div role="status">${ended && html`<p class="phone-ended" data-testid="phone-ended">${ended.text}</p>`}</div>
        ${people.length === 0
          ? html`<p class="lede" data-testid="phone-alone">Nobody else is here yet. Send the link to the person you want to talk to, and keep this page open.</p>`
          : html`<ul class="phone-people" aria-label="Who is here">
              ${people.map(
                (member) => html`<li key=${member.pid} class="phone-person" data-testid="phone-person" data-name=${member.name}>
                  <${Avatar} name=${member.name || "Guest"} identity=${member.identity} size="small" />
                  <span class="person-name">${member.name || "Guest"}${member.away && html` <small>reconnecting</small>`}${member.attrs["weir.call"] && html` <small>in a call</small>`}</span>
                  <button class="round" aria-label=${`Call ${member.name} without a picture`} title="Voice call" data-testid="phone-voice" onClick=${() => ring(member.pid, false)}><${Icon} name="phone" /></button>
                  <button class="round call-go" aria-label=${`Video call with ${member.name}`} title="Video call" data-testid="phone-video" onClick=${() => ring(member.pid, true)}><${Icon} name="camera" /></button>
                </li>`,
              )}
            </ul>`}
        <button class="button large" data-testid="phone-copy" onClick=${copy}><${Icon} name=${copied ? "check" : "copy"} size=${20} />${copied ? "Link copied" : "Copy the link to this place"}</button>
      </section>
      ${call && html`<${Incoming} key=${call.id} call=${call} />`}
      <${Toasts} toasts=${toasts} onDismiss=${dismiss} />
    </main>
  `;
}
