/**
 * weir's client library: joins a room of a weir server, publishes camera, microphone and screen, receives the others.
 *
 * ```js
 * import { Room } from "https://weir.example/weir.js";
 *
 * const room = new Room({ url: "wss://weir.example/v1/ws", token });
 * room.on("trackadded", ({ track }) => track.kind === "video" && room.attach(newVideoElement(), track));
 * await room.connect();
 * await room.setCamera(true);
 * await room.setMicrophone(true);
 * ```
 *
 * Sounds are played by the library. A lost WebSocket is opened again by itself and the call goes on meanwhile; `state` tells.
 * When the edge that carries the session is gone, the library joins at the next one; when an edge is about to go, it moves first.
 * Everything that fails throws or rejects with a {@link WeirError}.
 */

import type {
  AdminOp,
  CallEnd,
  Chat,
  Edge,
  EdgeAddress,
  ErrorCode as ServerErrorCode,
  Grants,
  Kind,
  LeaveReason,
  MemberStats,
  PeerQuality,
  PublishedLayer,
  Source,
  Speaker,
  StreamReason,
  StreamStateKind,
  SubscriptionStats,
} from "./weir-protocol.js";

export type { AdminOp, Chat, Edge, EdgeAddress, Grants, Kind, LeaveReason, MemberStats, PeerQuality, PublishedLayer, Source, Speaker, SubscriptionStats };

/** A code of the protocol, a reason of a `leave`, or one that arises in the browser. */
export type ErrorCode =
  | ServerErrorCode
  | LeaveReason
  | "connection_failed"
  | "connection_lost"
  | "negotiation_failed"
  | "closed"
  | "permission_denied"
  | "device_not_found"
  | "device_in_use"
  | "capture_failed"
  | "unsupported";

/** The only error type of the library. `message` is fit to be shown to a person. */
export class WeirError extends Error {
  constructor(code: ErrorCode, message: string, cause?: unknown);
  readonly code: ErrorCode;
}

export type VideoCodec = "vp8" | "vp9" | "h264" | "av1";

export interface RoomOptions {
  /** `ws:` or `wss:` address of the room protocol. Default: `/v1/ws` of the page's own server. */
  url?: string;
  /** A join token, or a function that gives one; it is asked again whenever a socket is opened. */
  token: string | (() => string | Promise<string>);
  /** Receive every track of the room (default true). Otherwise see {@link Room.subscribe}. */
  autoSubscribe?: boolean;
  /** Receive the layer that fits what {@link Room.attach} shows (default true); false receives the largest. */
  adaptive?: boolean;
  /** What cameras and screens are encoded with where the browser can (default `vp8`). */
  videoCodec?: VideoCodec;
  /** Send redundant audio where both sides can (default true): it survives loss and costs twice the audio rate. */
  red?: boolean;
  /** Exchange media through the server's TURN relay alone (default false): for networks where nothing else works, and to try the relay. */
  relayOnly?: boolean;
  /** Of calls with one other member: how long one rings (default 30 000), and whether it moves to the server by itself (default true). */
  calls?: { ringMs?: number; autoMove?: boolean };
  /** Name and version of the application, for the server's log. */
  client?: string;
}

/**
 * - `idle`: not yet connected.
 * - `connecting`: on the way in.
 * - `connected`: the room is here.
 * - `reconnecting`: the socket is lost and is being opened again. Media may well go on.
 * - `closed`: over; make a new `Room` to join again.
 */
export type RoomState = "idle" | "connecting" | "connected" | "reconnecting" | "closed";

export interface CameraOptions {
  /** When it is not there any more, another is taken. */
  deviceId?: string;
  /** Pixels, wished for (default 1280 × 720). */
  width?: number;
  height?: number;
  /** Per second, wished for (default 30). */
  frameRate?: number;
  facingMode?: "user" | "environment";
}

