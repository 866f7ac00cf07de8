//! Which neighbour a track comes by: shortest ways over the links that are up, by costs of the topology document only. Owns the
//! graph and the ways; whether a way is taken is `mesh::parent`'s. All who know the same links find the same tree.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};

use super::nodes::Nodes;
use crate::cascade::topology::Topology;
use crate::cluster::weight;
use crate::id::{LinkId, NodeId, RegionId, RoomId};

/// Rooms are dealt into this many groups, and the rooms of a group share their ways. More spread the load of a region finer over
/// its cores; each costs a search per publisher's node when a link comes or goes.
const BUCKETS: u64 = 64;

/// What a way costs, compared as one number: the document's costs first, then how many cores on it are not the room's choice in
/// their region, then hops, and a hash that breaks ties alike for everybody. Each part adds up along a way, so that the rest of a
/// best way is a best way too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost(u128);

impl Cost {
    const fn new(document: u32, strays: u16, hops: u16, tie: u32) -> Self {
        Self((document as u128) << 72 | (strays as u128) << 56 | (hops as u128) << 40 | (tie & 0xFF_FFFF) as u128)
    }

    const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    const fn document(self) -> u64 {
        (self.0 >> 72) as u64
    }

    const fn without_tie(self) -> u128 {
        self.0 >> 40
    }

    /// Whether it is worth leaving a way of cost `other` for this one: a fifth cheaper, or no dearer and tidier.
    pub(super) fn clearly_below(self, other: Self) -> bool {
        let (own, other_document) = (self.document(), other.document());
        own.saturating_mul(5) <= other_document.saturating_mul(4) && own < other_document
            || own <= other_document && self.without_tie() < other.without_tie()
    }
}

/// A neighbour that a track may come by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) link: LinkId,
    pub(super) node: NodeId,
    pub(super) cost: Cost,
}

#[derive(Debug)]
struct Vertex {
    id: NodeId,
    region: u16,
    /// Media of others may go through it.
    transit: bool,
    /// What rooms say may go through it.
    core: bool,
    hash: u64,
    edges: Vec<usize>,
}

/// The graph as it is now, and the ways found in it so far.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// This node first.
    vertices: Vec<Vertex>,
    index: FxHashMap<NodeId, usize>,
    regions: u16,
    /// By (from, to).
    costs: Vec<Option<u32>>,
    max_regions: u8,
    /// This node's links, by the vertex at their other end.
    links: Vec<(usize, LinkId)>,
    /// For each bucket, the core of its choice in each region.
    chosen: FxHashMap<u64, Vec<Option<usize>>>,
    found: FxHashMap<(u64, usize), Arc<[Candidate]>>,
    hops: Option<FxHashMap<NodeId, LinkId>>,
}

impl Routes {
    /// From what is known now. `links`: this node's own, by neighbour; `leaving`: neighbours that take no new subscriptions.
    pub(super) fn new(
        nodes: &Nodes,
        adjacency: Vec<Vec<usize>>,
        topology: &Topology,
        links: impl Iterator<Item = (NodeId, LinkId)>,
        leaving: impl Fn(&NodeId) -> bool,
    ) -> Self {
        let mut names: Vec<&RegionId> = Vec::new();
        let mut numbers: FxHashMap<&RegionId, u16> = FxHashMap::default();
        let mut vertices = Vec::new();
        for (state, edges) in nodes.all().zip(adjacency) {
            let node = &state.node;
            let region = *numbers.entry(&node.region).or_insert_with(|| {
                names.push(&node.region);
                (names.len() - 1) as u16
            });
            let reachable = nodes.reachable().contains_key(&node.id);
            let transit = reachable && node.role.is_core() && !node.draining && !leaving(&node.id);
            let (id, core, hash) = (node.id.clone(), node.role.is_core(), hash_of(&node.id));
            vertices.push(Vertex { id, region, transit, core, hash, edges });
        }
        let index: FxHashMap<NodeId, usize> = vertices.iter().enumerate().map(|(at, v)| (v.id.clone(), at)).collect();
        let costs = names.iter().flat_map(|from| names.iter().map(|to| topology.cost(from, to))).collect();
        let links = links.filter_map(|(node, link)| Some((*index.get(&node)?, link))).collect();
        let regions = names.len() as u16;
        let max_regions = topology.max_region_hops.max(1);
        Self { vertices, index, regions, costs, max_regions, links, ..Self::default() }
    }

    /// The neighbours by which media of a room may come from `origin`, best first.
    pub(super) fn candidates(&mut self, room: &RoomId, origin: &NodeId) -> Arc<[Candidate]> {
        let Some(&origin) = self.index.get(origin) else { return Arc::new([]) };
        let bucket = hash_of(room) % BUCKETS;
        if let Some(found) = self.found.get(&(bucket, origin)) {
            return Arc::clone(found);
        }
        let found: Arc<[Candidate]> = self.search(bucket, origin).into();
        self.found.insert((bucket, origin), Arc::clone(&found));
        found
    }

    /// Which link leads toward a node, for what rooms say.
    pub(super) fn toward(&mut self, node: &NodeId) -> Option<LinkId> {
        if self.hops.is_none() {
            self.hops = Some(self.first_hops());
        }
        self.hops.as_ref()?.get(node).copied()
    }

