//! The rate by delay: down to a share of what arrives when a queue grows, up again when it is gone, fast far from the capacity
//! and slowly near it (draft-ietf-rmcat-gcc-02 §5.5). Owns the rate and the memory of the capacity; who judges the queue is
//! `trend`, who looks for more than is sent is `probe`.

use std::time::{Duration, Instant};

use super::LEAST_RATE;
use super::trend::Usage;

/// Share of what arrives that is kept when a queue grows. More uses the path better; less drains the queue sooner.
const KEEP: f64 = 0.85;
/// Share of the estimate that is kept when a queue grows though little was sent: it may be somebody else's, and what is sent
/// cannot say what the path carries.
const KEEP_LIMITED: f64 = 0.7;
/// Less than this share of the estimate is sent: the application sends less than it might.
const LIMITED: f64 = 0.65;
/// More than this times what arrives was sent.
const OURS: f64 = 1.15;
/// Growth in a second far from the capacity.
const GROWTH: f64 = 0.08;
/// How far the estimate may be beyond what arrives without a probe.
const AHEAD: f64 = 1.3;
const AHEAD_LEAST: f64 = 20_000.0;
/// The same where no probe can be sent: the next layer has to be within reach.
const AHEAD_BLIND: f64 = 3.0;
/// What the receiver takes to notice, beside the round trip, when the growth near the capacity is reckoned.
const RESPONSE: Duration = Duration::from_millis(100);
/// Growth near the capacity in one response time.
const STEP_BITS: f64 = 1_200.0 * 8.0;
const LEAST_STEP: f64 = 4_000.0;
/// More arrives for so long than the path carried when it was full: it is another path now. A probe's burst is over sooner.
const WIDER: Duration = Duration::from_secs(2);
/// Share by which the memory of the capacity follows what arrived at each new overuse.
const FOLLOW: f64 = 0.05;
/// Between two cuts, at least and at most; else the round trip.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));

/// The state of growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// After a cut, until the queue is gone.
    Hold,
    Increase,
}

/// What the path carried when a queue grew: mean and variance, relative to the mean, of bits per second.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    mean: f64,
    variance: f64,
}

/// The controller.
#[derive(Debug)]
pub(super) struct DelayRate {
    rate: f64,
    state: State,
    capacity: Option<Capacity>,
    cut: Option<Instant>,
    updated: Option<Instant>,
    /// For so long more has arrived than the path was thought to carry.
    beyond: Duration,
}

/// What is known at an update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) usage: Usage,
    /// What arrives, in bits per second.
    pub(super) acked: Option<f64>,
    /// What was sent in the same time.
    pub(super) sent: Option<f64>,
    pub(super) rtt: Duration,
    /// Loss allows growth.
    pub(super) may_grow: bool,
    /// Probes can look for more than arrives.
    pub(super) probes: bool,
    /// No reason to grow beyond this.
    pub(super) ceiling: f64,
}

impl DelayRate {
    pub(super) const fn new(rate: f64) -> Self {
        Self { rate, state: State::Increase, capacity: None, cut: None, updated: None, beyond: Duration::ZERO }
    }

    pub(super) const fn rate(&self) -> f64 {
        self.rate
    }

    /// Another source knows it: a probe, loss, the demand.
    pub(super) fn set(&mut self, rate: f64) {
        self.rate = rate.max(LEAST_RATE);
        if self.capacity.is_some_and(|capacity| rate > capacity.upper()) {
            self.capacity = None;
        }
    }

    /// The path carried so much and no more, as a probe found or a queue showed.
    pub(super) fn note_capacity(&mut self, carried: f64) {
        self.capacity = match self.capacity {
            Some(capacity) if carried >= capacity.lower() => Some(capacity.with(carried)),
            _ => Some(Capacity { mean: carried, variance: 0.01 }),
        };
    }

    /// To this share of what arrives, or of the rate where little is sent.
    pub(super) fn lower(&mut self, acked: Option<f64>, sent: Option<f64>, share: f64) {
        let acked = acked.unwrap_or(self.rate).min(self.rate);
        let limited = sent.is_some_and(|sent| sent < self.rate * LIMITED);
        self.rate = if limited { self.rate * KEEP_LIMITED } else { acked * share }.max(LEAST_RATE);
    }

