// The room protocol weir.v1: what a client sends (ClientFrame) and what it hears (ServerFrame).
// Generated from src/edge/message.rs; do not edit. A test compares them.
// To write it anew: WEIR_REGENERATE=1 cargo test --lib typescript_declarations

/**
 * What a room's admin may do to a member.
 */
export type AdminOp = "mute" | "remove" | "lower_hand";

/**
 * Why a call is over, or did not begin.
 */
export type CallEnd = "hung_up" | "declined" | "busy" | "cancelled" | "timeout" | "failed" | "unavailable";

/**
 * As its addressee hears [`CallEndTo`].
 */
export type CallEndFrom = { from: MemberId, call: string, why: CallEnd, };

/**
 * Ends a call, or gives up ringing.
 */
export type CallEndTo = { to: MemberId, call: string, why: CallEnd, };

/**
 * As its addressee hears [`CallTo`].
 */
export type CallFrom = { from: MemberId, call: string, media: CallMedia, room: boolean, };

/**
 * What a caller means to send.
 */
export type CallMedia = { audio: boolean, video: boolean, };

/**
 * As its addressee hears [`CallReplyTo`].
 */
export type CallReplyFrom = { from: MemberId, call: string, ok: boolean, why: CallEnd | null, };

/**
 * Accepts a call, or says why not.
 */
export type CallReplyTo = { to: MemberId, call: string, ok: boolean, why?: CallEnd, };

/**
 * Rings a member. To one that is in the call already, with `room`: the call goes on through the room's server.
 */
export type CallTo = { to: MemberId, 
/**
 * The caller's own name for the call, hard to guess; all messages about it repeat it.
 */
call: string, media: CallMedia, 
/**
 * The media go through the room's server, not from browser to browser.
 */
room?: boolean, };

/**
 * As `RTCIceCandidateInit`.
 */
export type Candidate = { candidate: string, sdpMid?: string | null, sdpMLineIndex?: number | null, usernameFragment?: string | null, };

/**
 * A chat message.
 */
export type Chat = { 
/**
 * Unique in the room.
 */
id: string, cid: string, from: MemberId, 
/**
 * The sender's name at the time, for messages that outlive their sender.
 */
name: string, 
/**
 * Set for a message to one member.
 */
to: MemberId | null, text: string, 
/**
 * Milliseconds since the Unix epoch.
 */
at: number, };

/**
 * One client frame: `{"id": 7, "t": "chat", …}`.
 */
export type ClientFrame = { 
/**
 * Chosen by the client; `ack` and `err` repeat it. Absent where no answer is wanted.
 */
id?: number, } & ClientMessage;

/**
 * What a client may say.
 */
export type ClientMessage = { "t": "hello", token: string, resume?: Resume, 
/**
 * Name and version of the client, for the log: `weir-web/0.1.0`.
 */
client?: string, opts?: HelloOptions, }
  | { "t": "offer", neg: number, sdp: string, 
/**
 * The tracks that the offer's sending m-lines carry.
 */
tracks?: Array<PublishedTrack>, ice_restart?: boolean, }
  | { "t": "candidate", mid?: string, cand: string, }
  | { "t": "mute", track: TrackId, muted: boolean, }
  | { "t": "unpublish", track: TrackId, }
  | { "t": "subscribe", tracks: Array<TrackId>, on: boolean, }
  | { "t": "view", items: Array<ViewItem>, limit_bps?: number, }
  | { "t": "chat", cid: string, to?: MemberId, text: string, }
  | { "t": "react", emoji: string, }
  | { "t": "hand", up: boolean, }
  | { "t": "meta", name?: string, attrs?: { [key in string]: string | null }, }
  | { "t": "call" } & CallTo
  | { "t": "call_reply" } & CallReplyTo
  | { "t": "call_end" } & CallEndTo
  | { "t": "p2p" } & PeerSignalTo
  | { "t": "admin", op: AdminOp, target: MemberId, }
  | { "t": "ping", ts: number, rtt?: number, 
/**
 * For how long any picture on screen stood since the ping before, in milliseconds.
 */
frozen_ms?: number, }
  | { "t": "stats", }
  | { "t": "bye", };

/**
 * As `RTCSessionDescriptionInit`.
 */
export type Description = { type: DescriptionKind, sdp: string, };

export type DescriptionKind = "offer" | "answer";

/**
 * A server: the one that carries the session, or one that media comes through.
 */
export type Edge = { id: NodeId, region: RegionId, };

/**
 * A server that can be joined at.
 */
export type EdgeAddress = { id: NodeId, region: RegionId, 
/**
 * Such as `https://fra.example.org`; the room protocol is at `/v1/ws` below it.
 */
url: string, };

/**
 * What was wrong with a request.
 */
export type ErrorCode = "bad_message" | "unauthorized" | "forbidden" | "not_found" | "bad_sdp" | "stale" | "too_large" | "too_many" | "rate_limited" | "bad_state" | "full" | "internal";

