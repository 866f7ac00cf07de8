//! Which regions there are, which of them may link, and what a link costs: the operator's file as a checked value. Owns the
//! document's meaning; which way a track takes is `cascade::mesh`'s. Pure: files are read by `cli` and `node`.
//!
//! `cascade/README.md` explains the format key by key. [`Topology::parse`] is strict and says everything that is wrong at once;
//! it takes documents from neighbours as well, so that all of it is bounded.

mod check;
mod costs;
mod document;
mod finding;
mod geo;
mod path;
mod warn;

use serde::Serialize;

pub use self::finding::{Finding, Problem, Warning};
use crate::cascade::wire;
use crate::cluster::Role;
use crate::id::{NodeId, RegionId};

/// Bytes of a document. A neighbour is given it in one frame, so a longer one would never arrive.
pub const MAX_DOCUMENT: usize = wire::MAX_FRAME - 1_024;

/// Regions of a document. All pairs of them are looked at when it is read, so the work grows with the square.
pub const MAX_REGIONS: usize = 256;

/// Nodes that a document lists.
pub const MAX_NODES: usize = 4_096;

/// Parents of one region.
pub const MAX_PARENTS: usize = 8;

/// What one link may cost at most, so that sums over a way stay far from overflowing.
pub const MAX_COST: u32 = 100_000_000;

/// Regions that a way may be allowed to pass: bounds the paths that neighbours carry around.
pub const MAX_HOPS: u8 = 16;

/// A checked topology document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Grows with each new document; the higher one counts.
    pub epoch: u64,
    /// Regions a track may pass on its way, the first and the last included.
    pub max_region_hops: u8,
    /// Which regions may link.
    pub mode: Mode,
    /// By id.
    regions: Vec<Region>,
    /// For each region its links, by the index of the region they lead to.
    links: Vec<Vec<(usize, Link)>>,
    /// Nodes that the document lists.
    pub nodes: Vec<ListedNode>,
    /// The document, as neighbours are given it.
    pub text: String,
}

/// Which regions may link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Those with a written link: children with their parents, hubs with hubs.
    Tree,
    /// All.
    Mesh,
}

/// A named place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub id: RegionId,
    pub tier: Tier,
    /// Those above it in a tree, the preferred one first.
    pub parents: Vec<RegionId>,
    /// Of a gigabyte that it sends, in millionths of a dollar.
    pub price: u32,
    /// Others' media should go around it.
    pub backup_transit: bool,
    /// What it may send to other regions.
    pub max_mbps: Option<u32>,
    /// What its members are expected to publish at the busiest time.
    pub load_mbps: Option<u32>,
    pub geo: Option<Geo>,
}

impl Region {
    fn bare(id: RegionId) -> Self {
        let (tier, parents) = (Tier::Hub, Vec::new());
        Self { id, tier, parents, price: 0, backup_transit: false, max_mbps: None, load_mbps: None, geo: None }
    }
}

/// Where in a tree a region stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// It may link to other hubs and be a parent.
    Hub,
    /// It links to its parents only.
    Leaf,
}

/// A place on the globe, in millionths of a degree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geo {
    pub lat: i32,
    pub lon: i32,
}

/// One direction between two regions that may link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What ways are chosen by.
    pub cost: u32,
    pub rtt_ms: u32,
    /// The round trip comes from the distance, not from the document.
    pub estimated: bool,
    /// Of a gigabyte, in millionths of a dollar.
    pub price: u32,
    /// To a child's second or later parent, or from there.
    pub backup: bool,
    pub max_mbps: Option<u32>,
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

/// A document that must not take another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("epoch {new} does not grow: the document in use has {old}; raise the epoch to at least {}", old.saturating_add(1))]
pub struct NotNewer {
    pub new: u64,
    pub old: u64,
}

impl Topology {
    /// Reads a document, or says all that is wrong with it.
    pub fn parse(text: &str) -> Result<(Self, Vec<Warning>), Vec<Problem>> {
        check::parse(text)
    }

