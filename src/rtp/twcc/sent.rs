//! What was sent to one peer under transport-wide numbers, and what its reports say came of it. Owns the log and the plain
//! sums of it; judging them is `policy::bandwidth`'s.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtp::rtcp::transport::TransportFeedback;
use crate::rtp::sequence::Unwrapper;
use crate::units::Bitrate;

/// How many sent packets are remembered.
const MAX_SENT: usize = 4_096;
/// What rates and loss are taken over.
const WINDOW: Duration = Duration::from_millis(1_000);
/// How many reports the window holds at most.
const MAX_SAMPLES: usize = 64;

/// What became of one packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its number, unwrapped.
    pub seq: u64,
    pub sent: Instant,
    pub size: u16,
    /// The probe it was part of; 0 is none.
    pub probe: u8,
    /// In microseconds of the receiver's clock; `None` if it was lost.
    pub arrival: Option<i64>,
}

/// What one report said beside the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Bytes of packets that the report passed over: an earlier report told of them and was lost.
    pub passed_over: u64,
}

/// The numbered packets on their way to one peer.
#[derive(Debug)]
pub struct SentLog {
    epoch: Instant,
    packets: VecDeque<Flight>,
    /// Number of the front.
    first: u64,
    /// Number of the first packet that no report has reached yet.
    unheard: u64,
    /// Bytes from `unheard` on.
    in_flight: u64,
    /// The probe that packets are part of now.
    probe: u8,
    /// Bytes and packets sent since that changed.
    probed: (u64, u32),
    samples: VecDeque<Sample>,
}

/// One packet, in eight bytes: there is one for each packet and subscriber.
#[derive(Clone, Copy, Debug)]
struct Flight {
    /// Since the epoch, in units of 2^-4 ms; wraps after three days.
    sent: u32,
    size: u16,
    probe: u8,
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
        Self {
            epoch: now,
            packets: VecDeque::new(),
            first: Unwrapper::BASE,
            unheard: Unwrapper::BASE,
            in_flight: 0,
            probe: 0,
            probed: (0, 0),
            samples: VecDeque::new(),
        }
    }

    /// A packet of `size` bytes is sent: its number.
    pub fn sent(&mut self, now: Instant, size: usize) -> u16 {
        if self.packets.len() == MAX_SENT {
            // Given up for lost, as nobody will ever tell.
            self.hear(self.first + 1);
            self.packets.pop_front();
            self.first += 1;
        }
        let seq = self.first + self.packets.len() as u64;
        let (sent, size) = (self.units(now), size.min(usize::from(u16::MAX)) as u16);
        self.packets.push_back(Flight { sent, size, probe: self.probe, state: State::Unknown });
        self.in_flight += u64::from(size);
        self.probed.0 += u64::from(size);
        self.probed.1 += 1;
        seq as u16
    }

    /// Packets from now on are part of this probe; 0 ends it.
    pub fn probe(&mut self, probe: u8) {
        if self.probe != probe {
            self.probe = probe;
            self.probed = (0, 0);
        }
    }

    /// Bytes and packets that were sent since the probe began.
    pub const fn probed(&self) -> (u64, u32) {
        self.probed
    }

    /// Bytes that no report has reached yet.
    pub const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// When the oldest packet left that no report has reached yet.
    pub fn waiting(&self) -> Option<Instant> {
        let flight = self.packets.get(self.unheard.checked_sub(self.first)? as usize)?;
        // Within three days of the epoch; later it is only older than it was.
        Some(self.epoch + Duration::from_micros(u64::from(flight.sent) * 125 / 2))
    }

    /// The peer reported. `outcome` hears of each packet once: when it arrived, or when it is first said to be lost; one
    /// that was reordered may be lost first and arrive later.
    pub fn feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>, mut outcome: impl FnMut(Outcome)) -> Heard {
        let mut sample = Sample { at: now, arrived: 0, lost: 0, bytes: 0 };
        let end = self.first + self.packets.len() as u64;
        let (epoch, now_units) = (self.epoch, self.units(now));
        // A report speaks of the past: its base is the nearest number below the next one.
        let back = u64::from((end as u16).wrapping_sub(feedback.base));
        let Some(base) = end.checked_sub(back) else { return Heard::default() };
        let heard = Heard { passed_over: self.hear(base) };
        self.hear(base + u64::from(feedback.count));
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
            let (size, probe) = (flight.size, flight.probe);
            outcome(Outcome { seq, sent: now.checked_sub(age).unwrap_or(epoch), size, probe, arrival });
        }
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        while self.samples.front().is_some_and(|oldest| now.saturating_duration_since(oldest.at) > WINDOW) {
            self.samples.pop_front();
        }
        heard
    }

    /// Reports have reached all below `until`: the bytes of those they had not reached before.
    fn hear(&mut self, until: u64) -> u64 {
        let until = until.min(self.first + self.packets.len() as u64);
        let range = self.unheard.saturating_sub(self.first)..until.saturating_sub(self.first);
        if range.start >= range.end {
            return 0;
        }
        let newly = self.packets.range(range.start as usize..range.end as usize);
        let bytes = newly.map(|flight| u64::from(flight.size)).sum();
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.unheard = until;
        bytes
    }

    /// The share of packets lost of late, of 1. `None` when nothing was reported of late.
    pub fn loss(&self, now: Instant) -> Option<f32> {
        let (arrived, lost) = self.recent(now).fold((0, 0), |(a, l), sample| (a + sample.arrived, l + sample.lost));
        (arrived + lost > 0).then(|| lost as f32 / (arrived + lost) as f32)
    }

    /// What arrives at the peer, of late. `None` when nothing was reported of late.
    pub fn acked(&self, now: Instant) -> Option<Bitrate> {
        // The oldest report speaks of time before the window: it only marks where the rest begin.
        let mut recent = self.recent(now);
        let start = recent.next()?.at;
        let (bytes, end) = recent.fold((0, start), |(bytes, _), sample| (bytes + sample.bytes, sample.at));
        let span = (end - start).as_micros() as u64;
        (span > 0).then(|| Bitrate(bytes * 8 * 1_000_000 / span))
    }

    fn recent(&self, now: Instant) -> impl Iterator<Item = &Sample> {
        self.samples.iter().skip_while(move |sample| now.saturating_duration_since(sample.at) > WINDOW)
    }

    fn units(&self, now: Instant) -> u32 {
        (now.saturating_duration_since(self.epoch).as_micros() * 2 / 125) as u32
    }
}
