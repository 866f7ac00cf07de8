//! Whether the queue on the path grows: the slope of the delay over the last groups, held against a threshold that adapts to
//! what else is on the path (draft-ietf-rmcat-gcc-02 §5.4 and §5.5, with a line through the last samples in place of the
//! filter there, as libwebrtc has had since 2017). Owns that judgement and the measure of the queue itself.

use std::collections::VecDeque;

use super::groups::Delta;

/// How many samples the line goes through. More is steadier and later.
const SAMPLES: usize = 20;
/// What a new sample counts less than the smooth delay.
const SMOOTHING: f64 = 0.9;
/// Turns the slope into the unit of the threshold: with so many samples a slope of 1 is as far beyond it.
const GAIN: f64 = 4.0;
const MAX_DELTAS: u32 = 60;
/// Where the threshold begins, and where it ends both ways, in milliseconds.
const THRESHOLD: f64 = 12.5;
const THRESHOLDS: (f64, f64) = (6.0, 600.0);
/// How fast the threshold follows upward, so as not to starve beside flows that fill the queue, and downward.
const FOLLOW_UP: f64 = 0.0087;
const FOLLOW_DOWN: f64 = 0.039;
/// A spike that is beyond the threshold by more than this does not move it.
const SPIKE: f64 = 15.0;
/// A trend has to last so long, in milliseconds, before it is believed.
const LASTING: f64 = 10.0;
/// The base delay is the least of so much of the receiver's time, in milliseconds. More measures a queue that stands longer, and
/// takes longer to believe that the path became a longer one.
const BASE_SPAN: f64 = 15_000.0;

/// What the path does with what it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Usage {
    #[default]
    Normal,
    /// A queue grows.
    Over,
    /// A queue drains.
    Under,
}

/// The line through the latest delays.
#[derive(Debug)]
pub(super) struct Trend {
    /// Arrival and smooth delay, in milliseconds.
    samples: VecDeque<(f64, f64)>,
    deltas: u32,
    accumulated: f64,
    smooth: f64,
    threshold: f64,
    /// When the threshold last moved.
    moved: Option<f64>,
    slope: f64,
    over_for: f64,
    overs: u32,
    usage: Usage,
    /// The least accumulated delay of this half of the span and the one before, and where this half began.
    least: (f64, f64),
    half: f64,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            samples: VecDeque::with_capacity(SAMPLES + 1),
            deltas: 0,
            accumulated: 0.0,
            smooth: 0.0,
            threshold: THRESHOLD,
            moved: None,
            slope: 0.0,
            over_for: 0.0,
            overs: 0,
            usage: Usage::Normal,
            least: (0.0, 0.0),
            half: f64::MIN,
        }
    }
}

impl Trend {
    /// Takes the next group.
    pub(super) fn push(&mut self, delta: Delta) {
        let since = self.samples.back().map_or(0.0, |&(arrival, _)| delta.arrival - arrival).max(0.0);
        self.deltas = (self.deltas + 1).min(MAX_DELTAS);
        self.accumulated += delta.delay;
        self.note_base(delta.arrival);
        // What our own bursts explain is no news of the path.
        let unexplained = (self.queue() - delta.own).max(0.0);
        self.smooth = self.smooth * SMOOTHING + unexplained * (1.0 - SMOOTHING);
        self.samples.push_back((delta.arrival, self.smooth));
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        let before = self.slope;
        if self.samples.len() == SAMPLES {
            self.slope = slope(&self.samples).unwrap_or(self.slope);
        }
        self.judge(before, since);
        self.adapt(delta.arrival);
    }

    /// The latest judgement.
    pub(super) const fn usage(&self) -> Usage {
        self.usage
    }

    /// The queue that stands on the path now, in milliseconds: the delay beyond the least of late.
    pub(super) fn queue(&self) -> f64 {
        (self.accumulated - self.least.0.min(self.least.1)).max(0.0)
    }

    fn level(&self) -> f64 {
        f64::from(self.deltas) * self.slope * GAIN
    }

    fn judge(&mut self, before: f64, since: f64) {
        let level = self.level();
        if level > self.threshold {
            self.over_for += if self.overs == 0 { since / 2.0 } else { since };
            self.overs += 1;
            if self.over_for > LASTING && self.overs > 1 && self.slope >= before {
                (self.over_for, self.overs) = (0.0, 0);
                self.usage = Usage::Over;
            }
            return;
        }
        (self.over_for, self.overs) = (0.0, 0);
        self.usage = if level < -self.threshold { Usage::Under } else { Usage::Normal };
    }

    fn adapt(&mut self, arrival: f64) {
        let passed = (arrival - self.moved.replace(arrival).unwrap_or(arrival)).clamp(0.0, 100.0);
        let level = self.level().abs();
        if level > self.threshold + SPIKE {
            return;
        }
        let follow = if level < self.threshold { FOLLOW_DOWN } else { FOLLOW_UP };
        let threshold = self.threshold + follow * (level - self.threshold) * passed;
        self.threshold = threshold.clamp(THRESHOLDS.0, THRESHOLDS.1);
    }

    fn note_base(&mut self, arrival: f64) {
        if arrival - self.half > BASE_SPAN / 2.0 {
            let before = if self.half == f64::MIN { self.accumulated } else { self.least.0 };
            self.least = (self.accumulated, before);
            self.half = arrival;
        }
        self.least.0 = self.least.0.min(self.accumulated);
    }
}

/// Of the least squares' line.
fn slope(samples: &VecDeque<(f64, f64)>) -> Option<f64> {
    let count = samples.len() as f64;
    let (x, y) = samples.iter().fold((0.0, 0.0), |(x, y), sample| (x + sample.0, y + sample.1));
    let (x, y) = (x / count, y / count);
    let (above, below) = samples.iter().fold((0.0, 0.0), |(above, below), sample| {
        let from = sample.0 - x;
        (above + from * (sample.1 - y), below + from * from)
    });
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups 10 ms apart whose delay grows by `delay` each.
    fn run(trend: &mut Trend, from: u32, count: u32, delay: impl Fn(u32) -> f64) -> Vec<Usage> {
        let mut arrival = f64::from(from) * 10.0;
        (0..count)
            .map(|step| {
                arrival += 10.0 + delay(step);
                trend.push(Delta { delay: delay(step), own: 0.0, arrival });
                trend.usage()
            })
            .collect()
    }

    #[test]
    fn a_queue_that_grows_and_drains_is_told_from_one_that_stands() {
        let mut trend = Trend::default();
        assert!(run(&mut trend, 0, 100, |_| 0.0).iter().all(|&usage| usage == Usage::Normal));
        let growing = run(&mut trend, 100, 40, |_| 1.0);
        assert!(growing.iter().position(|&usage| usage == Usage::Over).is_some_and(|at| at < 25), "{growing:?}");
        assert!(trend.queue() > 30.0, "{}", trend.queue());
        assert!(run(&mut trend, 140, 40, |_| -1.0).contains(&Usage::Under));
        assert!(trend.queue() < 2.0, "{}", trend.queue());
    }

    #[test]
    fn jitter_is_no_queue() {
        let mut trend = Trend::default();
        // A few milliseconds to and fro, without a direction.
        let jitter = |step: u32| [2.0, -1.0, -3.0, 4.0, -2.0][step as usize % 5];
        let over = run(&mut trend, 0, 500, jitter).iter().filter(|&&usage| usage == Usage::Over).count();
        assert_eq!(over, 0);
    }
}
