//! What arrives at the receiver, in bits per second, by the receiver's own clock. Owns a sliding window over arrivals; a lost
//! report does not lower it, since the caller counts what it passed over to its neighbours.

use std::collections::VecDeque;

/// What the rate is taken over, in microseconds. More is steadier, and later to see that a path became narrow.
const WINDOW: i64 = 400_000;
/// Less than this says nothing: a burst has any rate.
const LEAST: i64 = 150_000;
/// Arrivals so close are one entry.
const TOGETHER: i64 = 4_000;
/// An arrival so far behind the latest means that the receiver's clock began anew.
const JUMP: i64 = 2_000_000;

/// The rate at which packets arrive.
#[derive(Debug, Default)]
pub(super) struct AckedRate {
    /// Arrival in microseconds, bytes.
    entries: VecDeque<(i64, f64)>,
    bytes: f64,
    rate: Option<f64>,
}

impl AckedRate {
    /// Packets arrived.
    pub(super) fn arrived(&mut self, arrival: i64, bytes: f64) {
        let latest = self.entries.back().map_or(arrival, |&(latest, _)| latest);
        if (arrival - latest).abs() > JUMP {
            self.entries.clear();
            self.bytes = 0.0;
        }
        self.bytes += bytes;
        match self.entries.back_mut() {
            // Reordered ones count where they came in.
            Some(entry) if arrival - entry.0 <= TOGETHER => entry.1 += bytes,
            _ => self.entries.push_back((arrival, bytes)),
        }
        while let Some(&(oldest, bytes)) = self.entries.front()
            && arrival - oldest > WINDOW
        {
            self.bytes -= bytes;
            self.entries.pop_front();
        }
        let Some(&(oldest, first)) = self.entries.front() else { return };
        let span = self.entries.back().map_or(0, |&(latest, _)| latest - oldest);
        if span >= LEAST {
            // What came with the first is of the time before.
            self.rate = Some((self.bytes - first).max(0.0) * 8e6 / span as f64);
        }
    }

    /// In bits per second; `None` before enough came.
    pub(super) const fn rate(&self) -> Option<f64> {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_a_fall_within_half_a_second_and_a_clock_that_jumps() {
        let mut acked = AckedRate::default();
        let mut now = 0;
        let mut run = |acked: &mut AckedRate, from: i64, kbps: i64, ms: i64| {
            for _ in 0..ms / 10 {
                now += 10_000;
                acked.arrived(from + now, kbps as f64 * 10.0 / 8.0);
            }
            acked.rate().unwrap_or_default() / 1e3
        };
        assert!((run(&mut acked, 0, 2_000, 2_000) - 2_000.0).abs() < 60.0);
        let fallen = run(&mut acked, 0, 300, 450);
        assert!((fallen - 300.0).abs() < 10.0, "{fallen}");
        for jump in [-1_000_000_000, 1_000_000_000] {
            assert!((run(&mut acked, jump, 2_000, 500) - 2_000.0).abs() < 60.0);
        }
    }
}
