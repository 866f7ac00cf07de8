//! The queue that our own bursts make: a keyframe, or a probe, leaves faster than the estimate on purpose, and stands in a queue for a
//! moment on a path that carries just as much. Owns a model of that queue, so that it is not taken for congestion.

use std::time::Instant;

/// What a burst explains is forgotten by this time constant, in seconds. More explains larger bursts; less notices sooner that a source
/// which always sends a little more than it was told, such as one with many retransmissions, fills the path.
const FORGET: f64 = 0.6;

/// What stands in a bottleneck that carries what is estimated.
#[derive(Debug, Default)]
pub(super) struct OwnQueue {
    bytes: f64,
    at: Option<Instant>,
}

impl OwnQueue {
    /// A packet was sent: how long it waits until it has left the bottleneck, in milliseconds. To be called in the order of sending;
    /// `rate` is in bits per second.
    pub(super) fn sent(&mut self, at: Instant, size: u16, rate: f64) -> f64 {
        let before = self.at.unwrap_or(at);
        let passed = at.saturating_duration_since(before).as_secs_f64();
        self.at = Some(before.max(at));
        let rate = rate.max(1.0);
        self.bytes = (self.bytes * (-passed / FORGET).exp() - rate / 8.0 * passed).max(0.0) + f64::from(size);
        self.bytes * 8e3 / rate
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_waits_and_what_follows_later_does_not() {
        let (mut own, start) = (OwnQueue::default(), Instant::now());
        let waits: Vec<f64> = (0..10).map(|_| own.sent(start, 1_250, 1e6)).collect();
        assert!((waits[0] - 10.0).abs() < 0.1 && (waits[9] - 100.0).abs() < 0.1, "{waits:?}");
        assert!((45.0..60.0).contains(&own.sent(start + Duration::from_millis(50), 1_250, 1e6)));
        assert!((own.sent(start + Duration::from_secs(1), 1_250, 1e6) - 10.0).abs() < 0.1);
    }

    #[test]
    fn who_always_sends_too_much_explains_ever_less() {
        let (mut own, start) = (OwnQueue::default(), Instant::now());
        // 1.2 Mbps where 1 Mbps is estimated.
        let waits: Vec<f64> = (0..200).map(|step| own.sent(start + Duration::from_millis(step * 10), 1_500, 1e6)).collect();
        assert!(waits[40] > 30.0 && waits[199] - waits[150] < 60.0, "{waits:?}");
    }
}
