//! The cheapest ways from one region to all others. Owns the search; ties are broken the same way on every node.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::Topology;
use crate::id::RegionId;

/// A way over as many links as its layer says.
#[derive(Clone, Copy, Debug)]
struct Step {
    cost: u32,
    /// The region before, whose own way is one layer below.
    before: usize,
}

/// Ways from one region that pass no more regions than the document allows.
pub(super) struct Paths<'a> {
    topology: &'a Topology,
    start: usize,
    /// For each number of links and each region the cheapest way, if it is cheaper than with fewer.
    layers: Vec<Vec<Option<Step>>>,
}

impl<'a> Paths<'a> {
    /// Bellman's search, a link further with each layer: the limit on regions makes a dearer, shorter way worth keeping.
    pub(super) fn from(topology: &'a Topology, start: usize) -> Self {
        let count = topology.regions.len();
        let mut first = vec![None; count];
        if let Some(step) = first.get_mut(start) {
            *step = Some(Step { cost: 0, before: start });
        }
        let mut cheapest: Vec<u32> = vec![u32::MAX; count];
        if let Some(cost) = cheapest.get_mut(start) {
            *cost = 0;
        }
        let mut paths = Self { topology, start, layers: vec![first] };
        for links in 1..usize::from(topology.max_region_hops) {
            let layer = paths.next_layer(links, &cheapest);
            if layer.iter().all(Option::is_none) {
                break;
            }
            for (cost, step) in cheapest.iter_mut().zip(&layer) {
                *cost = step.map_or(*cost, |step: Step| step.cost);
            }
            paths.layers.push(layer);
        }
        paths
    }

    fn next_layer(&self, links: usize, cheapest: &[u32]) -> Vec<Option<Step>> {
        let mut layer: Vec<Option<Step>> = vec![None; self.topology.regions.len()];
        let last = self.layers.get(links - 1).into_iter().flatten().enumerate();
        for (at, cost) in last.filter_map(|(at, step)| Some((at, (*step)?.cost))) {
            for (next, link) in self.topology.links.get(at).into_iter().flatten() {
                let (Some(slot), Some(shorter)) = (layer.get_mut(*next), cheapest.get(*next)) else { continue };
                let found = Step { cost: cost.saturating_add(link.cost), before: at };
                let is_best = found.cost < *shorter
                    && slot.is_none_or(|old| match found.cost.cmp(&old.cost) {
                        Ordering::Less => true,
                        Ordering::Greater => false,
                        // Regions are numbered by id: the smaller numbers are the smaller ids.
                        Ordering::Equal => self.way(links - 1, at) < self.way(links - 1, old.before),
                    });
                if is_best {
                    *slot = Some(found);
                }
            }
        }
        layer
    }

    /// The regions of a way over so many links.
    fn way(&self, links: usize, to: usize) -> Vec<usize> {
        let mut way = vec![to];
        let mut at = to;
        for layer in self.layers.iter().take(links + 1).skip(1).rev() {
            let Some(step) = layer.get(at).copied().flatten() else { break };
            at = step.before;
            way.push(at);
        }
        way.reverse();
        way
    }

    /// The cheapest way to a region over the fewest links: how many, and what it costs.
    fn best(&self, to: usize) -> Option<(usize, u32)> {
        let layers = self.layers.iter().enumerate().rev();
        layers.filter_map(|(links, layer)| Some((links, layer.get(to)?.as_ref()?.cost))).next()
    }

    /// The way to a region, both ends included; `None` where none leads.
    pub(super) fn indices(&self, to: usize) -> Option<Vec<usize>> {
        let (links, _) = self.best(to)?;
        debug_assert!(self.way(links, to).first() == Some(&self.start));
        Some(self.way(links, to))
    }

    /// What the way to a region costs, and its regions.
    pub(super) fn to(&self, to: usize) -> Option<(u32, Vec<RegionId>)> {
        let (links, cost) = self.best(to)?;
        let ids = self.way(links, to).into_iter().filter_map(|index| Some(self.topology.regions.get(index)?.id.clone()));
        Some((cost, ids.collect()))
    }
}

/// How many regions the shortest way from one to each passes at least, both ends included; `None` where none leads.
pub(super) fn distances(topology: &Topology, start: usize) -> Vec<Option<usize>> {
    let mut distances = vec![None; topology.regions.len()];
    let mut waiting = VecDeque::from([(start, 1)]);
    while let Some((at, distance)) = waiting.pop_front() {
        match distances.get_mut(at) {
            Some(slot @ None) => *slot = Some(distance),
            _ => continue,
        }
        let next = topology.links.get(at).into_iter().flatten();
        waiting.extend(next.filter(|(to, _)| distances.get(*to) == Some(&None)).map(|(to, _)| (*to, distance + 1)));
    }
    distances
}
