//! The links of this node as the mesh sees them: who is at the other end, which flows go in and out, how much the neighbour may
//! still ask. Owns flow numbers; what a flow carries is `mesh::track`'s.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::id::{LinkId, NodeId, TrackId};
use crate::rtp::Layer;

/// How long a flow number rests before it names another layer: packets of the old one may still be under way. Longer needs larger
/// numbers, which take a byte more from 16,384 on.
const QUARANTINE: Duration = Duration::from_secs(30);

/// A budget that refills.
#[derive(Debug)]
pub(super) struct Allowance {
    left: f64,
    most: f64,
    per_second: f64,
    at: Instant,
}

impl Allowance {
    pub(super) const fn new(now: Instant, most: f64, per_second: f64) -> Self {
        Self { left: most, most, per_second, at: now }
    }

    /// Takes `amount` if it is there.
    pub(super) fn take(&mut self, now: Instant, amount: f64) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + passed * self.per_second).min(self.most);
        let enough = self.left >= amount;
        if enough {
            self.left -= amount;
        }
        enough
    }
}

/// The flow numbers of one link on which packets come in.
#[derive(Debug, Default)]
pub(super) struct Flows {
    carried: FxHashMap<u32, (TrackId, Layer)>,
    resting: VecDeque<(Instant, u32)>,
    next: u32,
}

impl Flows {
    pub(super) fn get(&self, flow: u32) -> Option<(TrackId, Layer)> {
        self.carried.get(&flow).copied()
    }

    pub(super) fn draw(&mut self, now: Instant, track: TrackId, layer: Layer) -> u32 {
        let rested = self.resting.front().is_some_and(|&(until, _)| until <= now);
        let flow = match self.resting.pop_front_if(|_| rested) {
            Some((_, flow)) => flow,
            None => {
                self.next = self.next.wrapping_add(1);
                self.next - 1
            }
        };
        self.carried.insert(flow, (track, layer));
        flow
    }

    pub(super) fn free(&mut self, now: Instant, flow: u32) {
        if self.carried.remove(&flow).is_some() {
            self.resting.push_back((now + QUARANTINE, flow));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.carried.len() + self.resting.len()
    }
}

/// One link that is up.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
    /// The neighbour takes no new subscriptions.
    pub(super) goaway: bool,
    /// The topology does not want it any more; it is closed then at the latest.
    pub(super) unwanted: Option<Instant>,
    /// The epoch of the document that the neighbour has or was sent.
    pub(super) epoch: u64,
    pub(super) flows_in: Flows,
    /// The flows on which this node sends.
    pub(super) flows_out: FxHashMap<u32, (TrackId, Layer)>,
    /// Tracks that the neighbour gets from here.
    pub(super) children: usize,
    pub(super) states: Allowance,
    pub(super) subscribes: Allowance,
    pub(super) rooms: Allowance,
    pub(super) documents: Allowance,
}

/// The links by their number and by who is at the other end.
#[derive(Debug, Default)]
pub(super) struct Links {
    all: BTreeMap<LinkId, Link>,
    by_node: BTreeMap<NodeId, LinkId>,
}

impl Links {
    pub(super) fn get(&self, link: LinkId) -> Option<&Link> {
        self.all.get(&link)
    }

    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.all.get_mut(&link)
    }

    pub(super) fn to(&self, node: &NodeId) -> Option<LinkId> {
        self.by_node.get(node).copied()
    }

    pub(super) fn insert(&mut self, id: LinkId, link: Link) {
        self.by_node.insert(link.node.clone(), id);
        self.all.insert(id, link);
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.all.remove(&id)?;
        if self.by_node.get(&link.node) == Some(&id) {
            self.by_node.remove(&link.node);
        }
        Some(link)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.all.iter().map(|(id, link)| (*id, link))
    }

    pub(super) fn ids(&self) -> Vec<LinkId> {
        self.all.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_number_rests_before_it_is_used_again() {
        let start = Instant::now();
        let mut flows = Flows::default();
        let first = flows.draw(start, TrackId(1), Layer(0));
        flows.free(start, first);
        assert_eq!(flows.get(first), None);
        assert_ne!(flows.draw(start + QUARANTINE / 2, TrackId(2), Layer(0)), first);
        assert_eq!(flows.draw(start + QUARANTINE, TrackId(3), Layer(0)), first);
    }

    #[test]
    fn an_allowance_refills_up_to_its_most() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start, 2.0, 1.0);
        assert!(allowance.take(start, 1.0) && allowance.take(start, 1.0) && !allowance.take(start, 1.0));
        let later = start + Duration::from_secs(60);
        assert!(allowance.take(later, 2.0) && !allowance.take(later, 0.5));
    }
}