export interface MicrophoneOptions {
  deviceId?: string;
  echoCancellation?: boolean;
  noiseSuppression?: boolean;
  autoGainControl?: boolean;
}

export interface ScreenOptions {
  /** Share the sound too, where the browser offers it (default true). */
  audio?: boolean;
  frameRate?: number;
}

/** Another member of the room. The same object as long as the member is there. */
export interface Member {
  /** New for each join. */
  readonly pid: string;
  /** Who it is to the application. */
  readonly identity: string;
  readonly name: string;
  readonly attrs: Readonly<Record<string, string>>;
  /** The edge that carries it, and that one's region. */
  readonly node: string;
  readonly region: string;
  readonly hand: boolean;
  /** Its socket is lost and may come back. */
  readonly away: boolean;
  readonly tracks: ReadonlyMap<string, RemoteTrack>;
  readonly quality: PeerQuality | null;
  /** 0 silent to 127; only of those who speak. */
  readonly level: number;
  /** The first track of that source. */
  track(source: Source): RemoteTrack | null;
}

/** A track somebody else publishes. The same object as long as it is published. */
export interface RemoteTrack {
  readonly id: string;
  readonly pid: string;
  readonly kind: Kind;
  readonly source: Source;
  readonly name: string | null;
  readonly muted: boolean;
  /** What its publisher can send, smallest first. */
  readonly layers: readonly PublishedLayer[];
  /** What plays it, once the server has given it a place. May change; {@link Room.attach} follows it. */
  readonly media: MediaStreamTrack | null;
  /** Whether packets are coming: `paused` when off screen, muted or beyond the budget; null until the server says. */
  readonly streaming: StreamStateKind | null;
  /**
   * Why nothing comes, or, of an active one, less than its place on the page called for; null when all is well. Servers may add
   * reasons.
   */
  readonly reason: StreamReason | null;
  /** The simulcast layer that comes. */
  readonly rid: string | null;
  /** The servers it comes through: this session's edge first, the publisher's last. Empty until the server says. */
  readonly path: readonly Edge[];
}

/** A track this page publishes. */
export interface LocalTrack {
  /** This page's own name for it. */
  readonly cid: string;
  /** The server's name for it. */
  readonly id: string | null;
  readonly kind: Kind;
  readonly source: Source;
  readonly muted: boolean;
  /** What is captured now; null for a camera that is off. */
  readonly media: MediaStreamTrack | null;
}

/** Oneself. */
export interface LocalMember {
  readonly pid: string;
  /** Of now and before: a join at another edge brings a new one. */
  readonly pids: ReadonlySet<string>;
  readonly identity: string;
  readonly name: string;
  readonly grants: Grants;
  readonly hand: boolean;
  readonly level: number;
  readonly quality: PeerQuality | null;
  /** By `cid`. */
  readonly tracks: ReadonlyMap<string, LocalTrack>;
  track(source: Source): LocalTrack | null;
}

export interface InboundStats {
  /** Track id. */
  track: string;
  kind: Kind;
  codec: string | null;
  rid: string | null;
  width: number;
  height: number;
  fps: number;
  /** Bits per second since the sample before. */
  bps: number;
  /** Share of 1, since the sample before. */
  loss: number;
  jitterMs: number;
  framesDecoded: number;
  framesDropped: number;
  freezes: number;
  frozenMs: number;
  /** `totalAudioEnergy`: rises while there is sound. */
  audioEnergy: number;
  /** Share of the samples that were made up for want of packets. */
  concealed: number;
}

export interface OutboundStats {
  /** Track id. */
  track: string;
  kind: Kind;
  codec: string | null;
  loss: number;
  /** `none`, `cpu`, `bandwidth` or `other`. */
  limitedBy: string;
  layers: { rid: string | null; active: boolean; width: number; height: number; fps: number; bps: number }[];
}

