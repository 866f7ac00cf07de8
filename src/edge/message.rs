//! The room protocol `weir.v1` as types: what a client may say and what it hears, JSON with `t` as the tag. Owns the shapes
//! only; what they mean is `edge::session`'s and `edge::hub`'s. `web/weir-protocol.d.ts` is generated from here, and a
//! test fails when it is stale.
//!
//! A client request carries an `id`, which `ack` or `err` names; a server event carries `seq`, which `resume` names.

mod call;
mod quality;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use call::{
    CallEnd, CallEndFrom, CallEndTo, CallFrom, CallMedia, CallReplyFrom, CallReplyTo, CallTo, Candidate, Description,
    DescriptionKind, PeerSignalFrom, PeerSignalTo,
};
pub use quality::{PeerQuality, QualityKind};
pub use stream::{StreamReason, StreamStateKind, ViewItem};

use crate::edge::stats::MemberStats;
use crate::id::{Identity, MemberId, NodeId, RegionId, RoomId, TrackId};
use crate::rtp::{Kind, Source};

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "weir.v1";

/// One client frame: `{"id": 7, "t": "chat", …}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS, Serialize))]
pub struct ClientFrame {
    /// Chosen by the client; `ack` and `err` repeat it. Absent where no answer is wanted.
    #[serde(default)]
    #[cfg_attr(test, ts(optional))]
    pub id: Option<u32>,
    #[serde(flatten)]
    pub body: ClientMessage,
}

/// What a client may say.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS, Serialize), ts(optional_fields))]
pub enum ClientMessage {
    /// First, within five seconds.
    Hello {
        token: String,
        #[serde(default)]
        resume: Option<Resume>,
        /// Name and version of the client, for the log: `weir-web/0.1.0`.
        #[serde(default)]
        client: Option<String>,
        #[serde(default)]
        #[cfg_attr(test, ts(optional, as = "Option<_>"))]
        opts: Options,
    },
    /// A description of the whole session. `neg` grows with each offer; the answer repeats it.
    Offer {
        neg: u32,
        sdp: String,
        /// The tracks that the offer's sending m-lines carry.
        #[serde(default)]
        #[cfg_attr(test, ts(optional, as = "Option<_>"))]
        tracks: Vec<PublishedTrack>,
        #[serde(default)]
        #[cfg_attr(test, ts(optional, as = "Option<_>"))]
        ice_restart: bool,
    },
    /// Accepted, counted and ignored: the server is ICE-lite and learns addresses from checks.
    Candidate {
        #[serde(default)]
        mid: Option<String>,
        cand: String,
    },
    Mute {
        track: TrackId,
        muted: bool,
    },
    Unpublish {
        track: TrackId,
    },
    /// Which tracks to receive; only needed without `auto_subscribe`, or to leave one out.
    Subscribe {
        tracks: Vec<TrackId>,
        on: bool,
    },
    /// What is on screen, and how many bits per second the client wants to receive at most, if it cares. Replaces the view
    /// before; a track not named is not on screen.
    View {
        items: Vec<ViewItem>,
        #[serde(default)]
        limit_bps: Option<u32>,
    },
    /// To everybody, or to one member. `cid` is the client's own name for it and comes back in the event.
    Chat {
        cid: String,
        #[serde(default)]
        to: Option<MemberId>,
        text: String,
    },
    React {
        emoji: String,
    },
    Hand {
        up: bool,
    },
    /// Changes one's name or attributes. An attribute set to null is removed.
    Meta {
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        attrs: Option<BTreeMap<String, Option<String>>>,
    },
    /// Of calls from browser to browser, as the three below. Needs `canPublish` and `canPublishData`.
    Call(CallTo),
    CallReply(CallReplyTo),
    CallEnd(CallEndTo),
    P2p(PeerSignalTo),
    /// Needs `roomAdmin`.
    Admin {
        op: AdminOp,
        target: MemberId,
    },
    /// `ts` is the client's clock in milliseconds, `rtt` what it measured last.
    Ping {
        ts: f64,
        #[serde(default)]
        rtt: Option<f64>,
        /// For how long any picture on screen stood since the ping before, in milliseconds.
        #[serde(default)]
        frozen_ms: Option<f64>,
    },
    /// Asks what becomes of one's subscriptions; once every two seconds is enough.
    Stats {},
    Bye {},
}

/// The session a client wants back.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS, Serialize))]
pub struct Resume {
    pub sid: String,
    pub secret: String,
    /// The `seq` of the last event that arrived.
    pub last_seq: u32,
}

