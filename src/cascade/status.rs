//! The cascade as an operator sees it: plain values that become JSON for the admin API and the dashboard. Shapes only.

use serde::Serialize;

use super::wire::LinkMetrics;
use crate::cluster::NodeInfo;
use crate::id::{NodeId, RegionId, RoomId, TrackId};
use crate::rtp::Kind;

/// What one node knows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// Absent until the cascade runs.
    pub me: Option<NodeInfo>,
    pub epoch: u64,
    /// Members whose sockets are open on this node.
    pub members: usize,
    /// Every node that can be reached, this one included.
    pub nodes: Vec<NodeStatus>,
    /// Which regions the topology joins.
    pub region_links: Vec<RegionLink>,
    /// This node's own links.
    pub links: Vec<LinkStatus>,
    /// The tracks that this node has or forwards.
    pub tracks: Vec<TrackStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    #[serde(flatten)]
    pub node: NodeInfo,
    pub neighbours: Vec<NeighbourStatus>,
}

/// One direction of a link somewhere, as its sending end says of it every few seconds.
#[derive(Clone, Debug, Serialize)]
pub struct NeighbourStatus {
    pub node: NodeId,
    #[serde(flatten)]
    pub metrics: LinkMetrics,
}

/// One direction between two regions, from the topology document.
#[derive(Clone, Debug, Serialize)]
pub struct RegionLink {
    pub from: RegionId,
    pub to: RegionId,
    pub cost: u32,
}

/// One of this node's links.
#[derive(Clone, Debug, Serialize)]
pub struct LinkStatus {
    pub node: NodeId,
    pub region: RegionId,
    /// This node dialed.
    pub dialed: bool,
    pub version: u8,
    pub up_s: u64,
    #[serde(flatten)]
    pub metrics: LinkMetrics,
    /// The neighbour's clock minus ours.
    pub clock_offset_ms: f64,
    pub packets_out: u64,
    pub packets_in: u64,
    pub bytes_out: u64,
    pub bytes_in: u64,
    /// Media packets that were not sent for want of capacity, or because they would have come too late.
    pub shed: u64,
    /// Flows that are paused until a keyframe for want of capacity.
    pub flows_shed: u32,
}

/// A track on this node.
#[derive(Clone, Debug, Serialize)]
pub struct TrackStatus {
    pub track: TrackId,
    pub room: RoomId,
    pub kind: Kind,
    pub origin: NodeId,
    /// From this node's parent to the publisher's node; empty for a track that is published here, or has no way.
    pub path: Vec<NodeId>,
    /// Layers that are asked for upstream.
    pub wanted: Vec<u8>,
    pub layers: Vec<LayerStatus>,
    /// Who gets which layers from here.
    pub children: Vec<ChildStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LayerStatus {
    pub layer: u8,
    pub height: u32,
    /// What came in over links in the last seconds.
    pub kbps: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct ChildStatus {
    pub node: NodeId,
    pub layers: Vec<u8>,
}