export interface StatsSnapshot {
  /** Milliseconds since the Unix epoch. */
  at: number;
  path: {
    rttMs: number | null;
    /** `udp` or `tcp`. */
    protocol: string | null;
    /** Through a TURN server. */
    relayed: boolean;
    downBps: number;
    upBps: number;
    availableUpBps: number | null;
  };
  inbound: InboundStats[];
  outbound: OutboundStats[];
  /** What the server says of what it sends, and why it is not more; null until it has answered. */
  server: MemberStats | null;
}

/** What {@link Room} tells, by name of the event. Listeners get it as `event.detail`, or with {@link Room.on} as it is. */
export interface RoomEvents {
  /** Something that can be seen changed. Comes after the events that say what, at most once per 16 ms: render on it. */
  change: Room;
  state: { state: RoomState };
  /** The connection of the media, as the browser names it. */
  mediastate: { state: RTCPeerConnectionState };
  memberjoined: { member: Member };
  /** Somebody who comes back as a newer session of theirs (`replaced`) leaves as that one joins, or after a second. */
  memberleft: { member: Member; reason: LeaveReason };
  memberupdated: { member: Member };
  trackadded: { track: RemoteTrack; member: Member };
  trackremoved: { track: RemoteTrack; member: Member };
  trackmuted: { track: RemoteTrack; member: Member };
  /** `track.media` changed. */
  trackbound: { track: RemoteTrack };
  /** `track.streaming` or `track.rid` changed. */
  streamstate: { track: RemoteTrack };
  /** Of this page's own: published, unpublished, muted, replaced, or ended by the device. */
  localtrack: { track: LocalTrack; what: "published" | "unpublished" | "muted" | "replaced" | "ended" };
  /** `track.path` changed. */
  path: { track: RemoteTrack };
  /** The edge is about to stop: a second session is set up at another, and takes over when its media flow. */
  migrating: { url: string };
  speakers: { speakers: readonly Speaker[] };
  quality: { peers: readonly PeerQuality[] };
  /** Also one's own messages, once the server has accepted them. */
  chat: { message: Chat };
  /** From anybody, oneself included. */
  reaction: { from: string; emoji: string };
  /** An admin muted one of this page's tracks; the library already obeyed. */
  muterequest: { track: LocalTrack; by: string };
  /** A message on the data channel. */
  data: { data: string | ArrayBuffer };
  /** The browser wants a click before it plays sound: call {@link Room.startAudio} from one. */
  audioblocked: Record<string, never>;
  /** A fault that does not end the call. */
  fault: { error: WeirError };
  closed: { error: WeirError; reason: LeaveReason | null };
}

/** One's presence in one room. Not reusable after `closed`. */
export class Room extends EventTarget {
  constructor(options: RoomOptions);

  readonly state: RoomState;
  readonly mediaState: RTCPeerConnectionState;
  /** As the token names it; empty before the first `connected`. */
  readonly name: string;
  readonly local: LocalMember;
  /** Calls with one other member, from browser to browser. */
  readonly calls: Calls;
  /** By `pid`, in the order they joined. Without oneself. */
  readonly members: ReadonlyMap<string, Member>;
  /** Oldest first. */
  readonly chat: readonly Chat[];
  /** Loudest first. */
  readonly speakers: readonly Speaker[];
  /** Which server carries this session. */
  readonly edge: Edge | null;
  /** Every server that could, this one first. */
  readonly edges: readonly EdgeAddress[];
  /** Of the WebSocket, in milliseconds. */
  readonly rtt: number | null;
  /** When `reconnecting`, since when (`Date.now()`). */
  readonly lostAt: number | null;

  /** Joins. Resolves when the room is here; media follow by themselves. */
  connect(): Promise<void>;
  /** Leaves, stops what this page captures through the room, frees everything. */
  leave(): void;

  /** Typed `addEventListener`. Returns what ends it. */
  on<K extends keyof RoomEvents>(type: K, listener: (detail: RoomEvents[K]) => void): () => void;

