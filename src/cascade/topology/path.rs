//! The cheapest ways from one region to all others. Owns the search; ties are broken the same way on every node.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Topology;
use crate::id::RegionId;

/// Ways from one region.
pub(super) struct Paths<'a> {
    topology: &'a Topology,
    /// For each region its cost and the regions on the way, itself the last; empty where no way leads.
    best: Vec<Option<(u32, Vec<usize>)>>,
}

impl<'a> Paths<'a> {
    /// Dijkstra by (cost, regions passed, their ids): regions are numbered by id, so that the smaller list is the smaller ids.
    pub(super) fn from(topology: &'a Topology, start: usize) -> Self {
        let mut best: Vec<Option<(u32, Vec<usize>)>> = vec![None; topology.regions.len()];
        let mut waiting = BinaryHeap::from([Reverse((0_u32, 1_usize, vec![start]))]);
        while let Some(Reverse((cost, hops, way))) = waiting.pop() {
            let Some(&at) = way.last() else { continue };
            match best.get_mut(at) {
                Some(slot @ None) => *slot = Some((cost, way.clone())),
                _ => continue,
            }
            for (next, link) in topology.links.get(at).into_iter().flatten() {
                if best.get(*next).is_some_and(Option::is_none) {
                    let longer = way.iter().copied().chain([*next]).collect();
                    waiting.push(Reverse((cost.saturating_add(link.cost), hops + 1, longer)));
                }
            }
        }
        Self { topology, best }
    }

    /// The way to a region as indices.
    pub(super) fn indices(&self, to: usize) -> Option<(u32, &[usize])> {
        self.best.get(to)?.as_ref().map(|(cost, way)| (*cost, way.as_slice()))
    }

    /// The way to a region.
    pub(super) fn to(&self, to: usize) -> Option<(u32, Vec<RegionId>)> {
        let (cost, way) = self.indices(to)?;
        let ids = way.iter().filter_map(|index| Some(self.topology.regions.get(*index)?.id.clone()));
        Some((cost, ids.collect()))
    }
}