    /// One region, nothing written: a deployment without a file.
    pub fn single() -> Self {
        Self {
            epoch: 0,
            max_region_hops: 4,
            mode: Mode::Mesh,
            regions: Vec::new(),
            links: Vec::new(),
            nodes: Vec::new(),
            text: String::new(),
        }
    }

    /// From costs alone; for tests and simulations.
    pub fn of_costs(epoch: u64, costs: impl IntoIterator<Item = (RegionId, RegionId, u32)>) -> Self {
        let costs: Vec<_> = costs.into_iter().collect();
        let mut ids: Vec<_> = costs.iter().flat_map(|(from, to, _)| [from.clone(), to.clone()]).collect();
        ids.sort();
        ids.dedup();
        let links = vec![Vec::new(); ids.len()];
        let regions = ids.into_iter().map(Region::bare).collect();
        let mut topology = Self { epoch, regions, links, ..Self::single() };
        for (from, to, cost) in costs {
            topology.put(&from, &to, Link { cost, ..Link::default() });
        }
        topology
    }

    /// Sets one direction of a link between two regions that are there.
    fn put(&mut self, from: &RegionId, to: &RegionId, link: Link) {
        let (Some(from), Some(to)) = (self.index(from), self.index(to)) else { return };
        let Some(links) = self.links.get_mut(from) else { return };
        match links.binary_search_by_key(&to, |(to, _)| *to) {
            Ok(at) => links.iter_mut().skip(at).take(1).for_each(|entry| entry.1 = link),
            Err(at) => links.insert(at, (to, link)),
        }
    }

    /// What a packet costs from one region to another over one link; `None` where they may not link. Integers from the
    /// document, never measured: everybody who has the document finds the same ways.
    pub fn cost(&self, from: &RegionId, to: &RegionId) -> Option<u32> {
        if from == to { Some(0) } else { self.link(from, to).map(|link| link.cost) }
    }

    /// The round trip over one link, as the document says or as the distance suggests; `None` where they may not link.
    pub fn rtt_ms(&self, from: &RegionId, to: &RegionId) -> Option<u32> {
        if from == to { Some(0) } else { self.link(from, to).map(|link| link.rtt_ms) }
    }

    /// Whether nodes of two regions keep a link.
    pub fn may_link(&self, a: &RegionId, b: &RegionId) -> bool {
        a == b || self.link(a, b).is_some() || self.link(b, a).is_some()
    }

    /// One direction between two regions that may link.
    pub fn link(&self, from: &RegionId, to: &RegionId) -> Option<&Link> {
        let to = self.index(to)?;
        let links = self.links.get(self.index(from)?)?;
        links.binary_search_by_key(&to, |(to, _)| *to).ok().and_then(|at| links.get(at)).map(|(_, link)| link)
    }

    /// Every region, by id.
    pub fn regions(&self) -> impl ExactSizeIterator<Item = &Region> {
        self.regions.iter()
    }

    /// The region of that id.
    pub fn region(&self, id: &RegionId) -> Option<&Region> {
        self.regions.get(self.index(id)?)
    }

    /// Every direction of every link, by (from, to).
    pub fn links(&self) -> impl Iterator<Item = (&RegionId, &RegionId, &Link)> {
        self.regions
            .iter()
            .zip(&self.links)
            .flat_map(|(from, links)| links.iter().filter_map(|(to, link)| Some((&from.id, &self.regions.get(*to)?.id, link))))
    }

    /// The cheapest way between two regions, both included: by cost, then by the number of regions, then by their ids.
    pub fn region_path(&self, from: &RegionId, to: &RegionId) -> Option<(u32, Vec<RegionId>)> {
        path::Paths::from(self, self.index(from)?).to(self.index(to)?)
    }

    /// Whether this document may take another's place.
    pub fn replaces(&self, old: &Self) -> Result<(), NotNewer> {
        if self.epoch > old.epoch { Ok(()) } else { Err(NotNewer { new: self.epoch, old: old.epoch }) }
    }

    fn index(&self, region: &RegionId) -> Option<usize> {
        self.regions.binary_search_by(|found| found.id.cmp(region)).ok()
    }
}

#[cfg(test)]
mod tests;
