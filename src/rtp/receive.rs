//! One incoming stream: one SSRC of one publisher. Owns its numbering, duplicate detection, loss and jitter for receiver
//! reports, the sender's reports about it, and what to ask for again. Pure: told the time, and polled by `deadline()`.
//! Peers hold one per SSRC and feed it the media's own numbers, RTX already taken apart (`rtp::rtx`).

use std::time::{Duration, Instant};

use super::clock::SenderClock;
use super::nack::Nacks;
use super::rtcp::{ReportBlock, SenderInfo};
use super::sequence::{MAX_DROPOUT, Unwrapper, Window, distance16, distance32};

/// How far back a packet may be late.
const MAX_MISORDER: u16 = 1_000;

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// As itself.
    Media,
    /// As a retransmission on its own SSRC: repaired, but lost all the same as far as reports go.
    Rtx,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is new; its extended sequence number.
    New(u64),
    /// It is new, and the sender has begun a new numbering with it: what was known of timestamps is void.
    Restarted(u64),
    /// It came before.
    Duplicate,
    /// Too late, or so far ahead that the next packet must confirm it.
    Stray,
}

/// The state of one incoming SSRC.
#[derive(Debug)]
pub struct ReceiveStream {
    ssrc: u32,
    clock_rate: u32,
    unwrapper: Unwrapper,
    seen: Window<32>,
    /// The number after one that jumped: should it come, the sender did begin anew.
    after_jump: Option<u16>,
    counts: Counts,
    jitter: Jitter,
    nacks: Option<Nacks>,
    report: Option<(SenderInfo, Instant)>,
}

/// For report blocks (RFC 3550 A.3).
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    first: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
}

impl ReceiveStream {
    /// `repair`: whether missing packets are asked for, as was negotiated.
    pub fn new(ssrc: u32, clock_rate: u32, repair: bool) -> Self {
        Self {
            ssrc,
            clock_rate,
            unwrapper: Unwrapper::default(),
            seen: Window::default(),
            after_jump: None,
            counts: Counts::default(),
            jitter: Jitter::default(),
            nacks: repair.then(Nacks::default),
            report: None,
        }
    }

    /// A packet of the stream came.
    pub fn receive(&mut self, now: Instant, seq: u16, timestamp: u32, via: Via) -> Received {
        let Some(highest) = self.unwrapper.highest() else {
            // A retransmission tells little about where the stream is.
            return if via == Via::Rtx { Received::Stray } else { Received::New(self.begin(now, seq, timestamp)) };
        };
        let ahead = distance16(highest as u16, seq);
        if ahead > 0 && ahead.unsigned_abs() > MAX_DROPOUT || ahead < 0 && ahead.unsigned_abs() > MAX_MISORDER {
            return self.jump(now, seq, timestamp, via);
        }
        let ext_seq = self.unwrapper.unwrap(seq);
        if !self.seen.insert(ext_seq) {
            return Received::Duplicate;
        }
        if let Some(nacks) = &mut self.nacks {
            if ext_seq > highest {
                nacks.missed(highest + 1, ext_seq, now);
            } else {
                nacks.found(ext_seq);
            }
        }
        if via == Via::Media {
            self.counts.received += 1;
            if ext_seq > highest {
                self.after_jump = None;
                self.jitter.record(now, timestamp, self.clock_rate);
            }
        }
        Received::New(ext_seq)
    }

    /// The packet `ext_seq` starts a keyframe: what is missing before it is not asked for any more.
    pub fn keyframe(&mut self, ext_seq: u64) {
        if let Some(nacks) = &mut self.nacks {
            nacks.keyframe(ext_seq);
        }
    }

    /// A packet of the stream came that nobody has time to read.
    pub fn leave(&mut self) {
        if let Some(nacks) = &mut self.nacks {
            nacks.leave();
        }
    }

    /// Whether packets were given up since the last keyframe: a new one is needed.
    pub fn broken(&self) -> bool {
        self.nacks.as_ref().is_some_and(Nacks::broken)
    }

    /// Appends the sequence numbers to ask for now, in order.
    pub fn nacks(&mut self, now: Instant, rtt: Duration, lost: &mut Vec<u16>) {
        if let Some(nacks) = &mut self.nacks {
            nacks.poll(now, rtt, lost);
        }
    }

