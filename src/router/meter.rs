//! What a layer takes, measured as it comes in: in each cut of it, and how many frames a second those have. Owns the measuring of
//! one layer; what to make of it is `policy::layers`'s.

use std::time::{Duration, Instant};

use crate::rtp::{Cut, Cuts, Packet};
use crate::units::Bitrate;

/// Over how long is measured. Shorter notices sooner that a layer grew, and takes a keyframe for growth.
const WINDOW: Duration = Duration::from_secs(1);

/// A window that took longer had a pause in it and says nothing.
const BROKEN: Duration = Duration::from_secs(3);

/// Of a keyframe's bytes, one in so many counts. Each switch brings one, several times as large as what follows, and it is spread
/// over time when it is sent: counted in full, it would have the layer that it starts given up at once.
const KEYFRAME: usize = 4;

/// How much of a change one window takes over, in parts: half of what it grew, a quarter of what it fell. So an encoder's swings
/// are no news, and a screen share that stands still for a moment is not taken for one that will fit anywhere.
const TAKEN: (u64, u64) = (2, 4);

/// The figures of the latest windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// By [`Cut::index`].
    pub(super) rates: [Bitrate; Cut::COUNT],
    /// Per second, with temporal layers up to each.
    pub(super) frames: [u32; Cut::LAYERS as usize],
    /// The highest layers that were ever there.
    pub(super) largest: Cut,
}

#[derive(Debug, Default)]
pub(super) struct Meter {
    since: Option<Instant>,
    bytes: [u64; Cut::COUNT],
    frames: [u32; Cut::LAYERS as usize],
    largest: Option<Cut>,
    /// The timestamp of the latest keyframe: its other packets don't say what they are of.
    keyframe: Option<u32>,
    measured: Option<Measured>,
}

impl Meter {
    /// Counts a packet.
    pub(super) fn record(&mut self, now: Instant, packet: &Packet) {
        let frame = &packet.frame;
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed >= WINDOW {
            self.close(passed);
            self.since = Some(now);
        }
        if frame.starts_keyframe {
            self.keyframe = Some(packet.timestamp);
        }
        let whole = packet.wire_size();
        let counted = if self.keyframe == Some(packet.timestamp) { whole / KEYFRAME } else { whole };
        for (index, bytes) in self.bytes.iter_mut().enumerate() {
            *bytes += (u64::from(frame.cuts.0) >> index & 1) * counted as u64;
        }
        if frame.cuts != Cuts::ALL {
            let largest = self.largest.get_or_insert(Cut::BASE);
            largest.spatial = largest.spatial.max(frame.spatial.min(Cut::ALL.spatial));
            largest.temporal = largest.temporal.max(frame.temporal.min(Cut::ALL.temporal));
        }
        if frame.starts_frame && frame.spatial == 0 {
            for frames in self.frames.iter_mut().skip(usize::from(frame.temporal)) {
                *frames += 1;
            }
        }
    }

    fn close(&mut self, passed: Duration) {
        let (bytes, frames) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.frames));
        if passed > BROKEN {
            return;
        }
        let per_second = |count: u64| (count as f64 / passed.as_secs_f64()).round() as u64;
        let mut rates = bytes.map(|bytes| Bitrate(per_second(bytes * 8)));
        if let Some(before) = self.measured {
            for (rate, before) in rates.iter_mut().zip(before.rates) {
                let (new, old) = (rate.0, before.0);
                *rate = Bitrate(if new > old { old + (new - old) / TAKEN.0 } else { old - (old - new) / TAKEN.1 });
            }
        }
        let frames = frames.map(|count| per_second(count.into()) as u32);
        self.measured = Some(Measured { rates, frames, largest: self.largest.unwrap_or(Cut::BASE) });
    }

    pub(super) const fn measured(&self) -> Option<&Measured> {
        self.measured.as_ref()
    }

    /// What all of it takes.
    pub(super) fn whole(&self) -> Option<Bitrate> {
        self.measured.and_then(|measured| measured.rates.last().copied())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::rtp::{Codec, Extensions, FrameInfo, OVERHEAD};

    fn packet(arrival: Instant, index: u64, frame: FrameInfo, bytes: usize) -> Packet {
        let payload = Bytes::from(vec![0; bytes - OVERHEAD]);
        let timestamp = index as u32 * 3_000;
        let (codec, ext) = (Codec::Vp8, Extensions::default());
        Packet { arrival, codec, seq: index, timestamp, marker: true, ext, frame, payload }
    }

    #[test]
    fn each_cut_is_measured_and_a_pause_is_no_rate() {
        let mut now = Instant::now();
        let mut meter = Meter::default();
        let mut play = |meter: &mut Meter, frames: u64, bytes: usize| {
            for index in 0..frames {
                let temporal = [0, 2, 1, 2][index as usize % 4];
                let frame = FrameInfo { starts_frame: true, temporal, cuts: Cuts::from(0, temporal), ..FrameInfo::default() };
                meter.record(now, &packet(now, index, frame, bytes));
                now += Duration::from_micros(33_333);
            }
            now += Duration::from_secs(10);
        };
        play(&mut meter, 32, 1_000);
        let measured = *meter.measured().expect("a second has passed");
        assert_eq!(measured.largest, Cut { spatial: 0, temporal: 2 });
        assert_eq!(measured.frames, [8, 15, 30, 30]);
        let kbps = |temporal| measured.rates[Cut { spatial: 0, temporal }.index()].0 / 1_000;
        assert!(
            (60..=68).contains(&kbps(0)) && (116..=126).contains(&kbps(1)) && (236..=244).contains(&kbps(2)),
            "{measured:?}"
        );
        assert_eq!(meter.whole(), Some(measured.rates[2]));
        play(&mut meter, 32, 100);
        assert!(meter.whole() > Some(Bitrate::kbps(170)), "it falls slowly: {:?}", meter.whole());
        play(&mut meter, 1, 100);
        assert!(meter.whole() > Some(Bitrate::kbps(120)), "{:?}", meter.whole());
    }

    #[test]
    fn a_keyframe_is_not_taken_for_growth() {
        let mut now = Instant::now();
        let mut meter = Meter::default();
        for index in 0..150 {
            let starts_keyframe = index == 70;
            // As large as eight others, in eight packets of which only the first says what it is of.
            for part in 0..if starts_keyframe { 8 } else { 1 } {
                let frame = FrameInfo {
                    starts_frame: part == 0,
                    starts_keyframe: starts_keyframe && part == 0,
                    ..FrameInfo::default()
                };
                meter.record(now, &packet(now, index, frame, 1_000));
            }
            let whole = meter.whole().map_or(240, |whole| whole.0 / 1_000);
            assert!((235..=253).contains(&whole), "{whole} kbps at frame {index}");
            now += Duration::from_micros(33_333);
        }
    }
}
