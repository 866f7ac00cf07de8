//! Whom to keep a link to, and when to try again. Pure: the connecting is `quic::handshake`'s.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::id::{NodeId, RegionId};

/// Before the second try.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Between tries to a neighbour that stays away. Longer is kinder to it when it comes back and finds everybody calling.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Neighbours that are wanted.
#[derive(Debug, Default)]
pub(super) struct Dials {
    wanted: BTreeMap<NodeId, Dial>,
}

#[derive(Debug)]
struct Dial {
    region: RegionId,
    addr: String,
    state: State,
    /// Tries that failed since the last link.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be tried at that time.
    Waiting(Instant),
    Trying,
    /// There is a link, whoever dialed it.
    Linked,
}

/// A try that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub node: NodeId,
    pub region: RegionId,
    pub addr: String,
}

impl Dials {
    /// Wants a neighbour. Nothing changes if it is wanted at that address already.
    pub(super) fn want(&mut self, now: Instant, node: NodeId, region: RegionId, addr: String, linked: bool) {
        let state = if linked { State::Linked } else { State::Waiting(now) };
        let fresh = Dial { region, addr, state, failures: 0 };
        let dial =
            self.wanted.entry(node).or_insert_with(|| Dial { addr: fresh.addr.clone(), region: fresh.region.clone(), ..fresh });
        if dial.addr != fresh.addr {
            dial.addr = fresh.addr;
            if dial.state != State::Linked {
                // A try that is under way ends by itself; the address may be right this time.
                dial.state = State::Waiting(now);
            }
        }
        dial.region = fresh.region;
    }

    /// Wants it no more.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.wanted.remove(node);
    }

    /// Tries that are due; each is under way from now on.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        for (node, dial) in &mut self.wanted {
            if matches!(dial.state, State::Waiting(at) if at <= now) {
                dial.state = State::Trying;
                due.push(Due { node: node.clone(), region: dial.region.clone(), addr: dial.addr.clone() });
            }
        }
        due
    }

    /// There is a link to it.
    pub(super) fn linked(&mut self, node: &NodeId) {
        if let Some(dial) = self.wanted.get_mut(node) {
            dial.state = State::Linked;
        }
    }

    /// The link is gone, or a try failed. `jitter` from 0 to 1 keeps neighbours from calling all at once. Says how many tries
    /// have failed in a row.
    pub(super) fn failed(&mut self, now: Instant, node: &NodeId, jitter: f64) -> u32 {
        let Some(dial) = self.wanted.get_mut(node) else { return 0 };
        let wait = FIRST_WAIT.saturating_mul(1 << dial.failures.min(10)).min(LONGEST_WAIT);
        dial.state = State::Waiting(now + wait.mul_f64(0.5 + jitter / 2.0));
        dial.failures += 1;
        dial.failures
    }

    /// The link lasted: the next loss of it is tried at once.
    pub(super) fn lasted(&mut self, node: &NodeId) {
        if let Some(dial) = self.wanted.get_mut(node) {
            dial.failures = 0;
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.wanted.values().filter_map(|dial| match dial.state {
            State::Waiting(at) => Some(at),
            State::Trying | State::Linked => None,
        });
        waiting.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeId {
        NodeId::new("a")
    }

    fn want(dials: &mut Dials, now: Instant, addr: &str) {
        dials.want(now, node(), RegionId::new("r"), addr.into(), false);
    }

    #[test]
    fn a_neighbour_that_stays_away_is_tried_less_and_less_but_for_ever() {
        let mut now = Instant::now();
        let start = now;
        let mut dials = Dials::default();
        want(&mut dials, now, "a:1");
        let mut tries = 0;
        while now < start + Duration::from_secs(60) {
            if !dials.due(now).is_empty() {
                assert_eq!(dials.due(now), [], "one try at a time");
                want(&mut dials, now, "a:1");
                assert_eq!(dials.due(now), [], "asking again changes nothing");
                tries += 1;
                dials.failed(now, &node(), 1.0);
            }
            now = dials.deadline().expect("it is tried again");
        }
        assert!((30..40).contains(&tries), "{tries}");
    }

    #[test]
    fn another_address_is_tried_at_once() {
        let now = Instant::now();
        let mut dials = Dials::default();
        want(&mut dials, now, "a:1");
        dials.due(now);
        for _ in 0..10 {
            dials.failed(now, &node(), 0.5);
        }
        assert_eq!(dials.due(now), []);
        want(&mut dials, now, "b:1");
        assert_eq!(dials.due(now)[0].addr, "b:1");
    }

    #[test]
    fn a_linked_or_unwanted_neighbour_is_left_alone() {
        let now = Instant::now();
        let mut dials = Dials::default();
        want(&mut dials, now, "a:1");
        dials.linked(&node());
        assert_eq!((dials.due(now), dials.deadline()), (vec![], None));
        dials.lasted(&node());
        dials.failed(now, &node(), 1.0);
        assert_eq!(dials.deadline(), Some(now + FIRST_WAIT));
        dials.forget(&node());
        assert_eq!(dials.deadline(), None);
        assert_eq!(dials.failed(now, &node(), 1.0), 0);
    }
}
