//! Transport-wide feedback, both ends: [`Arrivals`] notes what a peer's packets brought and reports it, [`SentLog`] numbers
//! what we send and learns from the peer's reports what came of it. Estimating bandwidth is not done here; it is fed here.

mod sent;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use sent::{Heard, Outcome, SentLog};

use super::rtcp::transport;
use super::sequence::{MAX_DROPOUT, Unwrapper, distance16};

/// How long after the first unreported packet a report goes out. Raising it saves packets and makes the sender slower to
/// notice congestion; browsers use 50 to 250 ms.
const INTERVAL: Duration = Duration::from_millis(75);
/// How many packets one report speaks of at most, so that it fits a datagram.
const MAX_REPORTED: usize = 400;
/// How many reported packets are remembered, so that a late one is reported among its neighbours.
const REMEMBERED: usize = 512;
/// How many are kept if nobody takes the reports.
const MAX_KEPT: u64 = 8_192;

/// When packets of a peer arrived, by their transport-wide numbers.
#[derive(Debug, Default)]
pub struct Arrivals {
    unwrapper: Unwrapper,
    epoch: Option<Instant>,
    /// Microseconds since the epoch, from `first` on; the last is never `None`.
    times: VecDeque<Option<i64>>,
    first: u64,
    /// All below were reported.
    reported: u64,
    due: Option<Instant>,
    /// Of the next report.
    number: u8,
}

impl Arrivals {
    /// A packet with this number arrived.
    pub fn record(&mut self, seq: u16, now: Instant) {
        let epoch = *self.epoch.get_or_insert(now);
        let far = self.unwrapper.highest().is_some_and(|highest| {
            let ahead = distance16(highest as u16, seq);
            ahead.unsigned_abs() > MAX_DROPOUT
        });
        let ext_seq = if far { self.unwrapper.restart(seq) } else { self.unwrapper.unwrap(seq) };
        let unpolled = ext_seq >= self.first + MAX_KEPT;
        if far || unpolled || self.times.is_empty() {
            // Numbers between two beginnings are nobody's loss.
            self.times.clear();
            (self.first, self.reported) = (ext_seq, ext_seq);
        }
        let Some(index) = ext_seq.checked_sub(self.first) else { return };
        let index = index as usize;
        if self.times.len() <= index {
            self.times.resize(index + 1, None);
        }
        let Some(time @ None) = self.times.get_mut(index) else { return };
        *time = Some(now.saturating_duration_since(epoch).as_micros() as i64);
        self.reported = self.reported.min(ext_seq);
        let due = if self.pending() >= MAX_REPORTED { now } else { now + INTERVAL };
        self.due = Some(self.due.map_or(due, |already| already.min(due)));
    }

