//! The queue that our own bursts make: a keyframe, or a probe, leaves faster than the estimate on purpose, and stands in a queue for a
//! moment on a path that carries just as much. Owns a model of that queue, so that it is not taken for congestion.

use std::time::{Duration, Instant};

/// How much faster than the estimate the modelled bottleneck is. More explains less of a burst; at 1 a source that sends a little more
/// than it was told, such as retransmissions, would explain its own congestion.
const FASTER: f64 = 1.1;

/// A burst is over after this. What still stands then is no burst, and nothing is explained until it is gone.
const LONGEST: Duration = Duration::from_millis(500);

/// What stands in a bottleneck that carries what is estimated.
#[derive(Debug, Default)]
pub(super) struct OwnQueue {
    bytes: f64,
    at: Option<Instant>,
    /// When it was empty last.
    empty: Option<Instant>,
}

impl OwnQueue {
    /// A packet was sent: how long it waits until it has left the bottleneck, in milliseconds. To be called in the order of sending;
    /// `rate` is in bits per second.
    pub(super) fn sent(&mut self, at: Instant, size: u16, rate: f64) -> f64 {
        let before = self.at.unwrap_or(at);
        let passed = at.saturating_duration_since(before).as_secs_f64();
        self.at = Some(before.max(at));
        let rate = (rate * FASTER).max(1.0);
        self.bytes -= rate / 8.0 * passed;
        if self.bytes <= 0.0 {
            self.bytes = 0.0;
            self.empty = self.at;
        }
        let lasts = at.saturating_duration_since(*self.empty.get_or_insert(at));
        self.bytes += f64::from(size);
        if lasts > LONGEST { 0.0 } else { self.bytes * 8e3 / rate }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_waits_and_what_follows_later_does_not() {
        let (mut own, start) = (OwnQueue::default(), Instant::now());
        let waits: Vec<f64> = (0..10).map(|_| own.sent(start, 1_375, 1e6)).collect();
        assert!((waits[0] - 10.0).abs() < 0.1 && (waits[9] - 100.0).abs() < 0.1, "{waits:?}");
        assert!((own.sent(start + Duration::from_millis(50), 1_375, 1e6) - 60.0).abs() < 0.1);
        assert!((own.sent(start + Duration::from_secs(1), 1_375, 1e6) - 10.0).abs() < 0.1);
    }

    #[test]
    fn who_always_sends_too_much_explains_nothing() {
        let (mut own, start) = (OwnQueue::default(), Instant::now());
        // 1.2 Mbps where 1 Mbps is estimated.
        let waits: Vec<f64> = (0..200).map(|step| own.sent(start + Duration::from_millis(step * 10), 1_500, 1e6)).collect();
        assert!(waits[40] > 30.0 && waits[60..].iter().all(|&wait| wait == 0.0), "{waits:?}");
    }
}
