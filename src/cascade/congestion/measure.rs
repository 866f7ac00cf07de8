//! What the controller knows of the path: round trips, deliveries, losses. Owns the windows that they are taken over; decides
//! nothing. Every call costs a few operations; nothing grows.

use std::time::{Duration, Instant};

/// Half of the window of the base round trip. Longer forgets a shorter route later; shorter takes a queue that
/// stands for so long for the route.
const BASE_HALF: Duration = Duration::from_secs(5);

/// The standing queue is the minimum over two to three slices of this. Longer is blind to longer bursts, and reacts later.
const SLICE: Duration = Duration::from_millis(25);
pub(super) const STANDING: Duration = Duration::from_millis(75);

/// A slice with fewer samples says nothing: acknowledgements of single packets are late on purpose.
const SLICE_SAMPLES: u32 = 3;

/// Deliveries are counted in slots of this.
const SLOT: Duration = Duration::from_millis(10);
const SLOTS: usize = 64;

/// Losses are counted over rounds of this, at least so many bytes each, and smoothed over some of them.
pub(super) const ROUND: Duration = Duration::from_millis(200);
const ROUND_BYTES: u64 = 30 * 1_200;
const SMOOTHING: f64 = 0.25;

/// A loss that was found to be the path's own is forgiven for so long. Less tries more often, more takes a new congestion for it.
const FORGIVEN: Duration = Duration::from_secs(10);

/// A minimum over the last one to two halves.
#[derive(Clone, Debug)]
struct WindowedMin<T> {
    half: Duration,
    since: Instant,
    before: Option<T>,
    now: Option<T>,
}

impl<T: PartialOrd + Copy> WindowedMin<T> {
    fn new(now: Instant, half: Duration) -> Self {
        Self { half, since: now, before: None, now: None }
    }

    fn sample(&mut self, now: Instant, value: T) {
        let passed = now.saturating_duration_since(self.since);
        if passed >= self.half {
            // After a long silence both halves are old.
            self.before = if passed >= self.half * 2 { None } else { self.now };
            self.now = None;
            self.since = now;
        }
        if self.now.is_none_or(|least| value < least) {
            self.now = Some(value);
        }
    }

    fn get(&self) -> Option<T> {
        match (self.before, self.now) {
            (Some(before), Some(now)) => Some(if before < now { before } else { now }),
            (before, now) => before.or(now),
        }
    }
}

/// Round trips: the base of the path, and what stands on top of it.
#[derive(Clone, Debug)]
pub(super) struct Rtt {
    base: WindowedMin<Duration>,
    slice_since: Instant,
    slice: Option<Duration>,
    samples: u32,
    /// The last two full slices, the newest first.
    full: [Option<Duration>; 2],
}

impl Rtt {
    pub(super) fn new(now: Instant) -> Self {
        Self { base: WindowedMin::new(now, BASE_HALF), slice_since: now, slice: None, samples: 0, full: [None; 2] }
    }

    pub(super) fn sample(&mut self, now: Instant, rtt: Duration) {
        self.base.sample(now, rtt);
        if now.saturating_duration_since(self.slice_since) >= SLICE && self.samples >= SLICE_SAMPLES {
            let [newest, _] = self.full;
            self.full = [self.slice, newest];
            (self.slice, self.samples, self.slice_since) = (None, 0, now);
        }
        self.slice = Some(self.slice.map_or(rtt, |least| least.min(rtt)));
        self.samples += 1;
    }

    /// The round trip without a queue.
    pub(super) fn base(&self) -> Option<Duration> {
        self.base.get()
    }

    /// The queue that did not go away in the last slices.
    pub(super) fn queue(&self) -> Option<Duration> {
        let [newest, oldest] = self.full;
        let standing = newest?.min(oldest?).min(self.slice.unwrap_or(Duration::MAX));
        Some(standing.saturating_sub(self.base.get()?))
    }

