//! What goes into the mesh and what comes out. Plain data.

use std::sync::Arc;

use bytes::Bytes;

use crate::cascade::topology::Topology;
use crate::cascade::wire::{Frame, Hello, LinkMetrics, TrackInfo};
use crate::cluster::{NodeInfo, View};
use crate::id::{LinkId, NodeId, RoomId, ShardId, TrackId};
use crate::router;
use crate::rtp::{Kind, Layer, LayerSet};

/// What may happen to a mesh.
#[derive(Debug)]
pub enum Input {
    /// Both hellos were exchanged and agree with the certificates.
    LinkUp {
        link: LinkId,
        hello: Hello,
    },
    /// It is gone, whoever ended it.
    LinkDown {
        link: LinkId,
    },
    /// Every frame but `Hello`, `Ping` and `Pong`, which the link answers itself.
    Frame {
        link: LinkId,
        frame: Frame,
    },
    /// How it does; for people.
    Metrics {
        link: LinkId,
        metrics: LinkMetrics,
    },

    // From this node.
    /// A track that a room here knows. `from`: the shard its publisher is on; `None` for one of another node.
    Track {
        info: TrackInfo,
        from: Option<ShardId>,
    },
    TrackGone {
        track: TrackId,
    },
    Muted {
        track: TrackId,
        muted: bool,
    },
    /// The router's word on a track of another node: which layers anybody here or behind a link wants.
    Wanted {
        track: TrackId,
        layers: LayerSet,
    },
    /// The router's word again.
    KeyframeWanted {
        track: TrackId,
        layer: Layer,
    },
    /// For another node's rooms, or this one's.
    Room {
        to: NodeId,
        room: RoomId,
        body: Bytes,
    },
    /// A document with a higher epoch.
    Topology {
        topology: Arc<Topology>,
    },
    /// Nothing new is taken on; who depends on this node is to move away.
    Drain,
    /// The deadline passed.
    Timeout,
}

/// What the mesh wants done.
#[derive(Debug)]
pub enum Output {
    Send {
        link: LinkId,
        frame: Frame,
    },
    /// The neighbour broke the rules, or is not wanted any more.
    Close {
        link: LinkId,
        why: String,
    },
    /// A link to this node should be kept, at its `addr`. Said once per run of a node.
    Dial {
        node: NodeInfo,
    },
    /// No link to it is needed any more.
    HangUp {
        node: NodeId,
    },
    Router(router::Input),
    /// Packets of a track may leave by a link under other flows, or no more: what is queued for the old ones is worthless.
    FlowEnded {
        link: LinkId,
        flow: u32,
    },
    /// From another node's rooms.
    Room {
        from: NodeId,
        room: RoomId,
        body: Bytes,
    },
    View(View),
    /// The way by which a track of another node comes: this node's parent first, the publisher's node last. Empty: none.
    Path {
        track: TrackId,
        nodes: Vec<NodeId>,
    },
    /// A neighbour knows a newer document than this node.
    NewTopology {
        text: String,
    },
}

/// How a layer's packets leave by a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outflow {
    pub flow: u32,
    pub kind: Kind,
    /// The smallest layer of its track: the last to be shed.
    pub base: bool,
}
