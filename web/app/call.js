// The call: holds what is open, pinned and unread, turns clicks and keys into calls of the library, and puts the parts together.

import { ChatPanel } from "./chat.js";
import { Help, Settings } from "./dialogs.js";
import { kbps } from "./format.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";
import { useKeys } from "./keys.js";
import { PeoplePanel } from "./people.js";
import { Reactions, useReactions } from "./reactions.js";
import { cameraOptions, preferences } from "./session.js";
import { Stage } from "./stage.js";
import { tilesOf } from "./tiles.js";
import { Toasts, useToasts } from "./toasts.js";
import { Toolbar } from "./toolbar.js";
import { budget } from "./why.js";

/** @typedef {ReturnType<typeof makeActions>} Actions */
/** @typedef {import("../weir.js").Room} Room */

/** More joins than this at once are not announced one by one. */
const ANNOUNCE_UP_TO = 12;
const STATS_EVERY = 1_000;
/** Somebody who is back within this was never announced to have left. */
const LEFT_AFTER = 2_500;

/** Draws again whenever the room changed. @param {Room} room */
function useRoom(room) {
  const [, setVersion] = useState(0);
  useEffect(() => room.on("change", () => setVersion((version) => version + 1)), [room]);
}

/** @param {Room} room @param {boolean} on */
function useStats(room, on) {
  const [stats, setStats] = useState(/** @type {import("../weir.js").StatsSnapshot | null} */ (null));
  useEffect(() => {
    if (!on) {
      setStats(null);
      return undefined;
    }
    let wanted = true;
    const sample = () => room.stats().then((stats) => wanted && setStats(stats), () => {});
    sample();
    const timer = setInterval(sample, STATS_EVERY);
    return () => {
      wanted = false;
      clearInterval(timer);
    };
  }, [room, on]);
  return stats;
}

/**
 * What the parts may ask for.
 * @param {Room} room
 * @param {any} ui The setters of {@link Call}.
 */
function makeActions(room, ui) {
  /** @param {Promise<unknown>} work */
  const tried = (work) => void work.catch((fault) => ui.toast({ text: fault.message, icon: "alert", bad: true }));
  /** @param {"camera" | "microphone" | "output"} kind @param {string} id */
  const remember = (kind, id) => {
    preferences.set({ [kind]: id });
    ui.setChosen((/** @type {object} */ before) => ({ ...before, [kind]: id }));
  };
  return {
    toggleMicrophone: () => {
      const track = room.local.track("microphone");
      const on = !track || track.muted;
      preferences.set({ microphoneOn: on });
      const fresh = on && !track?.media;
      tried(room.setMicrophone(on, fresh ? { deviceId: preferences.get().microphone } : {}));
    },
    toggleCamera: () => {
      const track = room.local.track("camera");
      const on = !track || track.muted;
      preferences.set({ cameraOn: on });
      tried(room.setCamera(on, on ? cameraOptions() : {}));
    },
    toggleShare: () => {
      const on = room.local.track("screen_share") === null;
      room.setScreenShare(on).catch((fault) => {
        // Closing the browser's chooser is an answer, not a fault.
        if (fault.code !== "permission_denied") ui.toast({ text: fault.message, icon: "alert", bad: true });
      });
    },
    toggleHand: () => tried(room.setHand(!room.local.hand)),
    react: (/** @type {string} */ emoji) => tried(room.react(emoji)),
    openPanel: (/** @type {"chat" | "people"} */ panel) => ui.setPanel((/** @type {string | null} */ before) => (before === panel ? null : panel)),
    messageTo: (/** @type {string} */ pid) => {
      ui.setTo(room.members.get(pid)?.identity ?? null);
      ui.setPanel("chat");
    },
    admin: (/** @type {import("../weir.js").AdminOp} */ op, /** @type {import("../weir.js").Member} */ member) => tried(room.admin(op, member.pid)),
    toggleLayout: () => {
      ui.setPinned(null);
      ui.setSpeakerView((/** @type {boolean} */ before) => !before);
    },
    toggleStats: () => ui.setStatsOn((/** @type {boolean} */ before) => !before),
    toggleFullscreen: () => {
      if (document.fullscreenElement) void document.exitFullscreen();
      else tried(document.documentElement.requestFullscreen());
    },
    copyLink: () => {
      const link = `${location.origin}/room/${encodeURIComponent(room.name)}`;
      navigator.clipboard?.writeText(link).then(
        () => ui.toast({ text: "Link copied", icon: "copy" }),
        () => ui.toast({ text: link }),
      );
    },
    openSettings: () => ui.setDialog("settings"),
    openHelp: () => ui.setDialog("help"),
    chooseCamera: (/** @type {string} */ id) => {
      remember("camera", id);
      const track = room.local.track("camera");
      if (track && !track.muted) tried(room.setCamera(true, cameraOptions()));
    },
    chooseCameraHeight: (/** @type {number} */ height) => {
      preferences.set({ cameraHeight: height });
      ui.setChosen((/** @type {object} */ before) => ({ ...before, cameraHeight: height }));
      const track = room.local.track("camera");
      if (track && !track.muted) tried(room.setCamera(true, cameraOptions()));
    },
    chooseMicrophone: (/** @type {string} */ id) => {
      remember("microphone", id);
      const track = room.local.track("microphone");
      if (track && !track.muted) tried(room.setMicrophone(true, { deviceId: id }));
    },
    chooseOutput: (/** @type {string} */ id) => {
      remember("output", id);
      tried(room.setAudioOutput(id));
    },
    leave: () => room.leave(),
  };
}

