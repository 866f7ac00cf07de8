//! When pictures come, and when they stand still, told from the timestamps in RTP headers. The rule is that of a browser's
//! `freezeCount` (W3C webrtc-stats). Pure; `subscriber` calls it for each packet that belongs to a picture that can be shown.

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