    /// When the rate was last cut.
    pub(super) const fn cut(&self) -> Option<Instant> {
        self.cut
    }

    /// What the path carried when it was full last, if that is remembered.
    pub(super) fn capacity(&self) -> Option<f64> {
        self.capacity.map(Capacity::upper)
    }

    /// A report came. True when the rate was cut.
    pub(super) fn update(&mut self, now: Instant, seen: &Seen) -> bool {
        let passed = self.updated.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        match (seen.usage, self.state) {
            (Usage::Over, _) => return self.overused(now, seen),
            // The queue drains by itself now: as long as it does, more would only refill it.
            (Usage::Under, _) => self.state = State::Hold,
            (Usage::Normal, State::Hold) => self.state = State::Increase,
            (Usage::Normal, State::Increase) => self.grow(passed.min(Duration::from_secs(1)), seen),
        }
        false
    }

    fn overused(&mut self, now: Instant, seen: &Seen) -> bool {
        let between = seen.rtt.clamp(BETWEEN.0, BETWEEN.1);
        let far = seen.acked.is_some_and(|acked| acked < self.rate / 2.0);
        if self.cut.is_some_and(|cut| now.saturating_duration_since(cut) < if far { BETWEEN.0 } else { between }) {
            return false;
        }
        let Some(acked) = seen.acked else {
            self.rate = (self.rate / 2.0).max(LEAST_RATE);
            self.end_cut(now);
            return true;
        };
        // Less arrives than was sent: it is our own queue that grows, and what arrives is what the path carries.
        let ours = seen.sent.is_some_and(|sent| sent > acked * OURS);
        let limited = !ours && seen.sent.is_some_and(|sent| sent < self.rate * LIMITED);
        let kept = if limited { (acked * KEEP).max(self.rate * KEEP_LIMITED) } else { acked * KEEP };
        if !limited {
            self.note_capacity(acked);
        }
        let is_cut = kept < self.rate;
        self.rate = kept.min(self.rate).max(LEAST_RATE);
        self.end_cut(now);
        is_cut
    }

    const fn end_cut(&mut self, now: Instant) {
        self.cut = Some(now);
        self.state = State::Hold;
    }

    fn grow(&mut self, passed: Duration, seen: &Seen) {
        let Some(acked) = seen.acked.filter(|_| seen.may_grow) else { return };
        if self.rate >= seen.ceiling {
            return;
        }
        let beyond = self.capacity.is_some_and(|capacity| acked > capacity.upper());
        self.beyond = if beyond { self.beyond + passed } else { Duration::ZERO };
        if self.beyond > WIDER {
            self.capacity = None;
        }
        let passed_s = passed.as_secs_f64();
        let more = match self.capacity {
            Some(_) => (STEP_BITS / (seen.rtt + RESPONSE).as_secs_f64() / 2.0).max(LEAST_STEP) * passed_s,
            None => (self.rate * ((1.0 + GROWTH).powf(passed_s) - 1.0)).max(1_000.0 * passed_s),
        };
        let ahead = if seen.probes { AHEAD } else { AHEAD_BLIND };
        let most = (acked * ahead + AHEAD_LEAST).min(seen.ceiling).max(self.rate);
        self.rate = (self.rate + more).min(most);
    }
}

impl Capacity {
    fn with(self, sample: f64) -> Self {
        let mean = self.mean + (sample - self.mean) * FOLLOW;
        let error = (sample - mean) / mean.max(1.0);
        let variance = ((1.0 - FOLLOW) * self.variance + FOLLOW * error * error).clamp(0.0004, 0.0025);
        Self { mean, variance }
    }

    fn spread(self) -> f64 {
        self.mean * self.variance.sqrt() * 3.0
    }

    fn upper(self) -> f64 {
        self.mean + self.spread()
    }

    fn lower(self) -> f64 {
        (self.mean - self.spread()).max(0.0)
    }
}