    /// The queue of the last full slice alone.
    pub(super) fn latest_queue(&self) -> Option<Duration> {
        let [newest, _] = self.full;
        Some(newest?.min(self.slice.unwrap_or(Duration::MAX)).saturating_sub(self.base.get()?))
    }
}

/// What arrives at the other side, by its acknowledgements.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// Bytes by slot of time, and how many of them while there was more to send.
    slots: [(u64, u64); SLOTS],
    /// The slot being filled, counted from `start`.
    current: u64,
    start: Instant,
}

impl Delivery {
    pub(super) fn new(now: Instant) -> Self {
        Self { slots: [(0, 0); SLOTS], current: 0, start: now }
    }

    pub(super) fn acked(&mut self, now: Instant, bytes: u64, app_limited: bool) {
        let slot = now.saturating_duration_since(self.start).as_millis() as u64 / SLOT.as_millis() as u64;
        for passed in 1..=slot.saturating_sub(self.current).min(SLOTS as u64) {
            if let Some(old) = self.slots.get_mut(((self.current + passed) % SLOTS as u64) as usize) {
                *old = (0, 0);
            }
        }
        self.current = self.current.max(slot);
        if let Some((all, busy)) = self.slots.get_mut((self.current % SLOTS as u64) as usize) {
            *all += bytes;
            *busy += if app_limited { 0 } else { bytes };
        }
    }

    /// Bits per second over the last `span`, or as much of it as is kept. The slot being filled does not count.
    pub(super) fn rate(&self, span: Duration) -> f64 {
        let slots = ((span.as_millis() / SLOT.as_millis()) as usize).clamp(4, SLOTS - 1);
        let bytes: u64 = self.last(slots).map(|(all, _)| all).sum();
        bytes as f64 * 8.0 / (SLOT * slots as u32).as_secs_f64()
    }

    /// Whether there was more to send for a good part of the last moments.
    pub(super) fn is_busy(&self) -> bool {
        let (all, busy) = self.last(20).fold((0, 0), |sum, slot| (sum.0 + slot.0, sum.1 + slot.1));
        busy * 2 > all
    }

    fn last(&self, slots: usize) -> impl Iterator<Item = (u64, u64)> {
        (1..=slots as u64)
            .filter_map(|back| self.current.checked_sub(back))
            .filter_map(|slot| self.slots.get((slot % SLOTS as u64) as usize).copied())
    }
}

/// Losses: smoothed, and what the path loses whatever is sent.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    since: Instant,
    acked: u64,
    lost: u64,
    smoothed: f64,
    /// Of the last full round.
    last: f64,
    /// What the path loses whatever is sent, and until when that is believed.
    own: Option<(f64, Instant)>,
}

impl Loss {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, acked: 0, lost: 0, smoothed: 0.0, last: 0.0, own: None }
    }

    pub(super) fn acked(&mut self, now: Instant, bytes: u64) {
        self.acked += bytes;
        self.turn(now);
    }

    pub(super) fn lost(&mut self, now: Instant, bytes: u64) {
        self.lost += bytes;
        self.turn(now);
    }

    fn turn(&mut self, now: Instant) {
        let all = self.acked + self.lost;
        if all < ROUND_BYTES || now.saturating_duration_since(self.since) < ROUND {
            return;
        }
        self.last = self.lost as f64 / all as f64;
        self.smoothed += (self.last - self.smoothed) * SMOOTHING;
        self.own = self.own.filter(|(_, until)| now < *until);
        (self.since, self.acked, self.lost) = (now, 0, 0);
    }

    pub(super) fn share(&self) -> f64 {
        self.smoothed
    }

    pub(super) fn last(&self) -> f64 {
        self.last
    }

    /// What is lost now is the path's own.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.own = Some((self.smoothed.max(self.last), now + FORGIVEN));
    }

    /// Loss beyond the path's own, in the last round as well as over the last ones.
    pub(super) fn excess(&self) -> f64 {
        (self.smoothed.min(self.last) - self.own.map_or(0.0, |(own, _)| own)).max(0.0)
    }
}
