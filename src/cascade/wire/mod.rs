//! What neighbours say to each other on a link's control stream, as types and as bytes. Owns the shapes, their limits and the
//! wire versions; what they mean is `cascade::mesh`'s and `cascade::link`'s. Everything that comes in is hostile until parsed.
//!
//! A frame is a four-byte big-endian length and a [postcard](https://postcard.jamesmunns.com/wire-format) value. New kinds are
//! added at the end of [`Frame`] with a higher [`Frame::since`]: a node speaks the highest version that both know, and does not
//! send what is newer.

mod bounds;
mod codec;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::NodeInfo;
use crate::id::{NodeId, RegionId, RoomId, TrackId};
use crate::rtp::clock::SenderClock;
use crate::rtp::{Kind, Layer, LayerInfo, LayerSet};

pub use codec::Decoder;

/// The newest version spoken here.
pub const VERSION: u8 = 2;

/// The oldest version spoken here.
pub const OLDEST: u8 = 1;

/// Bytes of one frame, its length not counted. Longer ones close the link.
pub const MAX_FRAME: usize = 256 << 10;

/// Bytes of a text: ids, names, reasons. Addresses and URLs too.
pub const MAX_TEXT: usize = 256;

/// Nodes in a path, and neighbours in a node's state.
pub const MAX_LIST: usize = 1_024;

/// One message to a neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// First on both sides, once.
    Hello(Hello),
    /// What a node says of itself, passed on by everybody to everybody.
    State(NodeState),
    Subscribe(Subscribe),
    Unsubscribe {
        track: TrackId,
    },
    /// The subscription holds, and this is the way the packets come. Told again when the way changes.
    Subscribed {
        track: TrackId,
        /// From the sender of this frame to the node of the publisher, both included.
        path: Vec<NodeId>,
    },
    Refused {
        track: TrackId,
        why: Refusal,
    },
    /// A level: told again for as long as it is needed.
    Keyframe {
        track: TrackId,
        layer: Layer,
    },
    /// A layer's sender report. Its NTP time is the sending node's clock.
    Report {
        flow: u32,
        stream: u32,
        report: SenderClock,
    },
    /// From one node's rooms to another's, by way of this link.
    Room(RoomMessage),
    Ping {
        id: u32,
        /// The sender's NTP time.
        sent: u64,
    },
    Pong {
        id: u32,
        sent: u64,
        /// NTP times of the answering node.
        received: u64,
        answered: u64,
    },
    /// No new subscriptions; the link closes when the old ones have moved.
    Goaway {
        reason: String,
    },
    /// The topology document, for a neighbour whose epoch is lower.
    Topology {
        text: String,
    },
    /// The flow's layer does not fit the link: its packets stop here until a keyframe. Since version 2.
    Shed {
        flow: u32,
    },
}

/// Who a node is, said first on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest and the newest wire version spoken.
    pub versions: (u8, u8),
    pub node: NodeInfo,
    /// Of the topology document it has.
    pub epoch: u64,
}

/// What a node says of itself. The newest by (incarnation, seq) counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    pub node: NodeInfo,
    /// Grows with each change of one run.
    pub seq: u64,
    pub epoch: u64,
    /// To whom its links are up.
    pub neighbours: Vec<Neighbour>,
}

/// A link as the node at its sending end sees it. The figures are for people; no way is chosen by them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    pub node: NodeId,
    pub metrics: LinkMetrics,
}

/// How one direction of a link does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkMetrics {
    pub rtt_us: u32,
    /// Packets lost of those sent lately, in thousandths.
    pub loss_permille: u16,
    pub kbps_out: u32,
    pub kbps_in: u32,
    /// What the congestion controller would send.
    pub target_kbps: u32,
    /// How long a packet that is queued now waits before it is sent.
    pub queue_ms: u16,
}

/// Asks the neighbour nearer to the publisher for a track; replaces the subscription before. Told again now and then, so that
/// lost state heals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscribe {
    pub track: TrackInfo,
    pub layers: LayerSet,
    /// Where the asking side wants each layer's packets: `flows[i]` for layer i.
    pub flows: Vec<u32>,
    /// Where each layer goes on, if packets came another way before.
    pub have: Vec<(Layer, u32, u16)>,
    /// Who asks, and who asked it first, nearest last; a node that finds itself here refuses.
    pub path: Vec<NodeId>,
    /// The topology's, by which the way was chosen.
    pub epoch: u64,
}

/// What every node on a track's way must know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackInfo {
    pub id: TrackId,
    pub room: RoomId,
    pub kind: Kind,
    /// Smallest first.
    pub layers: Vec<LayerInfo>,
    /// The publisher's node, and which run of it.
    pub origin: NodeId,
    pub incarnation: u64,
}

/// Why a subscription is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The way would lead back to who asks.
    Loop,
    /// Too many nodes on the way.
    TooFar,
    /// No way from here to the publisher's node.
    NoRoute,
    /// The publisher's node knows no such track (any more).
    NoTrack,
    /// The topologies differ too much to agree on a way.
    Epoch,
    /// This node takes no more.
    Full,
    Draining,
}

/// What one node's rooms tell another's. The cascade carries it and does not read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomMessage {
    pub from: NodeId,
    pub to: NodeId,
    pub room: RoomId,
    /// Hops it may still take.
    pub ttl: u8,
    pub body: Bytes,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a frame of {0} bytes; at most {MAX_FRAME} are allowed")]
    TooLong(usize),
    #[error("not a frame of any version spoken here")]
    Malformed,
    #[error("a list, a text or a number in the frame is beyond its limit")]
    OutOfBounds,
    #[error("a frame of wire version {0}, which is not spoken on this link")]
    Newer(u8),
}

/// The region that a node claims must be the one of its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub region: RegionId,
    pub node: NodeId,
}