    /// When [`Self::nacks`] has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        self.nacks.as_ref()?.deadline()
    }

    /// A sender report about the stream came.
    pub fn sender_report(&mut self, now: Instant, info: SenderInfo) {
        self.report = Some((info, now));
    }

    /// The stream's clock, once its sender has told.
    pub fn clock(&self) -> Option<SenderClock> {
        let (info, _) = self.report?;
        Some(SenderClock { ntp: info.ntp, rtp: info.timestamp, rate: self.clock_rate })
    }

    /// The block for the next receiver report, which the fraction lost is counted up to. `None` before any packet.
    pub fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let highest = self.unwrapper.highest()?;
        let counts = &mut self.counts;
        let expected = highest + 1 - counts.first;
        let expected_now = expected - counts.expected_before;
        let received_now = counts.received - counts.received_before;
        (counts.expected_before, counts.received_before) = (expected, counts.received);
        // Duplicates cannot make it negative, but packets from before the first one can.
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now * 256).checked_div(expected_now).unwrap_or(0);
        let (last_report, delay) = self.report.map_or((0, 0), |(info, at)| {
            let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            (info.ntp.middle(), u32::try_from(delay).unwrap_or(u32::MAX))
        });
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction.min(255) as u8,
            lost: (expected as i64 - counts.received as i64).clamp(-0x80_0000, 0x7F_FFFF) as i32,
            highest: (highest - Unwrapper::BASE) as u32,
            jitter: self.jitter.value(),
            last_report,
            delay,
        })
    }

    /// Its SSRC.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The first packet, of the stream or of a new numbering.
    fn begin(&mut self, now: Instant, seq: u16, timestamp: u32) -> u64 {
        let ext_seq = self.unwrapper.restart(seq);
        self.seen.insert(ext_seq);
        self.after_jump = None;
        self.counts = Counts { first: ext_seq, received: 1, ..Counts::default() };
        self.jitter = Jitter::default();
        self.jitter.record(now, timestamp, self.clock_rate);
        ext_seq
    }

    /// RFC 3550 A.1: one packet from nowhere is a stray, two in a row are a new beginning.
    fn jump(&mut self, now: Instant, seq: u16, timestamp: u32, via: Via) -> Received {
        if via == Via::Rtx {
            return Received::Stray;
        }
        if self.after_jump != Some(seq) {
            self.after_jump = Some(seq.wrapping_add(1));
            return Received::Stray;
        }
        if let Some(nacks) = &mut self.nacks {
            nacks.abandon();
        }
        self.report = None;
        Received::Restarted(self.begin(now, seq, timestamp))
    }
}

/// Interarrival jitter (RFC 3550 A.8), over first packets of frames: the others are spread out on purpose.
#[derive(Clone, Copy, Debug, Default)]
struct Jitter {
    last: Option<(Instant, u32)>,
    /// In 1/16 of timestamp units.
    scaled: u64,
}

impl Jitter {
    fn record(&mut self, now: Instant, timestamp: u32, clock_rate: u32) {
        if let Some((arrival, before)) = self.last {
            if before == timestamp {
                return;
            }
            let elapsed = now.saturating_duration_since(arrival).as_micros() as u64;
            let ticks = elapsed.saturating_mul(u64::from(clock_rate)) / 1_000_000;
            let difference = (ticks as i64).abs_diff(i64::from(distance32(before, timestamp)));
            // A pause of a source is not jitter of the network.
            if difference < u64::from(clock_rate) * 5 {
                self.scaled = self.scaled + difference - ((self.scaled + 8) >> 4);
            }
        }
        self.last = Some((now, timestamp));
    }

