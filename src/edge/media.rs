//! What signaling asks of the media plane and what it hears from it. Plain data over bounded queues; nothing in it waits for
//! an answer. `edge::hub` speaks it, `shard` obeys it.

use bytes::Bytes;

use super::plan::{MediaPlan, Slot};
use super::stats::MemberStats;
use crate::cluster::View;
use crate::id::{MemberId, NodeId, RoomId, ShardId, TrackId};
use crate::policy::quality::{Path, Pictures};
use crate::policy::speaker::Reading;
pub use crate::router::{Reason, StreamState, ViewItem};
use crate::rtp::{Kind, LayerInfo, LayerSet, Source};
use crate::units::Bitrate;

/// From signaling to a shard.
#[derive(Debug)]
pub enum Command {
    /// A member was placed here. Its transport comes up when the plan arrives.
    AddPeer {
        member: MemberId,
        room: RoomId,
    },
    /// What the latest offer and answer settled; replaces the plan before.
    Configure {
        member: MemberId,
        plan: Box<MediaPlan>,
    },
    RemovePeer {
        member: MemberId,
    },
    /// A track is published in a room that has members here.
    AddTrack {
        track: TrackSpec,
    },
    RemoveTrack {
        track: TrackId,
    },
    /// Whether a member here is shown whoever speaks in a room, and all its microphones must be listened to for that.
    Follow {
        room: RoomId,
        on: bool,
    },
    Mute {
        track: TrackId,
        muted: bool,
    },
    /// Which track a member's slot carries.
    Bind {
        member: MemberId,
        slot: Slot,
        track: Option<TrackId>,
    },
    /// What of a member's subscriptions is on its screen; replaces the view before.
    View {
        member: MemberId,
        items: Vec<ViewItem>,
    },
    /// What becomes of a member's subscriptions is to be told.
    Stats {
        member: MemberId,
    },
    /// What a member wants to receive at most, whatever its path carries.
    Limit {
        member: MemberId,
        rate: Bitrate,
    },
    /// A data channel message for one member.
    Data {
        member: MemberId,
        label: std::sync::Arc<str>,
        binary: bool,
        payload: Bytes,
    },
    /// For another node's rooms. Only the cascade's shard obeys it.
    Room {
        to: NodeId,
        room: RoomId,
        body: Bytes,
    },
    /// Nothing new is taken on, and who depends on this node is to move away. Only the cascade's shard obeys it.
    Drain,
}

/// A track as a shard must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackSpec {
    pub id: TrackId,
    pub room: RoomId,
    pub kind: Kind,
    pub source: Source,
    /// Smallest first; one without simulcast.
    pub layers: Vec<LayerInfo>,
    pub muted: bool,
    pub origin: Origin,
}

/// Where a track's packets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A peer of this shard.
    Member(MemberId),
    /// The shard its publisher is on, or the cascade's shard for one that is published on another node.
    Shard(ShardId),
    /// Another node, and which run of it. Only told to the cascade's shard.
    Node { node: NodeId, incarnation: u64 },
}

/// From a shard to signaling.
#[derive(Debug)]
pub enum Event {
    /// DTLS is up; media flows.
    Connected {
        member: MemberId,
    },
    /// No ICE consent for a while; media may come back.
    IceDown {
        member: MemberId,
    },
    IceUp {
        member: MemberId,
    },
    /// The transport is over: DTLS closed or failed, or ICE silent for too long. The peer is gone already.
    Closed {
        member: MemberId,
        why: CloseReason,
    },
    /// Which layers anybody watches; the publisher encodes only those.
    LayersWanted {
        track: TrackId,
        layers: LayerSet,
    },
    /// What a slot carries now.
    StreamState {
        member: MemberId,
        slot: Slot,
        track: TrackId,
        state: StreamState,
    },
    /// Loudness of audio tracks that enter the node here, loudest first.
    Levels {
        levels: Vec<(TrackId, Reading)>,
    },
    /// Which microphones of a room a shard passes on to its members, of more than are.
    Voices {
        shard: ShardId,
        room: RoomId,
        tracks: Vec<TrackId>,
    },
    Quality {
        member: MemberId,
        quality: Quality,
    },
    /// Whether a shard has too much to do to take newcomers.
    Full {
        shard: ShardId,
        full: bool,
    },
    /// The answer to [`Command::Stats`].
    Stats {
        member: MemberId,
        stats: MemberStats,
    },
    /// A member sent this on a data channel.
    Data {
        member: MemberId,
        label: std::sync::Arc<str>,
        binary: bool,
        payload: Bytes,
    },
    /// From another node's rooms.
    Room {
        from: NodeId,
        room: RoomId,
        body: Bytes,
    },
    /// Which nodes can be reached.
    Cluster {
        view: View,
    },
    /// The way by which a track of another node comes, publisher's node last. Empty: there is none now.
    Path {
        track: TrackId,
        nodes: Vec<NodeId>,
    },
}

/// Why a transport ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer said goodbye (DTLS close_notify).
    PeerClosed,
    /// ICE consent was lost for good (RFC 7675).
    ConsentLost,
    HandshakeFailed,
    /// The certificate is not the one the offer named.
    WrongFingerprint,
    /// It never connected.
    NeverConnected,
}

/// How well a member's media does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// The way of what the member sends.
    pub up: Path,
    /// Of what it receives.
    pub down: Path,
    /// The pictures it sends.
    pub published: Pictures,
    /// Those on its screen.
    pub shown: Pictures,
}
