//! What is measured of one outgoing stream on this hop: what was sent, and what the receiver says of it. Owns the counting; `downlink`
//! feeds it, statistics and quality are made from it.

use std::time::{Duration, Instant};

use crate::rtp::rtcp::ReportBlock;

/// Reports older than this say nothing of now: a stream that stands still is not reported on.
const FRESH: Duration = Duration::from_secs(5);

/// One stream's figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    measured: Option<(Instant, u32)>,
    /// Payload sent, in bits per second, between the last two measurements.
    pub bps: u32,
    /// What the receiver said last of what it lost, as a share of 1, and when.
    loss: f32,
    jitter: Duration,
    heard: Option<Instant>,
    /// Keyframes it asked for so far.
    pub keyframes: u32,
}

impl Figures {
    /// Takes in what the receiver reports. `clock` is that of the stream's timestamps, in hertz.
    pub(super) fn heard(&mut self, now: Instant, block: &ReportBlock, clock: u32) {
        self.loss = f32::from(block.fraction_lost) / 256.0;
        self.jitter = Duration::from_secs_f64(f64::from(block.jitter) / f64::from(clock.max(1))).min(Duration::from_secs(10));
        self.heard = Some(now);
    }

    /// Measures what went out since the last time; `octets` counts from the stream's beginning and wraps.
    pub(super) fn measure(&mut self, now: Instant, octets: u32) {
        if let Some((since, before)) = self.measured {
            let passed = now.saturating_duration_since(since);
            if passed < Duration::from_millis(100) {
                return;
            }
            self.bps = (f64::from(octets.wrapping_sub(before)) * 8.0 / passed.as_secs_f64()) as u32;
        }
        self.measured = Some((now, octets));
    }

    /// Loss as a share of 1 and jitter, if they are of now.
    pub fn reception(&self, now: Instant) -> Option<(f32, Duration)> {
        let fresh = self.heard.is_some_and(|heard| now.saturating_duration_since(heard) <= FRESH);
        fresh.then_some((self.loss, self.jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_window_and_reports_grow_old() {
        let start = Instant::now();
        let mut figures = Figures::default();
        figures.measure(start, u32::MAX - 999);
        figures.measure(start + Duration::from_secs(2), 249_000);
        assert_eq!(figures.bps, 1_000_000);
        figures.measure(start + Duration::from_secs(4), 249_000);
        assert_eq!(figures.bps, 0);
        let block = ReportBlock { fraction_lost: 64, jitter: 900, ..ReportBlock::default() };
        figures.heard(start, &block, 90_000);
        assert_eq!(figures.reception(start), Some((0.25, Duration::from_millis(10))));
        assert_eq!(figures.reception(start + FRESH * 2), None);
    }
}