/** @param {{ room: Room, onClosed: (end: { reason: string | null, message: string }) => void }} props */
export function Call({ room, onClosed }) {
  useRoom(room);
  const [panel, setPanel] = useState(/** @type {"chat" | "people" | null} */ (null));
  const [speakerView, setSpeakerView] = useState(false);
  const [pinned, setPinned] = useState(/** @type {string | null} */ (null));
  const [statsOn, setStatsOn] = useState(false);
  const [dialog, setDialog] = useState(/** @type {"help" | "settings" | null} */ (null));
  const [unread, setUnread] = useState(0);
  const [to, setTo] = useState(/** @type {string | null} */ (null));
  const [unsent, setUnsent] = useState(/** @type {import("./chat.js").Unsent[]} */ ([]));
  const [chosen, setChosen] = useState(preferences.get);
  const [since] = useState(Date.now);
  const [blocked, setBlocked] = useState(false);
  const { toasts, toast, dismiss, dismissAbout } = useToasts();
  const { rising, rise } = useReactions();
  const stats = useStats(room, statsOn);
  const spoke = useRef(/** @type {Map<string, number>} */ (new Map()));
  const loudest = useRef(/** @type {string | null} */ (null));
  const panelNow = useRef(panel);
  panelNow.current = panel;

  const actions = useMemo(() => makeActions(room, { setPanel, setSpeakerView, setPinned, setStatsOn, setDialog, setTo, setChosen, toast }), [room]);

  // Focus must not fall off the page when the panel that holds it goes: back to the button that opened it.
  const opened = useRef(/** @type {"chat" | "people" | null} */ (null));
  useLayoutEffect(() => {
    if (panel === null && opened.current && document.activeElement === document.body) {
      for (const id of [opened.current, `${opened.current}-narrow`, "more"]) {
        const button = /** @type {HTMLElement | null} */ (document.querySelector(`[data-testid="${id}"]`));
        if (!button?.offsetParent) continue;
        button.focus();
        break;
      }
    }
    opened.current = panel;
  }, [panel]);

  useEffect(() => {
    if (panel !== "chat") return;
    setUnread(0);
    dismissAbout("chat");
  }, [panel]);

  useEffect(() => {
    // For whoever looks at a call from the console.
    /** @type {any} */ (globalThis).weirRoom = room;
    // On the way from one server to another somebody is here twice for a moment.
    const twice = (/** @type {import("../weir.js").Member} */ { pid, identity }) => [...room.members.values()].some((other) => other.identity === identity && other.pid !== pid);
    const nameOf = (/** @type {string} */ pid) => (room.local.pids.has(pid) ? "You" : room.members.get(pid)?.name || "Guest");
    const ends = [
      room.on("memberjoined", ({ member }) => {
        const back = left.get(member.identity);
        left.delete(member.identity);
        if (back !== undefined) return clearTimeout(back);
        if (twice(member)) return;
        if (room.members.size <= ANNOUNCE_UP_TO) toast({ text: `${member.name || "Guest"} joined` });
      }),
      room.on("memberleft", ({ member, reason }) => {
        spoke.current.delete(member.pid);
        if (room.members.size > ANNOUNCE_UP_TO || twice(member)) return;
        // Whoever reloads, or comes back with the server, did not leave.
        const told = setTimeout(() => {
          left.delete(member.identity);
          toast({ text: `${member.name || "Guest"} ${reason === "timed_out" ? "lost the connection" : "left"}` });
        }, LEFT_AFTER);
        left.set(member.identity, told);
      }),
      room.on("memberupdated", ({ member }) => {
        const known = hands.get(member.pid) ?? false;
        hands.set(member.pid, member.hand);
        if (member.hand && !known) toast({ text: `${member.name || "Guest"} raised a hand`, icon: "hand" });
      }),
      room.on("trackadded", ({ track, member }) => track.source === "screen_share" && toast({ text: `${member.name || "Guest"} shares the screen`, icon: "screen" })),
      room.on("speakers", ({ speakers }) => {
        for (const { pid } of speakers) spoke.current.set(pid, Date.now());
        const other = speakers.find(({ pid }) => pid !== room.local.pid);
        if (other) loudest.current = other.pid;
      }),
      room.on("chat", ({ message }) => {
        if (room.local.pids.has(message.from) || panelNow.current === "chat") return;
        setUnread((before) => before + 1);
        const text = message.text.length > 80 ? `${message.text.slice(0, 80)}…` : message.text;
        toast({
          text: `${message.name}${message.to ? " (private)" : ""}: ${text}`,
          icon: "chat",
          about: "chat",
          action: { label: "Open", run: () => setPanel("chat") },
        });
      }),
      room.on("reaction", ({ from, emoji }) => rise(emoji, nameOf(from))),
      room.on("muterequest", ({ by }) => toast({ text: `${nameOf(by)} muted you`, icon: "micOff" })),
      room.on("localtrack", ({ track, what }) => what === "ended" && track.source !== "screen_share" && toast({ text: `The ${track.source} was disconnected`, icon: "alert", bad: true })),
      room.on("fault", ({ error }) => toast({ text: error.message, icon: "alert", bad: true })),
      room.on("audioblocked", () => setBlocked(true)),
      room.on("closed", ({ error, reason }) => onClosed({ reason, message: error.message })),
    ];
    // Closing the tab says goodbye at once instead of by silence. The page is not told: a reload must find that it was in a call.
    const bye = () => {
      for (const end of ends) end();
      room.leave();
    };
    addEventListener("pagehide", bye);
    // It may have ended between joining and here.
    if (room.state === "closed") onClosed({ reason: null, message: "The call ended." });
    return () => {
      for (const end of ends) end();
      removeEventListener("pagehide", bye);
    };
  }, [room]);
  const left = useMemo(() => new Map(), [room]);
  const hands = useMemo(() => new Map([...room.members.values()].map((member) => [member.pid, member.hand])), [room]);

  /** @param {string} text @param {string | null} recipient @param {string} [again] */
  const send = (text, recipient, again) => {
    const key = again ?? crypto.randomUUID();
    setUnsent((before) => [...before.filter((each) => each.key !== key), { key, text, to: recipient ?? undefined, failed: "" }]);
    room.sendChat(text, recipient ?? undefined).then(
      () => setUnsent((before) => before.filter((each) => each.key !== key)),
      (fault) => setUnsent((before) => before.map((each) => (each.key === key ? { ...each, failed: fault.message } : each))),
    );
  };

  useKeys({
    m: actions.toggleMicrophone,
    v: actions.toggleCamera,
    s: actions.toggleShare,
    h: actions.toggleHand,
    c: () => actions.openPanel("chat"),
    p: () => actions.openPanel("people"),
    l: actions.toggleLayout,
    i: actions.toggleStats,
    f: actions.toggleFullscreen,
    "?": actions.openHelp,
    Escape: () => setPanel(null),
  });

  const tiles = tilesOf(room);
  const screen = tiles.find(({ what, local }) => what === "screen" && !local);
  const talker = tiles.find(({ pid, what }) => pid === loudest.current && what === "camera") ?? tiles.find(({ local, what }) => !local && what === "camera");
  const held = tiles.some(({ key }) => key === pinned) ? pinned : null;
  const focus = held ?? screen?.key ?? (speakerView ? talker?.key ?? null : null);
  const mediaDown = room.state === "connected" && (room.mediaState === "disconnected" || room.mediaState === "failed");
  const alone = room.members.size === 0;

  return html`
    <main class=${`call ${panel ? "with-panel" : ""}`} data-testid="call" data-state=${room.state} data-media=${room.mediaState}>
      <h1 class="visually-hidden">Room ${room.name}</h1>
      <div role="alert" class="banner-place">
        ${room.state === "reconnecting" && html`<p class="banner" data-testid="reconnecting"><span class="spinner" aria-hidden="true"></span>Connection lost — reconnecting</p>`}
        ${mediaDown && html`<p class="banner" data-testid="media-down"><span class="spinner" aria-hidden="true"></span>Picture and sound are interrupted — restoring</p>`}
        ${blocked && html`<p class="banner">Your browser holds the sound back. <button class="button small" data-testid="start-audio" onClick=${() => { setBlocked(false); void room.startAudio(); }}>Play sound</button></p>`}
      </div>
      <div class="call-body">
        <section class="stage-place" aria-label="People and screens">
          <${Stage}
            room=${room}
            tiles=${tiles}
            focus=${focus}
            pinned=${held}
            spoke=${spoke.current}
            stats=${stats}
            onPin=${(/** @type {string} */ key) => setPinned((before) => (before === key ? null : key))}
          />
          ${alone && html`<div class="alone"><p>You are the only one here.</p><button class="button" onClick=${actions.copyLink}><${Icon} name="copy" size=${18} />Copy invite link</button></div>`}
          <${Reactions} rising=${rising} />
          <${Toasts} toasts=${toasts} onDismiss=${dismiss} />
          ${stats && html`<${PathStats} room=${room} stats=${stats} />`}
        </section>
        ${panel &&
        html`<aside class="panel" aria-label=${panel === "chat" ? "Chat" : "People"} data-testid=${`${panel}-panel`}>
          <header>
            <h2>${panel === "chat" ? "Chat" : `People · ${room.members.size + 1}`}</h2>
            <button class="round small plain" aria-label="Close" data-testid="panel-close" onClick=${() => setPanel(null)}><${Icon} name="close" size=${20} /></button>
          </header>
          ${panel === "chat"
            ? html`<${ChatPanel} room=${room} unsent=${unsent} to=${to} onTo=${setTo} onSend=${send} onRetry=${(/** @type {any} */ each) => send(each.text, each.to ?? null, each.key)} />`
            : html`<${PeoplePanel} room=${room} actions=${actions} />`}
        </aside>`}
      </div>
      <${Toolbar} room=${room} actions=${actions} panel=${panel} unread=${unread} speakerView=${speakerView || held !== null} statsOn=${statsOn} chosen=${chosen} since=${since} />
      ${dialog === "help" && html`<${Help} onClose=${() => setDialog(null)} />`}
      ${dialog === "settings" && html`<${Settings} room=${room} actions=${actions} chosen=${chosen} statsOn=${statsOn} onClose=${() => setDialog(null)} />`}
    </main>
  `;
}

/** @param {{ room: Room, stats: import("../weir.js").StatsSnapshot }} props */
function PathStats({ room, stats }) {
  const { path } = stats;
  /** @type {[string, string][]} */
  const lines = [
    ["edge", room.edge ? `${room.edge.id} · ${room.edge.region}` : "—"],
    ["path", `${path.protocol ?? "?"}${path.relayed ? " · relayed" : ""} · ${path.rttMs === null ? "?" : Math.round(path.rttMs)} ms`],
    ["socket", room.rtt === null ? "—" : `${Math.round(room.rtt)} ms`],
    ["down", kbps(path.downBps)],
    ...budget(stats.server),
    ["up", `${kbps(path.upBps)}${path.availableUpBps === null ? "" : ` of ${kbps(path.availableUpBps)}`}`],
  ];
  return html`<dl class="path-stats" data-testid="path-stats">${lines.map(([key, value]) => html`<div key=${key}><dt>${key}</dt><dd>${value}</dd></div>`)}</dl>`;
}
