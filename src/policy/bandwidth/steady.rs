//! The least of the last seconds of a rate: what a new layer has to fit into. Owns a ring of short stretches.

use std::time::{Duration, Instant};

/// How long a stretch is, and how many are kept: 3 s in all. More lets a better layer in later and keeps it longer.
const STRETCH: Duration = Duration::from_millis(250);
const STRETCHES: usize = 12;

/// The least of the latest stretches.
#[derive(Debug)]
pub(super) struct Steady {
    least: [f64; STRETCHES],
    current: usize,
    since: Instant,
}

impl Steady {
    pub(super) const fn new(now: Instant, rate: f64) -> Self {
        Self { least: [rate; STRETCHES], current: 0, since: now }
    }

    /// The rate is this now, and has been what was noted last until now.
    pub(super) fn note(&mut self, now: Instant, rate: f64) {
        let passed = now.saturating_duration_since(self.since).as_millis() / STRETCH.as_millis();
        if passed > 0 {
            for _ in 0..passed.min(STRETCHES as u128) {
                self.current = (self.current + 1) % STRETCHES;
                if let Some(least) = self.least.get_mut(self.current) {
                    *least = rate;
                }
            }
            self.since += STRETCH * passed.min(u128::from(u32::MAX)) as u32;
        }
        if let Some(least) = self.least.get_mut(self.current) {
            *least = least.min(rate);
        }
    }

    /// The path was seen to carry this: what was believed before did not know.
    pub(super) fn lift(&mut self, rate: f64) {
        for least in &mut self.least {
            *least = least.max(rate);
        }
    }

    pub(super) fn least(&self) -> f64 {
        self.least.iter().copied().fold(f64::MAX, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dip_is_remembered_for_three_seconds_unless_the_path_showed_better() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut steady = Steady::new(start, 5.0);
        steady.note(at(100), 2.0);
        steady.note(at(300), 5.0);
        for ms in (400..2_900).step_by(100) {
            steady.note(at(ms), 5.0);
            assert_eq!(steady.least(), 2.0, "{ms}");
        }
        steady.note(at(3_400), 5.0);
        assert_eq!(steady.least(), 5.0);
        steady.note(at(3_500), 1.0);
        steady.lift(4.0);
        assert_eq!(steady.least(), 4.0);
    }
}
