//! What is counted, and how counts of many members become one. Plain numbers; who counts what is said where it is counted.

use std::time::Duration;

use serde::Serialize;

use crate::rtp::Kind;

/// Links that a packet crossed between nodes are told apart up to here; longer ways count as this.
pub const MAX_HOPS: usize = 3;

/// Counts of times, in microseconds, by size: exact below 64 µs, then within 1.6 %. Up to 19 hours.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64; Self::BUCKETS]>,
    count: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([0; Self::BUCKETS]), count: 0, most: 0 }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count).field("p50", &self.percentile(0.5)).finish_non_exhaustive()
    }
}

impl Histogram {
    /// Buckets of one power of two are half of this many.
    const FINE: u64 = 64;
    const BUCKETS: usize = 32 * 32;

    pub fn record(&mut self, time: Duration) {
        let value = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let last = Self::BUCKETS - 1;
        if let Some(bucket) = self.counts.get_mut(Self::bucket(value).min(last)) {
            *bucket += 1;
        }
        self.count += 1;
        self.most = self.most.max(value);
    }

    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts.iter()).for_each(|(to, from)| *to += from);
        self.count += other.count;
        self.most = self.most.max(other.most);
    }

    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    pub const fn most(&self) -> Duration {
        Duration::from_micros(self.most)
    }

    /// The time that this share of all is not longer than; none without any.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = ((share.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(Duration::from_micros(Self::upper(bucket).min(self.most)))
    }

    const fn bucket(value: u64) -> usize {
        if value < Self::FINE {
            return value as usize;
        }
        // The six highest bits, of which the first is always set.
        let shift = value.ilog2() - 5;
        (shift as u64 * (Self::FINE / 2) + (value >> shift)) as usize
    }

    /// The largest value of a bucket.
    const fn upper(bucket: usize) -> u64 {
        let bucket = bucket as u64;
        if bucket < Self::FINE {
            return bucket;
        }
        let shift = bucket / (Self::FINE / 2) - 1;
        (((bucket - shift * (Self::FINE / 2)) + 1) << shift) - 1
    }
}

/// Audio and video apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByKind<T> {
    pub audio: T,
    pub video: T,
}

impl<T> ByKind<T> {
    pub const fn of(&self, kind: Kind) -> &T {
        match kind {
            Kind::Audio => &self.audio,
            Kind::Video => &self.video,
        }
    }

    pub const fn of_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video => &mut self.video,
        }
    }
}

/// Declares counters that can be added up.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct $name {
            $($(#[$of])* pub $field: u64,)*
        }

        impl $name {
            pub const fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
    /// What subscribers had of one kind of media.
    Heard {
        /// From the first to the highest sequence number of each stream.
        expected,
        /// Of those, what came, be it late or repaired.
        received,
        /// What did not.
        lost,
        /// Came behind one with a higher number.
        late,
        duplicate,
        /// Came as a retransmission.
        repaired,
        /// Of RTP with headers and tag; retransmissions and probes included.
        bytes,
        /// Times that a packet was asked for again.
        nacked,
        keyframes_asked,
        /// Opened and found to be authentic.
        verified,
        /// Opened, and forged or not decipherable.
        broken,
        frames,
        /// Pictures that stood for longer than three frames' time, and 150 ms more than one's.
        freezes,
        frozen_ms,
        /// Streams that ended without a picture for a second or more.
        stalled,
    }
}

counters! {
    /// What publishers sent of one kind of media.
    Said {
        packets,
        /// Of RTP, sealed.
        bytes,
        keyframes,
        /// PLI and FIR that came.
        keyframes_asked,
        /// Packets that the server asked for again.
        nacked,
        resent,
        /// As the server's receiver reports have it, before repair.
        lost,
    }
}

/// Latencies since they were last taken, by kind and by how many links were crossed.
#[derive(Clone, Debug, Default)]
pub struct Latencies(ByKind<[Histogram; MAX_HOPS + 1]>);

impl Latencies {
    pub fn record(&mut self, kind: Kind, hops: u8, latency: Duration) {
        if let Some(histogram) = self.0.of_mut(kind).get_mut(usize::from(hops).min(MAX_HOPS)) {
            histogram.record(latency);
        }
    }

    pub fn add(&mut self, other: &Self) {
        for kind in [Kind::Audio, Kind::Video] {
            let pairs = self.0.of_mut(kind).iter_mut().zip(other.0.of(kind));
            pairs.for_each(|(to, from)| to.add(from));
        }
    }

    /// Of one kind, over so many links.
    pub fn of(&self, kind: Kind, hops: usize) -> Option<&Histogram> {
        self.0.of(kind).get(hops)
    }

    /// All of them in one.
    pub fn all(&self) -> Histogram {
        let mut all = Histogram::default();
        [Kind::Audio, Kind::Video].iter().flat_map(|kind| self.0.of(*kind)).for_each(|histogram| all.add(histogram));
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(Duration::from_micros(*value)));
        histogram
    }

    #[test]
    fn percentiles_of_known_values() {
        let all: Vec<u64> = (1..=100).map(|value| value * 1_000).collect();
        let histogram = of(&all);
        for (share, expected) in [(0.5, 50_000), (0.99, 99_000), (0.0, 1_000), (1.0, 100_000)] {
            let found = histogram.percentile(share).expect("values").as_micros() as i64;
            assert!((found - expected).abs() * 60 <= expected, "{share}: {found}");
        }
        assert_eq!((histogram.count(), histogram.most()), (100, Duration::from_millis(100)));
        assert_eq!(Histogram::default().percentile(0.5), None);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_it_says(value in 0u64..1 << 36) {
            let bucket = Histogram::bucket(value);
            let upper = Histogram::upper(bucket);
            prop_assert!(upper >= value && upper - value <= value / 32, "{} in {} up to {}", value, bucket, upper);
            prop_assert!(bucket < Histogram::BUCKETS);
        }

        #[test]
        fn adding_is_as_recording_in_one(a in prop::collection::vec(0u64..1 << 30, 0..50), b in prop::collection::vec(0u64..1 << 30, 0..50)) {
            let mut sum = of(&a);
            sum.add(&of(&b));
            prop_assert_eq!(sum, of(&[a, b].concat()));
        }
    }
}