  /**
   * Turns the camera on or off, publishing it the first time. Off stops the device, so that its light goes out. With `media` a
   * track captured elsewhere (a preview) is used; from then on it is the room's to stop. On with other options switches.
   */
  setCamera(on: boolean, options?: CameraOptions & { media?: MediaStreamTrack }): Promise<void>;
  /** As {@link Room.setCamera}, but off keeps the device open and sends silence: on again is at once. */
  setMicrophone(on: boolean, options?: MicrophoneOptions & { media?: MediaStreamTrack }): Promise<void>;
  /** Asks the person what to share, or stops sharing. */
  setScreenShare(on: boolean, options?: ScreenOptions): Promise<void>;

  /** Publishes any track. It stays the caller's to stop. */
  publish(media: MediaStreamTrack, how: { source: Source; name?: string; muted?: boolean }): Promise<LocalTrack>;
  unpublish(track: LocalTrack): Promise<void>;
  /** Tells the others; a muted track sends nothing of what it captures. */
  setMuted(track: LocalTrack, muted: boolean): Promise<void>;
  /** Sends something else in place of it, without the others having to do anything. */
  replace(track: LocalTrack, media: MediaStreamTrack): Promise<void>;

  /**
   * Shows a track in a media element until the returned function is called, and reports the element's size and visibility, so that
   * the server sends the layer that fits. Higher `priority` (0-255) is served first when bandwidth is short.
   */
  attach(element: HTMLMediaElement, track: RemoteTrack, options?: { priority?: number }): () => void;

  /**
   * Receives no more than this, in bits per second, however much the connection carries: for a link that is paid by the byte.
   * Voices come first, then small pictures of everybody. Null: as much as fits.
   */
  limitDownload(bps: number | null): void;

  /** Only needed without `autoSubscribe`, or to leave a track out. */
  subscribe(tracks: readonly RemoteTrack[], on: boolean): Promise<void>;

  /** Plays sound after `audioblocked`; call it from a click. */
  startAudio(): Promise<void>;
  /** Where sound is played, by `deviceId` of an `audiooutput`; where the browser can. */
  setAudioOutput(deviceId: string): Promise<void>;

  /** To everybody, or to one member by `pid`. Resolves when the server has it; kept over a lost connection. */
  sendChat(text: string, to?: string): Promise<void>;
  react(emoji: string): Promise<void>;
  setHand(up: boolean): Promise<void>;
  setName(name: string): Promise<void>;
  /** An attribute set to null is removed. */
  setAttributes(attrs: Record<string, string | null>): Promise<void>;
  /** Needs `local.grants.admin`. */
  admin(op: AdminOp, pid: string): Promise<void>;
  /** On the data channel, reliable and in order. False while it isn't open. */
  sendData(data: string | ArrayBuffer | ArrayBufferView<ArrayBuffer>): boolean;

  stats(): Promise<StatsSnapshot>;

  /**
   * Fakes a fault, for tests and for trying out: `socket` loses the WebSocket, `ice` asks for an ICE restart, `session` loses
   * the session so that it is made anew, `move` goes to the next edge as if this one were about to stop.
   */
  simulate(fault: "socket" | "ice" | "session" | "move"): void;
}

/**
 * `connecting` until the first session is up, `reconnecting` after one was lost or refused for now. `connected` says that media can
 * flow, not that anybody sends some. `closed` by {@link Viewer.close}, or by an `error` that no further attempt mends.
 */
export type ViewerState = "idle" | "connecting" | "connected" | "reconnecting" | "closed";

export interface ViewerOptions {
  room: string;
  /** Whom to watch, by identity; now or as soon as it is there. Default: whoever speaks. */
  member?: string;
  /** For the room, or what gives one: it is asked for each session. */
  token: string | (() => string | Promise<string>);
  /** The server, such as `https://fra.example.org`. Default: the page's own. If it is lost, the others that it named are tried. */
  url?: string;
}

