//! How often a session may do what costs others. A token bucket, told the time; `edge::hub` keeps one per kind of
//! request, `edge::peerjs` one per client.

use std::time::Instant;

/// Fills at a steady rate up to a burst.
#[derive(Debug, Clone)]
pub(in crate::edge) struct Bucket {
    level: f64,
    rate: f64,
    burst: f64,
    filled: Instant,
}

impl Bucket {
    /// Full, with `rate` per second and `burst` at once.
    pub(in crate::edge) fn new(now: Instant, rate: f64, burst: f64) -> Self {
        Self { level: burst, rate, burst, filled: now }
    }

    /// Takes `cost`, or says that there is not enough.
    pub(in crate::edge) fn take(&mut self, now: Instant, cost: f64) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + passed * self.rate).min(self.burst);
        self.filled = self.filled.max(now);
        let enough = self.level >= cost;
        if enough {
            self.level -= cost;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_only_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 2.0, 5.0);
        assert_eq!((0..10).filter(|_| bucket.take(start, 1.0)).count(), 5);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..10).filter(|_| bucket.take(later, 1.0)).count(), 2);
        // A clock that goes back fills nothing twice.
        assert!(!bucket.take(start, 1.0) && !bucket.take(later, 1.0));
        assert_eq!((0..100).filter(|_| bucket.take(later + Duration::from_secs(3600), 1.0)).count(), 5);
    }
}
