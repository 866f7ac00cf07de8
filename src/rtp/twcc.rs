//! Transport-wide feedback, both ends: [`Arrivals`] notes what a peer's packets brought and reports it, [`SentLog`] numbers
//! what we send and learns from the peer's reports what came of it. Estimating bandwidth is not done here; it is fed here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rtcp::transport::{self, TransportFeedback};
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
/// How many sent packets are remembered.
const MAX_SENT: usize = 4_096;
/// What rates and loss are taken over.
const WINDOW: Duration = Duration::from_millis(1_000);
/// How many reports the window holds at most.
const MAX_SAMPLES: usize = 64;

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

/// What became of one packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub sent: Instant,
    pub size: u16,
    /// In microseconds of the receiver's clock; `None` if it was lost.
    pub arrival: Option<i64>,
}

/// The numbered packets on their way to one peer.
#[derive(Debug)]
pub struct SentLog {
    epoch: Instant,
    packets: VecDeque<Flight>,
    /// Number of the front.
    first: u64,
    samples: VecDeque<Sample>,
}

/// One packet, in eight bytes: there is one for each packet and subscriber.
#[derive(Clone, Copy, Debug)]
struct Flight {
    /// Since the epoch, in units of 2^-4 ms; wraps after three days.
    sent: u32,
    size: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Lost,
    Arrived,
}

/// What one report said.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    arrived: u32,
    lost: u32,
    bytes: u64,
}

impl SentLog {
    /// `now` is the time that the packets' are counted from.
    pub const fn new(now: Instant) -> Self {
        Self { epoch: now, packets: VecDeque::new(), first: Unwrapper::BASE, samples: VecDeque::new() }
    }

    /// A packet of `size` bytes is sent: its number.
    pub fn sent(&mut self, now: Instant, size: usize) -> u16 {
        if self.packets.len() == MAX_SENT {
            self.packets.pop_front();
            self.first += 1;
        }
        let seq = self.first + self.packets.len() as u64;
        let sent = self.units(now);
        self.packets.push_back(Flight { sent, size: size.min(usize::from(u16::MAX)) as u16, state: State::Unknown });
        seq as u16
    }

    /// The peer reported. `outcome` hears of each packet once: when it arrived, or when it is first said to be lost; one
    /// that was reordered may be lost first and arrive later.
    pub fn feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>, mut outcome: impl FnMut(Outcome)) {
        let mut sample = Sample { at: now, arrived: 0, lost: 0, bytes: 0 };
        let end = self.first + self.packets.len() as u64;
        let (epoch, now_units) = (self.epoch, self.units(now));
        // A report speaks of the past: its base is the nearest number below the next one.
        let back = u64::from((end as u16).wrapping_sub(feedback.base));
        let Some(base) = end.checked_sub(back) else { return };
        for (offset, (_, arrival)) in (0u64..).zip(feedback.packets()) {
            let seq = base + offset;
            if seq >= end {
                break;
            }
            let Some(index) = seq.checked_sub(self.first) else { continue };
            let Some(flight) = self.packets.get_mut(index as usize) else { continue };
            match (arrival, flight.state) {
                (Some(_), State::Unknown | State::Lost) => {
                    sample.arrived += 1;
                    sample.bytes += u64::from(flight.size);
                    flight.state = State::Arrived;
                }
                (None, State::Unknown) => {
                    sample.lost += 1;
                    flight.state = State::Lost;
                }
                (None, State::Lost) | (_, State::Arrived) => continue,
            }
            let age = Duration::from_micros(u64::from(now_units.wrapping_sub(flight.sent)) * 125 / 2);
            outcome(Outcome { sent: now.checked_sub(age).unwrap_or(epoch), size: flight.size, arrival });
        }
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        while self.samples.front().is_some_and(|oldest| now.saturating_duration_since(oldest.at) > WINDOW) {
            self.samples.pop_front();
        }
    }

    /// The share of packets lost of late, of 1. `None` when nothing was reported of late.
    pub fn loss(&self, now: Instant) -> Option<f32> {
        let (arrived, lost) = self.recent(now).fold((0, 0), |(a, l), sample| (a + sample.arrived, l + sample.lost));
        (arrived + lost > 0).then(|| lost as f32 / (arrived + lost) as f32)
    }

    /// What arrives at the peer, of late. `None` when nothing was reported of late.
    pub fn acked(&self, now: Instant) -> Option<crate::units::Bitrate> {
        // The oldest report speaks of time before the window: it only marks where the rest begin.
        let mut recent = self.recent(now);
        let start = recent.next()?.at;
        let (bytes, end) = recent.fold((0, start), |(bytes, _), sample| (bytes + sample.bytes, sample.at));
        let span = (end - start).as_micros() as u64;
        (span > 0).then(|| crate::units::Bitrate(bytes * 8 * 1_000_000 / span))
    }

    fn recent(&self, now: Instant) -> impl Iterator<Item = &Sample> {
        self.samples.iter().skip_while(move |sample| now.saturating_duration_since(sample.at) > WINDOW)
    }

    fn units(&self, now: Instant) -> u32 {
        (now.saturating_duration_since(self.epoch).as_micros() * 2 / 125) as u32
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
