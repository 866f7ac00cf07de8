//! When pictures come, and when they stand still, told from the numbers and timestamps in RTP headers: a picture behind a gap waits
//! for what lacks, or for a keyframe. The rule is that of a browser's `freezeCount` (W3C webrtc-stats). Pure; `subscriber` calls it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::rtp::sequence::newer32;

/// Frames before anything is a freeze: until then nobody knows how often they come.
const LEARN: u32 = 5;
/// How much of the mean is the latest gap.
const WEIGHT: u32 = 10;
/// A freeze is longer than the mean by this.
const BEYOND: Duration = Duration::from_millis(150);
/// A picture that stands for so long does not come any more.
const STANDS: Duration = Duration::from_secs(1);

/// Packets that wait behind a gap at most; a stream that lacks more needs a keyframe.
const MOST_AHEAD: usize = 1_024;

/// Puts the packets of a stream in order.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The next that can be decoded.
    next: u64,
    /// Number and timestamp of what waits.
    ahead: BTreeMap<u64, u32>,
}

impl Order {
    /// A keyframe begins here; nothing before it matters.
    pub fn anew(&mut self, ext_seq: u64) {
        self.ahead = self.ahead.split_off(&ext_seq);
        self.next = ext_seq;
    }

    /// A packet came. `shown` is called with the timestamp of each that can be decoded now; with none of them while a keyframe is
    /// looked for.
    pub fn take(&mut self, ext_seq: u64, timestamp: u32, seeks: bool, mut shown: impl FnMut(u32)) {
        if seeks || ext_seq > self.next {
            if self.ahead.len() == MOST_AHEAD {
                self.ahead.pop_first();
            }
            self.ahead.insert(ext_seq, timestamp);
        } else if ext_seq == self.next {
            shown(timestamp);
            self.next += 1;
            while let Some(timestamp) = self.ahead.remove(&self.next) {
                shown(timestamp);
                self.next += 1;
            }
        }
    }
}

/// The frames of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    last: Option<(Instant, u32)>,
    mean: Duration,
    gaps: u32,
}

impl Frames {
    /// A packet with this timestamp came. `Some` if it begins a frame, with how long the picture before it stood if that was
    /// a freeze.
    pub fn came(&mut self, now: Instant, timestamp: u32) -> Option<Option<Duration>> {
        let Some((at, before)) = self.last else {
            self.last = Some((now, timestamp));
            return Some(None);
        };
        if !newer32(timestamp, before) {
            return None;
        }
        self.last = Some((now, timestamp));
        let gap = now.saturating_duration_since(at);
        let frozen = self.gaps >= LEARN && gap > (self.mean * 3).max(self.mean + BEYOND);
        if !frozen {
            self.gaps = self.gaps.saturating_add(1);
            let weight = WEIGHT.min(self.gaps);
            self.mean = (self.mean * (weight - 1) + gap) / weight;
        }
        Some(frozen.then_some(gap))
    }

    /// What comes next is no measure of what was before: another picture, or one that was not wanted for a while.
    pub const fn pause(&mut self) {
        self.last = None;
        self.gaps = 0;
    }

    /// Whether the picture has stood for long.
    pub fn stands(&self, now: Instant) -> bool {
        self.last.is_some_and(|(at, _)| now.saturating_duration_since(at) > STANDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn a_gap_beyond_three_frames_and_150_ms_is_a_freeze() {
        let (mut frames, start) = (Frames::default(), Instant::now());
        for frame in 0..50u32 {
            let now = start + ms(40) * frame;
            assert_eq!(frames.came(now, frame * 3_600), Some(None));
            assert_eq!(frames.came(now, frame * 3_600), None, "the next packet of the same frame");
        }
        let last = start + ms(40 * 49);
        assert_eq!(frames.came(last + ms(185), 50 * 3_600), Some(None));
        assert_eq!(frames.came(last + ms(185 + 210), 51 * 3_600), Some(Some(ms(210))));
        assert!(!frames.stands(last + ms(1_300)) && frames.stands(last + ms(1_500)));
    }

    #[test]
    fn what_is_behind_a_gap_waits_for_what_lacks_or_for_a_keyframe() {
        let mut order = Order::default();
        let mut take = |ext_seq, seeks, anew: bool| -> Vec<u32> {
            let mut shown = Vec::new();
            if anew {
                order.anew(ext_seq);
            }
            order.take(ext_seq, ext_seq as u32, seeks, |timestamp| shown.push(timestamp));
            shown
        };
        assert!(take(11, true, false).is_empty(), "a keyframe is looked for");
        assert_eq!(take(10, false, true), [10, 11], "it was there already");
        assert_eq!((take(13, false, false), take(14, false, false)), (vec![], vec![]));
        assert_eq!(take(12, false, false), [12, 13, 14]);
        assert!(take(12, false, false).is_empty(), "an old one");
        assert_eq!((take(16, false, false), take(20, false, true)), (vec![], vec![20]));
    }

    #[test]
    fn what_was_not_wanted_is_no_freeze() {
        let (mut frames, start) = (Frames::default(), Instant::now());
        for frame in 0..20u32 {
            frames.came(start + ms(40) * frame, frame * 3_600);
        }
        frames.pause();
        assert_eq!(frames.came(start + ms(9_000), 700_000), Some(None));
        assert!(!frames.stands(start + ms(9_500)));
    }

    #[test]
    fn a_slow_picture_is_no_frozen_one() {
        let (mut frames, start) = (Frames::default(), Instant::now());
        let freezes = (0..100u32).filter(|frame| frames.came(start + ms(200) * *frame, frame * 18_000) == Some(Some(ms(200))));
        assert_eq!(freezes.count(), 0);
    }
}