/**
 * What a member may do.
 */
export type Grants = { publish: boolean, subscribe: boolean, 
/**
 * Chat, reactions and data channels.
 */
data: boolean, admin: boolean, hidden: boolean, 
/**
 * What may be published; null is everything.
 */
sources: Array<Source> | null, };

/**
 * What a client wants the server to do by itself.
 */
export type HelloOptions = { 
/**
 * Receive every track of the room (default true).
 */
auto_subscribe?: boolean, 
/**
 * Choose layers by `view` (default true); false sends the largest.
 */
adaptive?: boolean, };

/**
 * As `RTCIceServer`.
 */
export type IceServer = { urls: Array<string>, username: string | null, credential: string | null, };

/**
 * Who a member is to its application: the token's `sub`. Unique in a room; the newest session wins.
 */
export type Identity = string;

/**
 * Audio or video.
 */
export type Kind = "audio" | "video";

/**
 * What a client should do after `leave`.
 */
export type LeaveAction = "stop" | "resume" | "reconnect";

/**
 * Why a session or a member's presence ended.
 */
export type LeaveReason = "left" | "replaced" | "removed" | "timed_out" | "expired" | "shutdown" | "protocol" | "too_slow";

/**
 * One member's presence in one room: a new one for each join, kept through a resume.
 */
export type MemberId = string;

/**
 * What a member receives, at one moment.
 */
export type MemberStats = { 
/**
 * What the path to the member is estimated to carry, in bits per second; null before there is an estimate.
 */
estimate_bps: number | null, 
/**
 * What its subscriptions are given.
 */
budget_bps: number, 
/**
 * What all that it has on screen would take.
 */
demand_bps: number, rtt_ms: number, subscriptions: Array<SubscriptionStats>, };

/**
 * What an m-line of an answer carries.
 */
export type MidBinding = { mid: string, 
/**
 * For a sending m-line the published track, else the received one, or null for a slot that is free.
 */
track: TrackId | null, 
/**
 * The client's name of a published track.
 */
cid: string | null, };

/**
 * One running process.
 */
export type NodeId = string;

/**
 * Another member.
 */
export type Peer = { pid: MemberId, identity: Identity, name: string, attrs: { [key in string]: string }, 
/**
 * The edge that carries it.
 */
node: NodeId, region: RegionId, hand: boolean, 
/**
 * Its socket is lost and may come back.
 */
away: boolean, tracks: Array<Track>, };

/**
 * How good the call is for a member.
 */
export type PeerQuality = { pid: MemberId, q: QualityKind, 
/**
 * 1 (worst) to 5: the worse of both directions.
 */
score: number, 
/**
 * Of what it sends.
 */
up: number, 
/**
 * Of what it receives.
 */
down: number, rtt_ms: number, 
/**
 * The worse of both directions, as a share of 1.
 */
loss: number, };

/**
 * As its addressee hears [`PeerSignalTo`].
 */
export type PeerSignalFrom = { from: MemberId, call: string, desc: Description | null, cand: Candidate | null, };

/**
 * Negotiates the connection between two browsers: one of `desc` and `cand`.
 */
export type PeerSignalTo = { to: MemberId, call: string, desc?: Description, cand?: Candidate, };

/**
 * What can be sent of a picture: one of its layers, in so many frames per second.
 */
export type Picture = { 
/**
 * Lines.
 */
h: number, 
/**
 * As measured lately; null while that layer has not been.
 */
fps: number | null, };

/**
 * One simulcast layer.
 */
export type PublishedLayer = { rid?: string | null, w: number, h: number, fps: number, max_bps: number, };

/**
 * A track a client sends in an m-line of its offer.
 */
export type PublishedTrack = { 
/**
 * The m-line's identification tag.
 */
mid: string, 
/**
 * The client's own name for the track: the answer says which `TrackId` it got. The same `cid` keeps its id.
 */
cid: string, kind: Kind, source: Source, name?: string, muted?: boolean, 
/**
 * The simulcast layers, in any order; empty for one encoding.
 */
layers?: Array<PublishedLayer>, };

export type QualityKind = "lost" | "poor" | "good" | "excellent";

/**
 * A named place; nodes in one region are cheap and near to each other.
 */
export type RegionId = string;

/**
 * The session a client wants back.
 */
export type Resume = { sid: string, secret: string, 
/**
 * The `seq` of the last event that arrived.
 */
last_seq: number, };

/**
 * A call, as its members name it.
 */
export type RoomId = string;

/**
 * One server frame: `{"seq": 12, "t": "chat", …}`.
 */
export type ServerFrame = { 
/**
 * Grows by one per event of a session, `welcome` included; 0 on frames that are no events and are not replayed
 * (`resumed`, `ack`, `err`, `pong`, and `leave`, `token` and `migrate`).
 */
seq: number, } & ServerMessage;

/**
 * What the server accepts; beyond it, it answers `err` with `too_large` or `too_many`.
 */
