//! What can be told of a mesh: the operator's view, counters, and the sizes of its tables for those who check their bounds.

use std::time::Instant;

use super::Mesh;
use crate::cascade::status::{ChildStatus, LayerStatus, NeighbourStatus, NodeStatus, RegionLink, Status, TrackStatus};
use crate::cascade::wire::{Hello, OLDEST, VERSION};
use crate::id::{LinkId, NodeId, TrackId};
use crate::rtp::LayerSet;

/// What was passed over, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Packets on flows that carry nothing: mostly late after an unsubscribe.
    pub unknown_flow: u64,
    /// Packets that were no RTP, or of another kind than their track.
    pub malformed: u64,
    /// Packets that came before, over another parent.
    pub duplicate: u64,
    /// Messages of rooms that were too long, too many, or had no way.
    pub rooms: u64,
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub nodes: usize,
    /// Neighbours that those nodes list.
    pub listed: usize,
    pub links: usize,
    pub tracks: usize,
    /// Subscriptions of neighbours.
    pub children: usize,
    /// Flow numbers in use and at rest, both ways.
    pub flows: usize,
}

/// Who gives a node a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub node: NodeId,
    /// Its way to the publisher stands.
    pub up: bool,
    /// What it is asked for.
    pub layers: LayerSet,
}

impl Mesh {
    /// What this node says of itself when a link begins.
    pub fn hello(&self) -> Hello {
        let me = self.nodes.me();
        Hello { versions: (OLDEST, VERSION), node: me.node.clone(), epoch: me.epoch }
    }

    /// Who gives this node a track, and who is to take over.
    pub fn ways(&self, track: TrackId) -> [Option<Way>; 2] {
        let way = |parent: &super::track::Parent| Way {
            node: parent.node.clone(),
            up: parent.path().is_some(),
            layers: parent.layers,
        };
        let track = self.tracks.get(&track);
        [track.and_then(|track| track.parent.as_ref()).map(way), track.and_then(|track| track.next.as_ref()).map(way)]
    }

    /// The parts that the mesh knows; `links` is filled in by who has them.
    pub fn status(&self, now: Instant) -> Status {
        let reachable = self.nodes.reachable();
        let states = self.nodes.all().filter(|state| reachable.contains_key(&state.node.id));
        let nodes = states.map(|state| {
            let neighbour = |n: &crate::cascade::wire::Neighbour| NeighbourStatus { node: n.node.clone(), metrics: n.metrics };
            NodeStatus { node: state.node.clone(), neighbours: state.neighbours.iter().map(neighbour).collect() }
        });
        let mut regions: Vec<_> = reachable.values().map(|node| &node.region).collect();
        regions.sort_unstable();
        regions.dedup();
        let pairs = regions.iter().flat_map(|from| regions.iter().map(move |to| (*from, *to))).filter(|(from, to)| from != to);
        let region_links = pairs.filter_map(|(from, to)| {
            Some(RegionLink { from: from.clone(), to: to.clone(), cost: self.topology.cost(from, to)? })
        });
        let mut tracks: Vec<TrackStatus> = self.tracks.values().map(|track| track_status(now, track)).collect();
        tracks.sort_by_key(|track| track.track);
        Status {
            members: 0,
            me: Some(self.nodes.me().node.clone()),
            epoch: self.topology.epoch,
            nodes: nodes.collect(),
            region_links: region_links.collect(),
            links: Vec::new(),
            tracks,
        }
    }

    /// Subscriptions of neighbours to tracks that only pass through here: what a drain waits for.
    pub fn dependents(&self) -> usize {
        self.tracks.values().filter(|track| track.from.is_none()).map(|track| track.children.len()).sum()
    }

    /// What was passed over.
    pub const fn drops(&self) -> Drops {
        self.drops
    }

    /// How full the tables are.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            nodes: self.nodes.len(),
            listed: self.nodes.listed(),
            links: self.links.len(),
            tracks: self.tracks.len(),
            children: self.tracks.values().map(|track| track.children.len()).sum(),
            flows: self.links.iter().map(|(_, link)| link.flows_in.len() + link.flows_out.len()).sum(),
        }
    }

    /// Who is at the other end of a link.
    pub fn neighbour(&self, link: LinkId) -> Option<&NodeId> {
        self.links.get(link).map(|link| &link.node)
    }
}

fn track_status(now: Instant, track: &super::track::Track) -> TrackStatus {
    let numbers = |layers: LayerSet| layers.iter().map(|layer| layer.0).collect();
    let layers = (0..).zip(track.info.layers.iter().zip(&track.layers));
    let mut children: Vec<ChildStatus> =
        track.children.values().map(|child| ChildStatus { node: child.node.clone(), layers: numbers(child.layers) }).collect();
    children.sort_by(|a, b| a.node.cmp(&b.node));
    TrackStatus {
        track: track.info.id,
        room: track.info.room.clone(),
        kind: track.info.kind,
        origin: track.info.origin.clone(),
        path: track.told.clone(),
        wanted: numbers(track.wanted),
        layers: layers
            .map(|(layer, (info, came))| LayerStatus { layer, height: info.height.0, kbps: came.kbps(now) })
            .collect(),
        children,
    }
}
