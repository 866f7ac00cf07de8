//! Which regions there are, which of them may link, and what a link costs: the operator's file as a checked value. Owns the
//! document's meaning; which way a track takes is `cascade::mesh`'s. Pure: files are read by `cli` and `node`.

use std::collections::BTreeMap;

use crate::cluster::Role;
use crate::id::{NodeId, RegionId};

/// A checked topology document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Grows with each new document; the higher one counts.
    pub epoch: u64,
    /// Regions a track may pass on its way, the first and the last included.
    pub max_region_hops: u8,
    /// What a packet costs from one region to another, by (from, to); only pairs that may link.
    costs: BTreeMap<(RegionId, RegionId), u32>,
    /// Nodes that the document lists.
    pub nodes: Vec<ListedNode>,
    /// The document, as neighbours are given it.
    pub text: String,
}

/// A node of a static deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedNode {
    pub id: NodeId,
    pub region: RegionId,
    pub role: Role,
    /// Where neighbours dial it, as `host:port`.
    pub addr: String,
    /// Where browsers reach it.
    pub url: Option<String>,
}

impl Topology {
    /// One region, nothing written: a deployment without a file.
    pub fn single() -> Self {
        Self { epoch: 0, max_region_hops: 4, costs: BTreeMap::new(), nodes: Vec::new(), text: String::new() }
    }

    /// From costs alone; for tests and simulations.
    pub fn of_costs(epoch: u64, costs: impl IntoIterator<Item = (RegionId, RegionId, u32)>) -> Self {
        let costs = costs.into_iter().map(|(from, to, cost)| ((from, to), cost)).collect();
        Self { epoch, costs, ..Self::single() }
    }

    /// What a packet costs from one region to another over one link; `None` where they may not link. Integers from the
    /// document, never measured: everybody who has the document finds the same ways.
    pub fn cost(&self, from: &RegionId, to: &RegionId) -> Option<u32> {
        if from == to { Some(0) } else { self.costs.get(&(from.clone(), to.clone())).copied() }
    }

    /// Whether nodes of two regions keep a link.
    pub fn may_link(&self, a: &RegionId, b: &RegionId) -> bool {
        a == b || self.cost(a, b).is_some() || self.cost(b, a).is_some()
    }
}
