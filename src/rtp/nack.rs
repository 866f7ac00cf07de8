//! Which packets of a received stream are missing, and when to ask for them. Owns the list and its limits; `rtp::receive`
//! feeds it, the peer sends what it names.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// NACKs of one stream are at least this far apart. Raising it saves packets and delays repair.
const BATCH: Duration = Duration::from_millis(20);
/// A gap this young may still be reordering.
const REORDER: Duration = Duration::from_millis(5);
/// Asking again sooner would ask for what is on its way; of use when the round trip is not known or tiny.
const MIN_RETRY: Duration = Duration::from_millis(20);
/// How often a packet is asked for.
const MAX_TRIES: u8 = 10;
/// A packet missing for longer comes too late to be shown.
const MAX_AGE: Duration = Duration::from_millis(1_000);
/// More than this missing at once is no longer repaired.
const MAX_MISSING: usize = 256;

/// The missing packets of one stream.
#[derive(Debug, Default)]
pub(super) struct Nacks {
    /// In order of their numbers.
    missing: VecDeque<Gap>,
    last_batch: Option<Instant>,
    /// When the first of them is due.
    next: Option<Instant>,
    /// Something was given up that no keyframe has healed.
    broken: bool,
    /// What is missing next was left unread on purpose.
    left: bool,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    seq: u64,
    since: Instant,
    due: Instant,
    tries: u8,
}

impl Nacks {
    /// The numbers from `first` up to, but not with, `end` were jumped over.
    pub(super) fn missed(&mut self, first: u64, end: u64, now: Instant) {
        if first < end && std::mem::take(&mut self.left)
            || end - first > (MAX_MISSING - self.missing.len().min(MAX_MISSING)) as u64
        {
            // So much loss is not repaired packet by packet: a keyframe is cheaper.
            self.abandon();
            return;
        }
        let due = now + REORDER;
        self.missing.extend((first..end).map(|seq| Gap { seq, since: now, due, tries: 0 }));
        if !self.missing.is_empty() {
            self.next = Some(self.next.map_or(due, |next| next.min(due)));
        }
    }

    /// A packet came after all.
    pub(super) fn found(&mut self, seq: u64) {
        if let Ok(index) = self.missing.binary_search_by_key(&seq, |gap| gap.seq) {
            self.missing.remove(index);
        }
        if self.missing.is_empty() {
            self.next = None;
        }
    }

    /// A keyframe starts at `seq`: what is older is not needed any more.
    pub(super) fn keyframe(&mut self, seq: u64) {
        let older = self.missing.partition_point(|gap| gap.seq < seq);
        self.missing.drain(..older);
        self.broken = false;
        if self.missing.is_empty() {
            self.next = None;
        }
    }

    /// Gives up everything; only a keyframe helps.
    pub(super) fn abandon(&mut self) {
        self.missing.clear();
        self.next = None;
        self.broken = true;
    }

    /// Packets come that nobody has time to read: nothing is asked for, nor will they be.
    pub(super) fn leave(&mut self) {
        self.abandon();
        self.left = true;
    }

    /// Whether something was given up since the last keyframe.
    pub(super) const fn broken(&self) -> bool {
        self.broken
    }

    /// When [`Self::poll`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = self.next?;
        Some(self.last_batch.map_or(next, |last| next.max(last + BATCH)))
    }

    /// Appends the numbers to ask for now, in order.
    pub(super) fn poll(&mut self, now: Instant, rtt: Duration, lost: &mut Vec<u16>) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let retry = rtt.max(MIN_RETRY);
        let before = self.missing.len();
        // Even if it left at once, the answer would need a round trip.
        self.missing.retain(|gap| gap.tries < MAX_TRIES && now.saturating_duration_since(gap.since) + rtt / 2 <= MAX_AGE);
        self.broken |= self.missing.len() < before;
        self.next = None;
        for gap in &mut self.missing {
            if gap.due <= now {
                gap.tries += 1;
                gap.due = now + retry;
                lost.push(gap.seq as u16);
                self.last_batch = Some(now);
            }
            self.next = Some(self.next.map_or(gap.due, |next| next.min(gap.due)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    /// Polls as a peer does, whenever the deadline has come, and tells what was asked for and when.
    fn run(nacks: &mut Nacks, start: Instant, until: u64, rtt: Duration) -> Vec<(u64, Vec<u16>)> {
        let mut asked = Vec::new();
        while let Some(deadline) = nacks.deadline().filter(|deadline| *deadline <= start + Duration::from_millis(until)) {
            let mut lost = Vec::new();
            nacks.poll(deadline, rtt, &mut lost);
            if !lost.is_empty() {
                asked.push(((deadline - start).as_millis() as u64, lost));
            }
        }
        asked
    }

    #[test]
    fn a_missing_packet_is_asked_for_once_per_round_trip_until_too_late() {
        let (mut nacks, start) = (Nacks::default(), Instant::now());
        nacks.missed(7, 8, start);
        let asked = run(&mut nacks, start, 60_000, RTT);
        assert_eq!(asked.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [5, 105, 205, 305, 405, 505, 605, 705, 805, 905]);
        assert!(nacks.broken() && nacks.deadline().is_none());
        nacks.keyframe(20);
        assert!(!nacks.broken());
    }

    #[test]
    fn tries_are_bounded_where_the_round_trip_is_short() {
        let (mut nacks, start) = (Nacks::default(), Instant::now());
        nacks.missed(7, 8, start);
        assert_eq!(run(&mut nacks, start, 60_000, Duration::from_millis(1)).len(), 10);
        assert!(nacks.broken());
    }

    #[test]
    fn gaps_of_one_batch_share_a_nack_and_reordering_is_waited_for() {
        let (mut nacks, start) = (Nacks::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        nacks.missed(10, 12, start);
        nacks.found(10);
        assert_eq!(run(&mut nacks, start, 6, RTT), [(5, vec![11])]);
        nacks.missed(20, 21, at(8));
        nacks.missed(22, 24, at(12));
        assert_eq!(run(&mut nacks, start, 50, RTT), [(25, vec![20, 22, 23])]);
        nacks.keyframe(23);
        nacks.found(23);
        assert_eq!((nacks.deadline(), nacks.broken()), (None, false));
    }

    #[test]
    fn a_flood_of_loss_is_given_up() {
        let (mut nacks, start) = (Nacks::default(), Instant::now());
        nacks.missed(0, 200, start);
        assert!(!nacks.broken());
        nacks.missed(300, 400, start);
        assert!(nacks.broken() && nacks.deadline().is_none());
    }

    #[test]
    fn what_was_left_unread_is_not_asked_for() {
        let (mut nacks, now, mut lost) = (Nacks::default(), Instant::now(), Vec::new());
        nacks.missed(10, 12, now);
        nacks.leave();
        nacks.missed(15, 15, now);
        nacks.missed(16, 40, now);
        nacks.poll(now + RTT, RTT, &mut lost);
        assert!(lost.is_empty() && nacks.broken(), "{lost:?}");
        nacks.missed(50, 51, now + RTT);
        nacks.poll(now + RTT * 2, RTT, &mut lost);
        assert_eq!(lost, [50], "what is lost later is");
    }
}
