//! What a user and an allocation may take: how many allocations, how much per second. Owns those counts; `server` asks before it
//! gives or forwards. Pure: told the time. Only users who hold something are remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// A burst is half a second at the full rate, and never less than some pictures.
const BURST_SECONDS: f64 = 0.5;
const LEAST_BURST: f64 = 128.0 * 1024.0;

/// Bytes per second, as a bucket that fills steadily.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    level: f64,
    /// Bytes per second; none is no limit.
    rate: Option<f64>,
    filled: Instant,
}

impl Bucket {
    /// Full. `kbps` of 0 is no limit.
    pub(super) fn new(now: Instant, kbps: u32) -> Self {
        let rate = (kbps > 0).then(|| f64::from(kbps) * 1000.0 / 8.0);
        Self { level: rate.map_or(0.0, burst), rate, filled: now }
    }

    /// Whether there is enough for `bytes`; takes nothing.
    fn has(&mut self, now: Instant, bytes: f64) -> bool {
        let Some(rate) = self.rate else { return true };
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + passed * rate).min(burst(rate));
        self.filled = self.filled.max(now);
        self.level >= bytes
    }
}

fn burst(rate: f64) -> f64 {
    (rate * BURST_SECONDS).max(LEAST_BURST)
}

/// What one user holds, over all its allocations.
#[derive(Debug)]
struct User {
    held: u32,
    bucket: Bucket,
}

/// Users who hold something.
#[derive(Debug)]
pub(super) struct Users {
    most: u32,
    kbps: u32,
    by_name: HashMap<Arc<str>, User>,
}

impl Users {
    /// Each may hold `most` things and send and receive `kbps`; 0 kbps is no limit.
    pub(super) fn new(most: u32, kbps: u32) -> Self {
        Self { most, kbps, by_name: HashMap::new() }
    }

    /// Counts one more thing of a user; none if that is too many.
    pub(super) fn hold(&mut self, now: Instant, name: &str) -> Option<Arc<str>> {
        if let Some((known, _)) = self.by_name.get_key_value(name) {
            let known = Arc::clone(known);
            let user = self.by_name.get_mut(name).filter(|user| user.held < self.most)?;
            user.held += 1;
            return Some(known);
        }
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), User { held: 1, bucket: Bucket::new(now, self.kbps) });
        Some(name)
    }

    /// One thing less; whoever holds nothing is forgotten.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(user) = self.by_name.get_mut(name) {
            user.held = user.held.saturating_sub(1);
            if user.held == 0 {
                self.by_name.remove(name);
            }
        }
    }

    /// Takes `bytes` from the user and the allocation, or from neither.
    pub(super) fn take(&mut self, now: Instant, name: &str, own: &mut Bucket, bytes: usize) -> bool {
        let Some(user) = self.by_name.get_mut(name) else { return false };
        let bytes = bytes as f64;
        let enough = own.has(now, bytes) && user.bucket.has(now, bytes);
        if enough {
            own.level -= bytes;
            user.bucket.level -= bytes;
        }
        enough
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_user_holds_so_many_and_is_forgotten_with_the_last() {
        let now = Instant::now();
        let mut users = Users::new(2, 0);
        assert!(users.hold(now, "ada").is_some() && users.hold(now, "ada").is_some());
        assert!(users.hold(now, "ada").is_none());
        assert!(users.hold(now, "ben").is_some(), "another's quota is another");
        users.release("ada");
        assert!(users.hold(now, "ada").is_some());
        users.release("ada");
        users.release("ada");
        users.release("ada");
        users.release("ben");
        assert_eq!(users.len(), 0);
    }

    #[test]
    fn bytes_are_taken_from_both_or_from_neither() {
        let now = Instant::now();
        let mut users = Users::new(2, 8_000);
        users.hold(now, "ada").expect("the first");
        let (mut small, mut free) = (Bucket::new(now, 800), Bucket::new(now, 0));
        let taken =
            |users: &mut Users, bucket: &mut Bucket, at| (0..10_000).filter(|_| users.take(at, "ada", bucket, 1_000)).count();
        assert_eq!(taken(&mut users, &mut small, now), 131, "the allocation's burst");
        assert_eq!(taken(&mut users, &mut free, now), 500 - 131, "what is left of the user's");
        let later = now + Duration::from_millis(100);
        assert_eq!(taken(&mut users, &mut small, later), 10, "100 kB/s");
        assert!(!users.take(later, "ben", &mut free, 1), "who holds nothing sends nothing");
    }
}