export type ServerLimits = { frame_bytes: number, chat_bytes: number, m_lines: number, tracks: number, };

/**
 * What the server may say.
 */
export type ServerMessage = { "t": "welcome", sid: string, secret: string, room: RoomId, you: You, peers: Array<Peer>, 
/**
 * The newest chat messages, oldest first.
 */
chat: Array<Chat>, ice_servers: Array<IceServer>, edge: Edge, 
/**
 * Every edge that can be joined at, this one first; where to go when this one is lost. Empty for a server on its own.
 */
edges: Array<EdgeAddress>, 
/**
 * How often to `ping`.
 */
ping_ms: number, 
/**
 * How long the session is held after the socket is lost.
 */
resume_ms: number, limits: ServerLimits, }
  | { "t": "resumed", secret: string, ice_servers: Array<IceServer>, }
  | { "t": "answer", neg: number, sdp: string, 
/**
 * What each m-line carries.
 */
mids: Array<MidBinding>, }
  | { "t": "need_slots", audio: number, video: number, }
  | { "t": "bind", mid: string, track: TrackId | null, }
  | { "t": "peer_joined", peer: Peer, }
  | { "t": "peer_left", pid: MemberId, reason: LeaveReason, }
  | { "t": "peer_updated", pid: MemberId, name: string, attrs: { [key in string]: string }, hand: boolean, away: boolean, }
  | { "t": "track_added", pid: MemberId, track: Track, }
  | { "t": "track_removed", pid: MemberId, track: TrackId, }
  | { "t": "track_muted", pid: MemberId, track: TrackId, muted: boolean, }
  | { "t": "layers", track: TrackId, active: Array<string>, }
  | { "t": "stream_state", track: TrackId, state: StreamStateKind, rid: string | null, reason: StreamReason | null, }
  | { "t": "path", track: TrackId, nodes: Array<Edge>, }
  | { "t": "edges", edges: Array<EdgeAddress>, }
  | { "t": "migrate", url: string, deadline_ms: number, }
  | { "t": "speakers", speakers: Array<Speaker>, }
  | { "t": "quality", peers: Array<PeerQuality>, }
  | { "t": "stats", stats: MemberStats, }
  | { "t": "chat" } & Chat
  | { "t": "react", from: MemberId, emoji: string, }
  | { "t": "call" } & CallFrom
  | { "t": "call_reply" } & CallReplyFrom
  | { "t": "call_end" } & CallEndFrom
  | { "t": "p2p" } & PeerSignalFrom
  | { "t": "mute_request", track: TrackId, by: MemberId, }
  | { "t": "token", jwt: string, }
  | { "t": "leave", reason: LeaveReason, action: LeaveAction, message: string, }
  | { "t": "ack", id: number, }
  | { "t": "err", id: number | null, code: ErrorCode, msg: string, }
  | { "t": "pong", ts: number, };

/**
 * Where a track's media comes from; the names are those of LiveKit's `canPublishSources`.
 */
export type Source = "camera" | "microphone" | "screen_share" | "screen_share_audio";

/**
 * A member that speaks.
 */
export type Speaker = { pid: MemberId, level: number, };

/**
 * Why a client gets nothing of a track, or less than its view called for. Names may be added.
 */
export type StreamReason = "off_screen" | "bandwidth" | "link" | "busy" | "muted" | "no_media" | "keyframe" | "quiet";

export type StreamStateKind = "active" | "paused";

/**
 * One track that a slot of the member carries. Pictures are null for voices, and for nothing at all.
 */
export type SubscriptionStats = { track: TrackId, kind: Kind, 
/**
 * Lines of the picture on screen, in device pixels; 0 off screen.
 */
screen_h: number, 
/**
 * What the screen calls for.
 */
wanted: Picture | null, 
/**
 * What was granted; it may not flow yet.
 */
target: Picture | null, 
/**
 * What is sent.
 */
current: Picture | null, 
/**
 * Why what is sent is not what the screen calls for; null when it is.
 */
reason: StreamReason | null, 
/**
 * Sent over the last seconds, without headers.
 */
bps: number, 
/**
 * As the member reports it, as a share of 1.
 */
loss: number, jitter_ms: number, 
/**
 * Keyframes that the member asked for so far.
 */
keyframes_asked: number, };

/**
 * A published track.
 */
export type Track = { id: TrackId, kind: Kind, source: Source, name: string | null, muted: boolean, 
/**
 * Smallest first.
 */
layers: Array<PublishedLayer>, };

/**
 * One audio or video source of a member.
 */
export type TrackId = string;

/**
 * How one track is shown. Sizes in device pixels.
 */
export type ViewItem = { track: TrackId, w?: number, h?: number, visible: boolean, 
/**
 * Higher is served first when the budget is short; a pinned tile has more than the others.
 */
prio?: number, };

/**
 * Oneself.
 */
export type You = { pid: MemberId, identity: Identity, name: string, grants: Grants, };
