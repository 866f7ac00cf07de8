//! Who belongs to the cluster: the nodes that can be reached, as this node knows them, and what everybody concludes from that
//! in the same way. Owns the values and the choice of a room's home; how they become known is `cascade::mesh`'s. Pure.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};

use crate::id::{NodeId, RegionId, RoomId};

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It talks to browsers.
    Edge,
    /// It forwards between nodes and keeps rooms' homes.
    Core,
    /// It is an edge and a core.
    Both,
}

impl Role {
    /// Whether browsers may be sent to it.
    pub const fn is_edge(self) -> bool {
        matches!(self, Self::Edge | Self::Both)
    }

    /// Whether others' media may go through it.
    pub const fn is_core(self) -> bool {
        matches!(self, Self::Core | Self::Both)
    }
}

/// A node that can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub id: NodeId,
    pub region: RegionId,
    pub role: Role,
    /// Drawn from the clock at each start: the higher one is the later run.
    pub incarnation: u64,
    /// It takes nothing new, and who depends on it moves away.
    pub draining: bool,
    /// Where browsers reach it, such as `https://fra.example.org`; only an edge that was told has one.
    pub url: Option<String>,
    /// Where its neighbours dial it, as `host:port`.
    pub addr: Option<String>,
}

impl NodeInfo {
    /// A node of which no more is known yet, as one itself before its first view comes.
    pub const fn unknown(id: NodeId, region: RegionId) -> Self {
        Self { id, region, role: Role::Both, incarnation: 0, draining: false, url: None, addr: None }
    }
}

/// The reachable nodes, this one included. A value: a new one comes when something changed.
#[derive(Clone, Debug)]
pub struct View {
    pub me: NodeId,
    pub nodes: Arc<BTreeMap<NodeId, NodeInfo>>,
}

impl View {
    /// A node on its own.
    pub fn alone(me: NodeInfo) -> Self {
        Self { me: me.id.clone(), nodes: Arc::new(BTreeMap::from([(me.id.clone(), me)])) }
    }

    /// The node that orders a room: the same for everybody with the same view. Rendezvous hashing, so that a node that comes
    /// or goes moves few rooms. Cores are preferred, and those that stay.
    pub fn home(&self, room: &RoomId) -> &NodeId {
        let rank = |node: &NodeInfo| (node.role.is_core(), !node.draining, weight(room, &node.id));
        self.nodes.values().max_by_key(|node| rank(node)).map_or(&self.me, |node| &node.id)
    }
}

/// How strongly hashing ties a node to a room; the highest of a set is the set's choice.
pub fn weight(room: &RoomId, node: &NodeId) -> u64 {
    let mut hasher = FxHasher::default();
    (room.as_str(), node.as_str()).hash(&mut hasher);
    // FxHash leaves its low bits weak.
    let hash = hasher.finish();
    (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(nodes: &[(&str, Role, bool)]) -> View {
        let info = |&(id, role, draining): &(&str, Role, bool)| NodeInfo {
            id: NodeId::new(id),
            region: RegionId::new("r"),
            role,
            incarnation: 1,
            draining,
            url: None,
            addr: None,
        };
        let nodes = nodes.iter().map(info).map(|node| (node.id.clone(), node)).collect();
        View { me: NodeId::new("a"), nodes: Arc::new(nodes) }
    }

    #[test]
    fn homes_spread_over_the_cores_and_few_move_when_one_goes() {
        let five =
            view(&[("a", Role::Both, false), ("b", Role::Core, false), ("c", Role::Both, false), ("d", Role::Core, false)]);
        let four = view(&[("a", Role::Both, false), ("b", Role::Core, false), ("c", Role::Both, false)]);
        let rooms: Vec<RoomId> = (0..400).map(|n| RoomId::new(format!("room-{n}"))).collect();
        let of_d = rooms.iter().filter(|room| five.home(room).as_str() == "d").count();
        assert!((60..140).contains(&of_d), "{of_d} of 400");
        assert!(rooms.iter().all(|room| five.home(room).as_str() == "d" || five.home(room) == four.home(room)));
    }

    #[test]
    fn an_edge_or_a_draining_core_is_home_only_if_there_is_nobody_else() {
        let rooms: Vec<RoomId> = (0..50).map(|n| RoomId::new(format!("room-{n}"))).collect();
        let view = view(&[("a", Role::Edge, false), ("b", Role::Core, true), ("c", Role::Core, false)]);
        assert!(rooms.iter().all(|room| view.home(room).as_str() == "c"));
    }
}