/// What a client wants the server to do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(ts_rs::TS, Serialize), ts(rename = "HelloOptions"))]
pub struct Options {
    /// Receive every track of the room (default true).
    #[cfg_attr(test, ts(optional, as = "Option<_>"))]
    pub auto_subscribe: bool,
    /// Choose layers by `view` (default true); false sends the largest.
    #[cfg_attr(test, ts(optional, as = "Option<_>"))]
    pub adaptive: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { auto_subscribe: true, adaptive: true }
    }
}

/// A track a client sends in an m-line of its offer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS, Serialize), ts(optional_fields))]
pub struct PublishedTrack {
    /// The m-line's identification tag.
    pub mid: String,
    /// The client's own name for the track: the answer says which `TrackId` it got. The same `cid` keeps its id.
    pub cid: String,
    pub kind: Kind,
    pub source: Source,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    #[cfg_attr(test, ts(optional, as = "Option<_>"))]
    pub muted: bool,
    /// The simulcast layers, in any order; empty for one encoding.
    #[serde(default)]
    #[cfg_attr(test, ts(optional, as = "Option<_>"))]
    pub layers: Vec<PublishedLayer>,
}

/// One simulcast layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PublishedLayer {
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub rid: Option<String>,
    #[serde(default)]
    pub w: u32,
    #[serde(default)]
    pub h: u32,
    #[serde(default)]
    pub fps: u32,
    #[serde(default)]
    #[cfg_attr(test, ts(type = "number"))]
    pub max_bps: u64,
}

/// What a room's admin may do to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum AdminOp {
    /// Mutes every audio track of the member; it may unmute itself.
    Mute,
    /// Ends the member's session.
    Remove,
    LowerHand,
}

/// One server frame: `{"seq": 12, "t": "chat", …}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ServerFrame {
    /// Grows by one per event of a session, `welcome` included; 0 on frames that are no events and are not replayed
    /// (`resumed`, `ack`, `err`, `pong`, and `leave`, `token` and `migrate`).
    pub seq: u32,
    /// Shared: an event for a room is one value for all of its members.
    #[serde(flatten)]
    pub body: Arc<ServerMessage>,
}

impl ServerFrame {
    /// A frame that is no event.
    pub fn unnumbered(body: ServerMessage) -> Self {
        Self { seq: 0, body: Arc::new(body) }
    }
}

/// What the server may say.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum ServerMessage {
    /// The room as it is, and how to reach its media. `bind`, `need_slots` and `speakers` follow where there is something to
    /// say. Also sent when a resume asked for more than is still held: then `you.pid` is the same as before, the media goes
    /// on, and what is not in it is gone.
    Welcome {
        sid: String,
        secret: String,
        room: RoomId,
        you: You,
        peers: Vec<Peer>,
        /// The newest chat messages, oldest first.
        chat: Vec<Chat>,
        ice_servers: Vec<IceServer>,
        edge: Edge,
        /// Every edge that can be joined at, this one first; where to go when this one is lost. Empty for a server on its own.
        edges: Vec<EdgeAddress>,
        /// How often to `ping`.
        ping_ms: u32,
        /// How long the session is held after the socket is lost.
        resume_ms: u32,
        limits: Limits,
    },
    /// The session goes on; the missed events follow. `secret` replaces the one before.
    Resumed {
        secret: String,
        ice_servers: Vec<IceServer>,
    },
    Answer {
        neg: u32,
        sdp: String,
        /// What each m-line carries.
        mids: Vec<MidBinding>,
    },
    /// How many receiving m-lines of each kind the client should have, in all. Add what is missing and offer. Never fewer
    /// than asked for before.
    NeedSlots {
        audio: u32,
        video: u32,
    },
    /// A receiving m-line carries another track now, or none.
    Bind {
        mid: String,
        track: Option<TrackId>,
    },
    PeerJoined {
        peer: Peer,
    },
    PeerLeft {
        pid: MemberId,
        reason: LeaveReason,
    },
    /// The whole peer again, without its tracks. Oneself too, after `hand` and `meta`.
    PeerUpdated {
        pid: MemberId,
        name: String,
        attrs: BTreeMap<String, String>,
        hand: bool,
        away: bool,
    },
    /// Of another member, as the two below; one's own tracks are named by `answer`.
    TrackAdded {
        pid: MemberId,
        track: Track,
    },
    TrackRemoved {
        pid: MemberId,
        track: TrackId,
    },
    TrackMuted {
        pid: MemberId,
        track: TrackId,
        muted: bool,
    },
    /// To the publisher: encode only these rids. Empty: nobody watches. A track without simulcast has one layer, whose
    /// rid is the empty text.
    Layers {
        track: TrackId,
        active: Vec<String>,
    },
    /// What the client receives of a track now. `rid` is null without simulcast. `reason` says why it is nothing, or, of one that
    /// is active, less than the view called for; else it is null.
    StreamState {
        track: TrackId,
        state: StreamStateKind,
        rid: Option<String>,
        reason: Option<StreamReason>,
    },
    /// How a track published elsewhere comes to the client: this edge first, the publisher's last; empty while it does not.
    Path {
        track: TrackId,
        nodes: Vec<Edge>,
    },
    /// The edges that can be joined at, this one first. Replaces the list of `welcome`.
    Edges {
        edges: Vec<EdgeAddress>,
    },
    /// This edge is about to stop: join at `url` with the `token` that came just before. At the deadline comes `leave`.
    Migrate {
        url: String,
        deadline_ms: u32,
    },
    /// Who speaks, loudest first; 0-127. Replaces the list before.
    Speakers {
        speakers: Vec<Speaker>,
    },
    Quality {
        peers: Vec<PeerQuality>,
    },
    /// What becomes of one's subscriptions, and why. Only the one who asked is told, after the `ack`.
    Stats {
        stats: MemberStats,
    },
    /// Also to its sender, whose `cid` it carries.
    Chat(Chat),
    /// From another member; one's own is not repeated.
    React {
        from: MemberId,
        emoji: String,
    },
    /// Another member rings, or says to go on through the room's server.
    Call(CallFrom),
    CallReply(CallReplyFrom),
    CallEnd(CallEndFrom),
    P2p(PeerSignalFrom),
    /// An admin muted this track: nobody hears it until the client unmutes it.
    MuteRequest {
        track: TrackId,
        by: MemberId,
    },
    /// A fresh token, before the old one ends.
    Token {
        jwt: String,
    },
    /// The session is over, or (`resume`) its socket is. The socket closes after it.
    Leave {
        reason: LeaveReason,
        action: LeaveAction,
        message: String,
    },
    Ack {
        id: u32,
    },
    Err {
        id: Option<u32>,
        code: ErrorCode,
        msg: String,
    },
    Pong {
        ts: f64,
    },
}