    const fn value(&self) -> u32 {
        (self.scaled >> 4) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::clock::NtpTime;

    const RTT: Duration = Duration::from_millis(50);

    fn stream() -> ReceiveStream {
        ReceiveStream::new(1, 90_000, true)
    }

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn loss_is_reported_since_the_start_and_since_the_last_report() {
        let (mut stream, now) = (stream(), Instant::now());
        assert_eq!(stream.report(now), None);
        for seq in (65_500u32..65_700).filter(|seq| seq % 10 != 3) {
            stream.receive(now, seq as u16, 0, Via::Media);
        }
        let report = stream.report(now).unwrap();
        assert_eq!((report.lost, report.fraction_lost, report.highest), (20, 25, 65_699));
        for seq in 164..264 {
            stream.receive(now, seq, 0, Via::Media);
        }
        // Repaired by RTX, or twice: no change to what the network lost.
        stream.receive(now, 163u16.wrapping_sub(30), 0, Via::Rtx);
        stream.receive(now, 200, 0, Via::Media);
        let report = stream.report(now).unwrap();
        assert_eq!((report.lost, report.fraction_lost), (20, 0));
    }

    #[test]
    fn duplicates_and_strays_are_told_apart() {
        let (mut stream, now) = (stream(), Instant::now());
        assert_eq!(stream.receive(now, 5, 0, Via::Rtx), Received::Stray);
        let Received::New(first) = stream.receive(now, 5, 0, Via::Media) else { panic!() };
        assert_eq!(stream.receive(now, 5, 0, Via::Media), Received::Duplicate);
        assert_eq!(stream.receive(now, 3, 0, Via::Media), Received::New(first - 2));
        assert_eq!(stream.receive(now, 30_000, 0, Via::Media), Received::Stray);
        assert_eq!(stream.receive(now, 6, 0, Via::Media), Received::New(first + 1));
        assert_eq!(stream.receive(now, 30_001, 0, Via::Media), Received::Stray);
        let Received::Restarted(again) = stream.receive(now, 30_002, 0, Via::Media) else { panic!() };
        assert!(again > first && again as u16 == 30_002);
        assert_eq!(stream.report(now).unwrap().lost, 0);
        assert!(stream.broken());
    }

    #[test]
    fn what_is_missing_is_asked_for_until_it_comes() {
        let (mut stream, start) = (stream(), Instant::now());
        stream.receive(start, 100, 0, Via::Media);
        stream.receive(start, 104, 0, Via::Media);
        let deadline = stream.deadline().unwrap();
        let mut lost = Vec::new();
        stream.nacks(deadline, RTT, &mut lost);
        assert_eq!(lost, [101, 102, 103]);
        assert!(matches!(stream.receive(deadline, 102, 0, Via::Rtx), Received::New(_)));
        lost.clear();
        stream.nacks(deadline + RTT, RTT, &mut lost);
        assert_eq!(lost, [101, 103]);
        let Received::New(key) = stream.receive(deadline, 105, 0, Via::Media) else { panic!() };
        stream.keyframe(key);
        assert_eq!((stream.deadline(), stream.broken()), (None, false));
    }

    #[test]
    fn reports_carry_the_senders_and_the_time_since() {
        let (mut stream, start) = (stream(), Instant::now());
        stream.receive(start, 1, 0, Via::Media);
        let info = SenderInfo { ntp: NtpTime(0x1111_2222_3333_4444), timestamp: 500, ..SenderInfo::default() };
        stream.sender_report(start, info);
        let report = stream.report(start + ms(1_500)).unwrap();
        assert_eq!((report.last_report, report.delay), (0x2222_3333, 98_304));
        assert_eq!(stream.clock().unwrap().timestamp_at(info.ntp.plus(ms(1_000))), 90_500);
    }

    #[test]
    fn jitter_is_of_frames_not_of_their_packets() {
        let (mut steady, mut shaky, start) = (stream(), stream(), Instant::now());
        for seq in 0..400u16 {
            let (frame, part) = (u64::from(seq / 4), u64::from(seq % 4));
            let (timestamp, sent) = (frame as u32 * 3_000, ms(frame * 100 / 3));
            steady.receive(start + sent + ms(part * 5), seq, timestamp, Via::Media);
            shaky.receive(start + sent + ms(frame % 2 * 10), seq, timestamp, Via::Media);
        }
        assert!(steady.report(start).unwrap().jitter < 90);
        let jitter = shaky.report(start).unwrap().jitter;
        assert!((800..1_000).contains(&jitter), "{jitter}");
    }

    proptest! {
        #[test]
        fn no_sequence_makes_it_panic_or_forget_a_duplicate(packets in prop::collection::vec((any::<u16>(), any::<bool>(), 0u64..50), 1..200)) {
            let (mut stream, mut now) = (stream(), Instant::now());
            let mut seen = std::collections::BTreeSet::new();
            for (seq, rtx, wait) in packets {
                now += ms(wait);
                let via = if rtx { Via::Rtx } else { Via::Media };
                // Near each other, mostly.
                let seq = if seq % 50 == 0 { seq } else { seq % 64 };
                if let Received::New(ext_seq) | Received::Restarted(ext_seq) = stream.receive(now, seq, u32::from(seq), via) {
                    prop_assert_eq!(ext_seq as u16, seq);
                    prop_assert!(seen.insert(ext_seq));
                }
                let mut lost = Vec::new();
                stream.nacks(now, RTT, &mut lost);
                prop_assert!(lost.len() <= 256);
                prop_assert!(stream.deadline().is_none_or(|deadline| deadline > now));
                stream.report(now);
            }
        }
    }
}
