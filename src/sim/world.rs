//! Clusters to simulate: nodes in regions, a topology over them, delays between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::cascade::topology::{ListedNode, Topology};
use crate::cluster::{NodeInfo, Role};
use crate::id::{NodeId, RegionId};

/// Within a region.
const NEAR: Duration = Duration::from_millis(1);

/// What a simulation begins with.
#[derive(Clone, Debug)]
pub struct World {
    pub nodes: Vec<NodeInfo>,
    pub topology: Arc<Topology>,
    /// Cost of each pair of regions that is joined, both ways.
    costs: BTreeMap<(usize, usize), u32>,
    regions: Vec<RegionId>,
}

impl World {
    /// Regions of so many cores and edges, joined at costs that are milliseconds too.
    pub fn new(regions: &[(usize, usize)], joined: &[(usize, usize, u32)]) -> Self {
        let names: Vec<RegionId> = (0..regions.len()).map(|at| RegionId::new(format!("r{at}"))).collect();
        let mut nodes = Vec::new();
        for (name, &(cores, edges)) in names.iter().zip(regions) {
            for at in 0..cores + edges {
                let role = if at < cores { Role::Core } else { Role::Edge };
                // Names do not follow the places, so that anybody may dial.
                let id = NodeId::new(format!("{:02x}-{name}-{at}", (nodes.len() * 151 + 77) % 256));
                let addr = Some(id.as_str().to_owned());
                let region = name.clone();
                nodes.push(NodeInfo { id, region, role, incarnation: 1, draining: false, url: None, addr });
            }
        }
        let costs: BTreeMap<(usize, usize), u32> = joined.iter().map(|&(a, b, cost)| ((a, b), cost)).collect();
        let mut world = Self { nodes, topology: Arc::new(Topology::single()), costs, regions: names };
        world.topology = Arc::new(world.document(1, |_, cost| cost));
        world
    }

    /// Regions all joined to each other, at random costs.
    pub fn mesh(rng: &mut SmallRng, regions: &[(usize, usize)]) -> Self {
        let pairs = (0..regions.len()).flat_map(|a| (a + 1..regions.len()).map(move |b| (a, b)));
        let joined: Vec<(usize, usize, u32)> = pairs.map(|(a, b)| (a, b, rng.random_range(10..120))).collect();
        Self::new(regions, &joined)
    }

    /// Two hub regions, and others joined to both.
    pub fn tree(rng: &mut SmallRng, regions: &[(usize, usize)]) -> Self {
        let mut joined = vec![(0, 1, rng.random_range(20..80))];
        for at in 2..regions.len() {
            joined.extend([0, 1].map(|hub| (hub, at, rng.random_range(10..100))));
        }
        Self::new(regions, &joined)
    }

    /// A document of these regions at other costs.
    pub fn document(&self, epoch: u64, cost: impl Fn((usize, usize), u32) -> u32) -> Topology {
        let name = |at: usize| self.regions.get(at).cloned().unwrap_or_else(|| RegionId::new("nowhere"));
        let both = self.costs.iter().flat_map(|(&(a, b), &base)| {
            let cost = cost((a, b), base);
            [(name(a), name(b), cost), (name(b), name(a), cost)]
        });
        let mut topology = Topology::of_costs(epoch, both);
        topology.text = format!("epoch {epoch}");
        let listed = |node: &NodeInfo| ListedNode {
            id: node.id.clone(),
            region: node.region.clone(),
            role: node.role,
            addr: node.addr.clone().unwrap_or_default(),
            url: None,
        };
        // Edges register themselves.
        topology.nodes = self.nodes.iter().filter(|node| node.role.is_core()).map(listed).collect();
        topology
    }

    /// How long a packet takes.
    pub(super) fn delay(&self, a: usize, b: usize) -> Duration {
        let region = |at: usize| {
            let region = self.nodes.get(at).map(|node| &node.region);
            self.regions.iter().position(|name| Some(name) == region).unwrap_or_default()
        };
        let (a, b) = (region(a), region(b));
        let cost = self.costs.get(&(a.min(b), a.max(b))).copied();
        if a == b { NEAR } else { Duration::from_millis(cost.unwrap_or(50).into()) }
    }
}
