//! When each peer of a shard wants to be woken, or each of whatever else many of live on one thread. Owns an ordered queue with at most a few entries per peer, so that thousands
//! of idle peers cost nothing per packet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::router::PeerKey;

/// Deadlines of peers, soonest first. Entries that were overtaken are skipped when their time comes.
#[derive(Debug)]
pub struct Timers<K = PeerKey> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Default for Timers<K> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new() }
    }
}

impl<K: Ord> Timers<K> {
    /// Sees to it that `peer` comes up at `deadline`. `armed` is the peer's soonest entry, kept with the peer.
    pub fn arm(&mut self, peer: K, deadline: Option<Instant>, armed: &mut Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if armed.is_none_or(|armed| deadline < armed) {
            *armed = Some(deadline);
            self.heap.push(Reverse((deadline, peer)));
        }
    }

    /// When the next one comes up.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes a peer that is due. The caller forgets its `armed` when it equals the time given.
    pub fn due(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_later_deadline_adds_no_entry_and_a_sooner_one_comes_first() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let (mut timers, mut armed) = (Timers::default(), None);
        timers.arm(PeerKey(1), Some(at(50)), &mut armed);
        timers.arm(PeerKey(1), Some(at(80)), &mut armed);
        timers.arm(PeerKey(1), None, &mut armed);
        assert_eq!(timers.heap.len(), 1);
        timers.arm(PeerKey(1), Some(at(20)), &mut armed);
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(timers.due(at(10)), None);
        assert_eq!(timers.due(at(20)), Some((at(20), PeerKey(1))));
    }
}