/// Oneself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct You {
    pub pid: MemberId,
    pub identity: Identity,
    pub name: String,
    pub grants: Grants,
}

/// What a member may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Grants {
    pub publish: bool,
    pub subscribe: bool,
    /// Chat, reactions and data channels.
    pub data: bool,
    pub admin: bool,
    pub hidden: bool,
    /// What may be published; null is everything.
    pub sources: Option<Vec<Source>>,
}

/// Another member.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Peer {
    pub pid: MemberId,
    pub identity: Identity,
    pub name: String,
    pub attrs: BTreeMap<String, String>,
    /// The edge that carries it.
    pub node: NodeId,
    pub region: RegionId,
    pub hand: bool,
    /// Its socket is lost and may come back.
    pub away: bool,
    pub tracks: Vec<Track>,
}

/// A published track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Track {
    pub id: TrackId,
    pub kind: Kind,
    pub source: Source,
    pub name: Option<String>,
    pub muted: bool,
    /// Smallest first.
    pub layers: Vec<PublishedLayer>,
}

/// A chat message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Chat {
    /// Unique in the room.
    pub id: String,
    pub cid: String,
    pub from: MemberId,
    /// The sender's name at the time, for messages that outlive their sender.
    pub name: String,
    /// Set for a message to one member.
    pub to: Option<MemberId>,
    pub text: String,
    /// Milliseconds since the Unix epoch.
    #[cfg_attr(test, ts(type = "number"))]
    pub at: u64,
}

/// A server: the one that carries the session, or one that media comes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Edge {
    pub id: NodeId,
    pub region: RegionId,
}

/// A server that can be joined at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct EdgeAddress {
    pub id: NodeId,
    pub region: RegionId,
    /// Such as `https://fra.example.org`; the room protocol is at `/v1/ws` below it.
    pub url: String,
}

/// As `RTCIceServer`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct IceServer {
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub credential: Option<String>,
}

/// What the server accepts; beyond it, it answers `err` with `too_large` or `too_many`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "ServerLimits"))]
pub struct Limits {
    pub frame_bytes: u32,
    pub chat_bytes: u32,
    pub m_lines: u32,
    pub tracks: u32,
}

/// What an m-line of an answer carries.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MidBinding {
    pub mid: String,
    /// For a sending m-line the published track, else the received one, or null for a slot that is free.
    pub track: Option<TrackId>,
    /// The client's name of a published track.
    pub cid: Option<String>,
}

/// A member that speaks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Speaker {
    pub pid: MemberId,
    pub level: u8,
}

/// Why a session or a member's presence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum LeaveReason {
    /// It said `bye`.
    Left,
    /// The same identity joined again.
    Replaced,
    /// An admin removed it.
    Removed,
    /// Socket and media were silent for too long.
    TimedOut,
    /// The token ended.
    Expired,
    /// The server stops.
    Shutdown,
    /// The client broke the protocol.
    Protocol,
    /// It did not read what was sent.
    TooSlow,
}