    fn search(&mut self, bucket: u64, origin: usize) -> Vec<Candidate> {
        let chosen = self.choices(bucket);
        // Cheapest first; a node is gone through again only by a way of fewer regions.
        let mut labels: Vec<Vec<(Cost, u8)>> = vec![Vec::new(); self.vertices.len()];
        let mut queue = BinaryHeap::from([Reverse((Cost::default(), 1_u8, origin))]);
        while let Some(Reverse((cost, regions, at))) = queue.pop() {
            let (Some(vertex), Some(own)) = (self.vertices.get(at), labels.get_mut(at)) else { continue };
            if own.last().is_some_and(|&(_, fewest)| fewest <= regions) {
                continue;
            }
            own.push((cost, regions));
            // Its way must not come back to this node, which is the first.
            for &to in vertex.edges.iter().filter(|&&to| to != 0) {
                if !self.vertices.get(to).is_some_and(|next| next.transit) {
                    continue;
                }
                let Some((step, crosses)) = self.step(bucket, &chosen, at, to, at != origin) else { continue };
                let regions = regions + u8::from(crosses);
                if regions <= self.max_regions {
                    queue.push(Reverse((cost.plus(step), regions, to)));
                }
            }
        }
        let mut found: Vec<Candidate> = Vec::new();
        for &(at, link) in &self.links {
            let (Some(vertex), Some(labels)) = (self.vertices.get(at), labels.get(at)) else { continue };
            let Some((step, crosses)) = self.step(bucket, &chosen, at, 0, at != origin) else { continue };
            let fits = |&&(_, regions): &&(Cost, u8)| regions + u8::from(crosses) <= self.max_regions;
            if let Some(&(cost, _)) = labels.iter().find(fits) {
                found.push(Candidate { link, node: vertex.id.clone(), cost: cost.plus(step) });
            }
        }
        found.sort_by_key(|candidate| candidate.cost);
        found
    }

    /// What it costs to send from one node to the next, and whether that enters another region.
    fn step(&self, bucket: u64, chosen: &[Option<usize>], from: usize, to: usize, transit: bool) -> Option<(Cost, bool)> {
        let (a, b) = (self.vertices.get(from)?, self.vertices.get(to)?);
        let document = self.cost(a, b)?;
        let crosses = a.region != b.region;
        let is_choice =
            |vertex: &Vertex, at| chosen.get(usize::from(vertex.region)).copied().flatten().is_none_or(|choice| choice == at);
        let strays = u16::from(transit && !is_choice(a, from)) + u16::from(crosses && !is_choice(b, to));
        let tie = mix(a.hash ^ b.hash.rotate_left(17) ^ bucket.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Some((Cost::new(document, strays, 1, tie as u32), crosses))
    }

    fn cost(&self, from: &Vertex, to: &Vertex) -> Option<u32> {
        let at = usize::from(from.region) * usize::from(self.regions) + usize::from(to.region);
        self.costs.get(at).copied().flatten()
    }

    /// The core of each region through which the rooms of a bucket go.
    fn choices(&mut self, bucket: u64) -> Vec<Option<usize>> {
        if let Some(chosen) = self.chosen.get(&bucket) {
            return chosen.clone();
        }
        let room = RoomId::new(format!("bucket {bucket}"));
        let mut best: Vec<Option<(u64, usize)>> = vec![None; usize::from(self.regions)];
        for (at, vertex) in self.vertices.iter().enumerate().filter(|(_, vertex)| vertex.transit) {
            let rank = (weight(&room, &vertex.id), at);
            if let Some(best) = best.get_mut(usize::from(vertex.region)) {
                *best = (*best).max(Some(rank));
            }
        }
        let chosen: Vec<Option<usize>> = best.into_iter().map(|best| best.map(|(_, at)| at)).collect();
        self.chosen.insert(bucket, chosen.clone());
        chosen
    }

    /// The first link of the cheapest way from here to everybody. What rooms say also goes through nodes that drain.
    fn first_hops(&self) -> FxHashMap<NodeId, LinkId> {
        let mut first: FxHashMap<usize, LinkId> = FxHashMap::default();
        let mut queue = BinaryHeap::new();
        let push = |queue: &mut BinaryHeap<_>, cost: Cost, from: usize, to: usize, link: LinkId| {
            let (Some(a), Some(b)) = (self.vertices.get(from), self.vertices.get(to)) else { return };
            // A link that the document forbids may still be up for a while: the last resort.
            let document = self.cost(a, b).unwrap_or(1 << 24);
            let tie = mix(a.hash ^ b.hash.rotate_left(17)) as u32;
            queue.push(Reverse((cost.plus(Cost::new(document, 0, 1, tie)), to, link)));
        };
        for &(at, link) in &self.links {
            push(&mut queue, Cost::default(), 0, at, link);
        }
        while let Some(Reverse((cost, at, link))) = queue.pop() {
            if at == 0 || first.contains_key(&at) {
                continue;
            }
            first.insert(at, link);
            let Some(vertex) = self.vertices.get(at).filter(|vertex| vertex.core) else { continue };
            for &to in &vertex.edges {
                push(&mut queue, cost, at, to, link);
            }
        }
        first.into_iter().filter_map(|(at, link)| Some((self.vertices.get(at)?.id.clone(), link))).collect()
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    mix(hasher.finish())
}

/// Spreads a weak hash over all bits.
const fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    hash ^ (hash >> 32)
}