/**
 * Watches a room by WHEP, without being in it: nobody sees a viewer.
 *
 * ```js
 * const viewer = new Viewer({ room: "studio", token });
 * document.querySelector("video").srcObject = viewer.media;
 * viewer.start();
 * ```
 */
export class Viewer extends EventTarget {
  constructor(options: ViewerOptions);
  readonly state: ViewerState;
  readonly error: WeirError | null;
  /** A picture and a sound. The same stream for good; its tracks change when a session follows another. */
  readonly media: MediaStream;
  start(): void;
  /** Ends it. Not reusable. */
  close(): void;
  /** `state`, `error` or the tracks of `media` changed. */
  on(type: "change", listener: (viewer: Viewer) => void): () => void;
  /** What the browser counts, or null while there is no session. */
  stats(): Promise<RTCStatsReport | null>;
}

/**
 * Calls with another member of the room, from browser to browser. The room is where people meet; its own media need not be used: join
 * with `autoSubscribe: false` and publish nothing. One call at a time; further ones hear `busy`. Without a listener for `incoming`
 * every call is answered `unavailable`.
 *
 * ```js
 * room.calls.on("incoming", async ({ call }) => (confirm(`${call.name} calls`) ? call.accept() : call.decline()));
 * const call = room.calls.call(pid);
 * call.on("state", ({ state }) => state === "connected" && call.attach(video, call.pid));
 * ```
 */
export interface Calls extends EventTarget {
  /** Rings, connects or is connected. */
  readonly current: Call | null;
  /** Rings a member, and opens the devices meanwhile. Throws when there is a call already. */
  call(pid: string, options?: CallOptions): Call;
  /** Typed `addEventListener`. Returns what ends it. */
  on<K extends keyof CallsEvents>(type: K, listener: (detail: CallsEvents[K]) => void): () => void;
}

export interface CallsEvents {
  incoming: { call: Call };
  /** A call began, in either direction. */
  call: { call: Call };
  ended: { call: Call };
}

export interface CallOptions {
  /** Send sound (default true), with these options. */
  audio?: boolean | MicrophoneOptions;
  /** Send a picture (default true, or what the caller sends), with these options. */
  video?: boolean | CameraOptions;
  /** Captured elsewhere, such as for a preview; from then on the call's to stop. */
  tracks?: { audio?: MediaStreamTrack | null; video?: MediaStreamTrack | null };
}

/**
 * - `ringing`: waits for an answer.
 * - `connecting`: accepted; looks for a path.
 * - `connected`: the media flow.
 * - `ended`: over, for `reason`.
 */
export type CallState = "ringing" | "connecting" | "connected" | "ended";
/** What an end says, or `left`: the other one is gone. */
export type CallEndReason = CallEnd | "left";
/** `direct`: from browser to browser. `relayed`: through a TURN server. `room`: through the room's server. */
export type CallWay = "direct" | "relayed" | "room";

export interface CallParty {
  readonly pid: string;
  readonly identity: string;
  readonly name: string;
  /** Whether it sends anything of the kind now. */
  readonly microphone: boolean;
  readonly camera: boolean;
}

export interface CallLine {
  readonly own: boolean;
  readonly name: string;
  readonly text: string;
  /** Milliseconds since the Unix epoch. */
  readonly at: number;
}

/** Somebody who was rung by {@link Call.add} and has not come. */
export interface Invitation {
  readonly pid: string;
  readonly identity: string;
  readonly name: string;
  readonly state: "ringing" | CallEndReason;
}

export interface CallEvents {
  /** Something that can be seen changed; at most once per 16 ms: render on it. */
  change: Call;
  state: { state: CallState };
  chat: { line: CallLine };
  /** Somebody offers a file: call {@link FileTransfer.accept} or {@link FileTransfer.stop}. */
  file: { transfer: FileTransfer };
  invitation: { invitation: Invitation };
  /** The browser wants a click before it plays sound: call {@link Call.startAudio} from one. */
  audioblocked: Record<string, never>;
  /** A fault that does not end the call, such as a camera that can't be opened. */
  fault: { error: WeirError };
}