/// What a client should do after `leave`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum LeaveAction {
    /// Nothing: the session is over.
    Stop,
    /// Open a new socket and `resume`.
    Resume,
    /// Join anew, here or at another edge.
    Reconnect,
}

/// What was wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum ErrorCode {
    /// Not JSON, or not a message of the protocol.
    BadMessage,
    /// The token is wrong, or for another room.
    Unauthorized,
    /// The token does not grant it.
    Forbidden,
    /// The member, track or session named does not exist.
    NotFound,
    /// The SDP can't be used.
    BadSdp,
    /// The offer is older than one already answered.
    Stale,
    TooLarge,
    TooMany,
    /// Sent too often; wait.
    RateLimited,
    /// Not possible in this state (`hello` twice, `chat` before `hello`).
    BadState,
    /// The room or the node is full.
    Full,
    /// Our fault.
    Internal,
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;
    use std::collections::BTreeMap;
    use std::path::Path;

    use ts_rs::{Config, TS, TypeVisitor};

    use super::*;

    /// Every type that a frame can carry, by name, as TypeScript.
    #[derive(Default)]
    struct Declarations {
        seen: Vec<TypeId>,
        by_name: BTreeMap<String, String>,
        config: Config,
    }

    impl TypeVisitor for Declarations {
        fn visit<T: TS + 'static + ?Sized>(&mut self) {
            if T::output_path().is_none() || self.seen.contains(&TypeId::of::<T>()) {
                return;
            }
            self.seen.push(TypeId::of::<T>());
            let messages = [
                (ClientMessage::inline_flattened(&self.config), "ClientMessage"),
                (ServerMessage::inline_flattened(&self.config), "ServerMessage"),
            ];
            let mut text = T::decl(&self.config);
            for (inline, name) in messages {
                text = text.replace(&inline, name);
            }
            let text = text.replace(" | { \"t\"", "\n  | { \"t\"");
            let text = format!("{}export {text}\n", T::docs().unwrap_or_default());
            let clash = self.by_name.insert(T::ident(&self.config), text);
            assert!(clash.is_none(), "two types are called {}", T::ident(&self.config));
            T::visit_dependencies(self);
        }
    }

    #[test]
    fn the_typescript_declarations_are_fresh() {
        let mut all = Declarations { config: Config::default(), ..Declarations::default() };
        all.visit::<ClientFrame>();
        all.visit::<ClientMessage>();
        all.visit::<ServerFrame>();
        all.visit::<ServerMessage>();
        let declarations: Vec<String> = all.by_name.into_values().collect();
        let wanted = format!(
            "// The room protocol {SUBPROTOCOL}: what a client sends (ClientFrame) and what it hears (ServerFrame).\n\
             // Generated from src/edge/message.rs; do not edit. A test compares them.\n\
             // To write it anew: WEIR_REGENERATE=1 cargo test --lib typescript_declarations\n\n{}",
            declarations.join("\n")
        );
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/weir-protocol.d.ts");
        if std::env::var_os("WEIR_REGENERATE").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("web/ can be made");
            std::fs::write(&path, &wanted).expect("web/weir-protocol.d.ts can be written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "web/weir-protocol.d.ts is stale; run: WEIR_REGENERATE=1 cargo test --lib typescript_declarations"
        );
    }

    #[test]
    fn a_client_frame_is_read_with_and_without_its_optional_parts() {
        let frame: ClientFrame = serde_json::from_str(r#"{"t":"hello","token":"x"}"#).expect("the shortest hello");
        assert_eq!(
            frame,
            ClientFrame {
                id: None,
                body: ClientMessage::Hello { token: "x".into(), resume: None, client: None, opts: Options::default() }
            }
        );
        let frame: ClientFrame =
            serde_json::from_str(r#"{"id":7,"t":"mute","track":"t00000000000001","muted":true,"more":[1]}"#)
                .expect("unknown fields are left out");
        assert_eq!(frame.id, Some(7));
        assert_eq!(frame.body, ClientMessage::Mute { track: TrackId(1), muted: true });
        for bad in [r#"{"t":"nonsense"}"#, r#"{"t":"mute","track":"x","muted":true}"#, "[]", "{}", r#"{"t":"hello"}"#] {
            assert!(serde_json::from_str::<ClientFrame>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_frame_is_one_flat_object() {
        let frame = ServerFrame { seq: 3, body: Arc::new(ServerMessage::Bind { mid: "4".into(), track: None }) };
        assert_eq!(serde_json::to_string(&frame).expect("frames serialize"), r#"{"seq":3,"t":"bind","mid":"4","track":null}"#);
    }
}