    /// When [`Self::feedback`] has something to say.
    pub const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Appends one report, if it is time for one. `media` is any SSRC of the peer's. Call it until it says false.
    pub fn feedback(&mut self, now: Instant, sender: u32, media: u32, buf: &mut Vec<u8>) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let skip = (self.reported - self.first) as usize;
        let unreported = self.times.range(skip.min(self.times.len())..).take(MAX_REPORTED).copied();
        let told = transport::write(buf, sender, media, self.reported as u16, self.number, unreported);
        self.number = self.number.wrapping_add(1);
        self.reported += told as u64;
        if self.pending() == 0 {
            self.due = None;
        }
        while self.first + (REMEMBERED as u64) < self.reported {
            self.times.pop_front();
            self.first += 1;
        }
        true
    }

    fn pending(&self) -> usize {
        (self.first + self.times.len() as u64 - self.reported) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::rtcp::{Rtcp, parse};
    use crate::units::Bitrate;

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    /// Every report that is due, read back: (number, arrived).
    fn reported(arrivals: &mut Arrivals, now: Instant) -> Vec<(u16, bool)> {
        let mut all = Vec::new();
        let mut buf = Vec::new();
        while arrivals.feedback(now, 1, 2, &mut buf) {
            assert!(buf.len() < 1_100, "{}", buf.len());
            for packet in parse(&buf) {
                let Ok(Rtcp::TransportFeedback(feedback)) = packet else { panic!() };
                all.extend(feedback.packets().map(|(seq, arrival)| (seq, arrival.is_some())));
            }
            buf.clear();
        }
        all
    }

    #[test]
    fn a_report_follows_the_first_arrival_and_tells_of_gaps() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        arrivals.record(65_534, start);
        arrivals.record(1, start + ms(10));
        assert_eq!(arrivals.deadline(), Some(start + INTERVAL));
        assert_eq!(reported(&mut arrivals, start + ms(74)), []);
        assert_eq!(reported(&mut arrivals, start + ms(75)), [(65_534, true), (65_535, false), (0, false), (1, true)]);
        assert_eq!(arrivals.deadline(), None);
        // A late one is told of with what came since; what follows starts where the last report ended.
        arrivals.record(0, start + ms(80));
        arrivals.record(3, start + ms(81));
        let expected = [(0, true), (1, true), (2, false), (3, true)];
        assert_eq!(reported(&mut arrivals, start + ms(300)), expected);
    }

    #[test]
    fn a_jump_is_no_loss() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        arrivals.record(1, start);
        arrivals.record(20_000, start);
        assert_eq!(reported(&mut arrivals, start + ms(100)), [(20_000, true)]);
    }

    #[test]
    fn a_fast_sender_is_reported_in_pieces() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        for seq in 0..1_000 {
            arrivals.record(seq, start + Duration::from_micros(u64::from(seq)));
        }
        assert!(arrivals.deadline().unwrap() < start + ms(1));
        assert_eq!(reported(&mut arrivals, start + ms(1)).len(), 1_000);
    }

    #[test]
    fn the_log_learns_loss_and_rate() {
        let start = Instant::now();
        let (mut log, mut arrivals) = (SentLog::new(start), Arrivals::default());
        let mut outcomes = Vec::new();
        // 1000 bytes every 10 ms; every fourth is lost. One way takes 30 ms.
        for step in 0..200u64 {
            let now = start + ms(step * 10);
            let seq = log.sent(now, 1_000);
            if step % 4 != 3 {
                arrivals.record(seq, now + ms(30));
            }
            let mut buf = Vec::new();
            while arrivals.feedback(now, 1, 2, &mut buf) {}
            for packet in parse(&buf) {
                let Ok(Rtcp::TransportFeedback(feedback)) = packet else { panic!() };
                log.feedback(now, &feedback, |outcome| outcomes.push(outcome));
            }
        }
        let now = start + ms(2_000);
        let loss = log.loss(now).unwrap();
        assert!((0.22..0.28).contains(&loss), "{loss}");
        let rate = log.acked(now).unwrap();
        assert!((Bitrate::kbps(550)..Bitrate::kbps(650)).contains(&rate), "{rate}");
        let first = outcomes[0];
        assert_eq!((first.sent, first.size), (start, 1_000));
        assert!(outcomes.windows(2).all(|pair| {
            let sent = (pair[1].sent - pair[0].sent).as_micros() as i64;
            (sent - 10_000).abs() <= 70
        }));
        assert_eq!((log.loss(now + ms(5_000)), log.acked(now + ms(5_000))), (None, None));
    }

    #[test]
    fn the_log_knows_what_is_on_its_way_and_what_was_passed_over() {
        let start = Instant::now();
        let (mut log, mut arrivals) = (SentLog::new(start), Arrivals::default());
        let mut report = |log: &mut SentLog, seqs: std::ops::Range<u64>| {
            for _ in seqs.clone() {
                let seq = log.sent(start, 100);
                arrivals.record(seq, start);
            }
            let mut buf = Vec::new();
            assert!(arrivals.feedback(start + ms(200), 1, 2, &mut buf));
            buf
        };
        let hear = |log: &mut SentLog, buf: &[u8]| {
            let Some(Ok(Rtcp::TransportFeedback(feedback))) = parse(buf).next() else { panic!() };
            let mut probes = Vec::new();
            let heard = log.feedback(start + ms(200), &feedback, |outcome| probes.push(outcome.probe));
            (heard.passed_over, log.in_flight(), probes)
        };
        let first = report(&mut log, 0..3);
        assert_eq!(log.in_flight(), 300);
        assert_eq!(hear(&mut log, &first), (0, 0, vec![0; 3]));
        let _lost = report(&mut log, 3..5);
        log.probe(7);
        let third = report(&mut log, 5..6);
        assert_eq!(log.in_flight(), 300);
        assert_eq!(hear(&mut log, &third), (200, 0, vec![7]));
    }

    proptest! {
        #[test]
        fn hostile_reports_change_nothing_but_rates(
            sent in 0usize..6_000,
            base: u16,
            arrivals in prop::collection::vec(prop::option::of(0i64..1_000_000), 1..100),
        ) {
            let start = Instant::now();
            let mut log = SentLog::new(start);
            for _ in 0..sent { log.sent(start, 100); }
            let mut buf = Vec::new();
            transport::write(&mut buf, 1, 2, base, 0, arrivals.into_iter());
            let Some(Ok(Rtcp::TransportFeedback(feedback))) = parse(&buf).next() else { panic!() };
            let mut told = 0;
            log.feedback(start, &feedback, |_| told += 1);
            prop_assert!(told <= usize::from(feedback.count).min(sent));
            let mut again = 0;
            log.feedback(start, &feedback, |_| again += 1);
            prop_assert_eq!(again, 0);
        }

        #[test]
        fn everything_that_arrives_is_reported(seqs in prop::collection::vec((0u16..600, 0u64..40), 1..300), start_seq: u16) {
            let (mut arrivals, mut now) = (Arrivals::default(), Instant::now());
            let mut unreported = std::collections::BTreeSet::new();
            let (mut lowest, mut seen) = (None, std::collections::BTreeSet::new());
            for (seq, wait) in seqs {
                now += ms(wait);
                let seq = seq.wrapping_add(start_seq);
                // What came before the first packet is not told of.
                let lowest = *lowest.get_or_insert(seq);
                if distance16(lowest, seq) >= 0 && seen.insert(seq) { unreported.insert(seq); }
                arrivals.record(seq, now);
                for (seq, arrived) in reported(&mut arrivals, now) {
                    if arrived { unreported.remove(&seq); }
                }
            }
            for (seq, arrived) in reported(&mut arrivals, now + ms(100)) {
                if arrived { unreported.remove(&seq); }
            }
            unreported.retain(|&seq| !arrivals_forgot(&arrivals, seq));
            prop_assert!(unreported.is_empty(), "{:?}", unreported);
        }
    }

    /// Whether `seq` is below what the log remembers.
    fn arrivals_forgot(arrivals: &Arrivals, seq: u16) -> bool {
        arrivals.unwrapper.peek(seq) < arrivals.first
    }
}