/** A call. Not reusable after `ended`. */
export interface Call extends EventTarget {
  /** The same at both ends. */
  readonly id: string;
  /** The other one, or the one who rang; may change when they join at another edge. */
  readonly pid: string;
  readonly identity: string;
  readonly name: string;
  readonly outgoing: boolean;
  /** What the caller means to send. */
  readonly media: { readonly audio: boolean; readonly video: boolean };
  readonly state: CallState;
  readonly reason: CallEndReason | null;
  readonly via: CallWay | null;
  /** From browser to browser and back, in milliseconds; null through the room. */
  readonly rtt: number | null;
  /** `Date.now()`. */
  readonly connectedAt: number | null;
  /** Everybody else who is in it. */
  readonly parties: readonly CallParty[];
  readonly invited: ReadonlyMap<string, Invitation>;
  readonly microphone: boolean;
  readonly camera: boolean;
  /** What the own camera shows. */
  readonly preview: MediaStreamTrack | null;
  /** Oldest first. */
  readonly chat: readonly CallLine[];
  readonly files: readonly FileTransfer[];
  /** Only from browser to browser. */
  readonly canSendFiles: boolean;

  accept(options?: CallOptions): Promise<void>;
  decline(): void;
  /** Ends it, or gives up ringing. */
  hangUp(): void;
  /** Off sends silence and keeps the device. */
  setMicrophone(on: boolean, options?: MicrophoneOptions): Promise<void>;
  /** Off lets go of the device. */
  setCamera(on: boolean, options?: CameraOptions): Promise<void>;
  /** Shows somebody's picture until the returned function is called, whichever way it comes. Voices are played by the library. */
  attach(element: HTMLVideoElement, pid: string): () => void;
  sendChat(text: string): Promise<void>;
  sendFile(file: File): FileTransfer;
  /** Rings one more member of the room; once they accept, everybody goes on through the room's server. */
  add(pid: string): Promise<void>;
  /** Moves the media into the room's server; resolves once they come from there. Who is in the room can then subscribe to them. */
  toRoom(): Promise<void>;
  /** Looks for a path anew. */
  restartIce(): void;
  /** Plays sound after `audioblocked`; call it from a click. */
  startAudio(): Promise<void>;
  /** The way, and what the browser counts while it is from browser to browser. */
  stats(): Promise<{ via: CallWay | null; rtt: number | null; reports: RTCStatsReport | null }>;
  /** Typed `addEventListener`. Returns what ends it. */
  on<K extends keyof CallEvents>(type: K, listener: (detail: CallEvents[K]) => void): () => void;
}

export type FileState = "offered" | "moving" | "done" | "stopped";

/** A file on its way. Dispatches `change`. */
export interface FileTransfer extends EventTarget {
  readonly id: number;
  readonly name: string;
  readonly size: number;
  readonly outgoing: boolean;
  readonly state: FileState;
  /** That are across, or handed to the browser to send. */
  readonly bytes: number;
  /** What was received, once it is `done`. */
  readonly blob: Blob | null;
  /** Resolves with `done` or `stopped`. */
  readonly finished: Promise<FileState>;
  /** Of an offered one: take it. */
  accept(): void;
  /** At either end, at any time. */
  stop(): void;
}

/** Opens a camera with constraints that suit a call, before or without a room. */
export function captureCamera(options?: CameraOptions): Promise<MediaStreamTrack>;
/** Opens a microphone with constraints that suit a call, before or without a room. */
export function captureMicrophone(options?: MicrophoneOptions): Promise<MediaStreamTrack>;
/** Asks the person what to share. */
export function captureScreen(options?: ScreenOptions): Promise<{ video: MediaStreamTrack; audio: MediaStreamTrack | null }>;
