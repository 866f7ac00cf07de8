//! What loss says of the path. A little of it is no reason to send less, and much of it only if sending less mends it: radio and
//! bad cables lose whatever one sends. Owns the windows that loss is counted over, and what of it the path loses anyway.

use std::time::{Duration, Instant};

/// What loss is counted over. More is steadier and later.
const WINDOW: Duration = Duration::from_millis(300);
/// So many packets at least, since one of a few is no share.
const LEAST_PACKETS: u32 = 40;
/// Beyond what the path loses anyway: below the first the rate may grow, between the two it is held, and beyond the second it is
/// lowered (draft-ietf-rmcat-gcc-02 §6).
const HOLD: f64 = 0.02;
const LOWER: f64 = 0.10;
/// How much of the loss has to go away with the rate for the rate to be its cause. More forgives sooner.
const CURED: f64 = 0.4;
/// The share by which what the path loses anyway follows a window that saw no queue.
const FOLLOW: f64 = 0.25;
/// Learnt from windows without a queue it is at most this: a policer drops without a queue, too.
const MOST_LEARNT: f64 = 0.10;
/// A delay below this is no queue, in milliseconds.
const NO_QUEUE: f64 = 12.0;
/// Where so long a queue stands, in milliseconds, it overflows: the rate is the cause, however long that takes to show.
const STANDS: f64 = 40.0;
/// How long a lowered rate is watched after the feedback on it could have come.
const TRIAL: Duration = Duration::from_millis(800);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The rate may grow.
    Clear,
    /// It may not.
    Hold,
    /// It becomes at most this share of what arrives.
    Lower(f64),
    /// Lowering it did not help: it may be what it was, in bits per second.
    Restore(f64),
}

/// Loss as it is seen in reports.
#[derive(Debug, Default)]
pub(super) struct Loss {
    since: Option<Instant>,
    arrived: u32,
    lost: u32,
    /// Of the last full window, 0 to 1.
    share: f64,
    /// What is lost whatever one sends.
    anyway: f64,
    trial: Option<Trial>,
    holds: bool,
    /// The last window was beyond `LOWER`. One alone may be a burst that met a short queue, or chance.
    heavy: bool,
}

/// The rate was lowered to see whether the loss goes away.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// Windows that began before say nothing of it.
    from: Instant,
    until: Instant,
    share: f64,
    rate: f64,
    /// The least share seen since.
    least: f64,
}

impl Loss {
    /// A report told of so many packets. `rate` is the rate as it is, and `queue` the queue in milliseconds.
    pub(super) fn reported(&mut self, now: Instant, arrived: u32, lost: u32, rate: f64, rtt: Duration, queue: f64) -> Verdict {
        let since = *self.since.get_or_insert(now);
        self.arrived += arrived;
        self.lost += lost;
        if now.saturating_duration_since(since) < WINDOW || self.arrived + self.lost < LEAST_PACKETS {
            return if self.holds { Verdict::Hold } else { Verdict::Clear };
        }
        self.share = f64::from(self.lost) / f64::from(self.arrived + self.lost);
        (self.since, self.arrived, self.lost) = (Some(now), 0, 0);
        if let Some(verdict) = self.judge_trial(now, since, queue) {
            return verdict;
        }
        if queue < NO_QUEUE {
            let seen = self.share.min(MOST_LEARNT.max(self.anyway));
            self.anyway += (seen - self.anyway) * FOLLOW;
        }
        let excess = self.share - self.anyway;
        self.holds = excess > HOLD;
        let heavy_before = std::mem::replace(&mut self.heavy, excess > LOWER);
        if heavy_before && self.heavy && self.trial.is_none() {
            let from = now + rtt;
            self.trial = Some(Trial { from, until: from + TRIAL, share: self.share, rate, least: f64::MAX });
            return Verdict::Lower(1.0 - excess / 2.0);
        }
        if self.holds { Verdict::Hold } else { Verdict::Clear }
    }

    /// A queue grew meanwhile: that the loss stays says nothing.
    pub(super) fn congested(&mut self) {
        self.trial = None;
    }

    /// The share of packets lost in the last window.
    pub(super) const fn share(&self) -> f64 {
        self.share
    }

    /// Whether loss forbids to look for more.
    pub(super) const fn is_heavy(&self) -> bool {
        self.trial.is_some()
    }

    fn judge_trial(&mut self, now: Instant, since: Instant, queue: f64) -> Option<Verdict> {
        let trial = self.trial.as_mut()?;
        if since >= trial.from {
            trial.least = trial.least.min(self.share);
        }
        let trial = *trial;
        if trial.least < trial.share * (1.0 - CURED) {
            self.trial = None;
            return None;
        }
        if now < trial.until || trial.least == f64::MAX {
            return Some(Verdict::Hold);
        }
        self.trial = None;
        if queue >= STANDS {
            return Some(Verdict::Hold);
        }
        self.anyway = trial.least;
        self.holds = false;
        Some(Verdict::Restore(trial.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports every 100 ms of 50 packets; the share lost depends on the rate. The verdicts, and the rate that came of them.
    fn run(seconds: u32, queue: f64, lost: impl Fn(f64) -> f64) -> (Vec<Verdict>, f64) {
        let (mut loss, start, mut rate) = (Loss::default(), Instant::now(), 1e6);
        let verdicts = (1..seconds * 10).map(|step| {
            let share = lost(rate);
            let lost = (share * 50.0).round() as u32;
            let now = start + Duration::from_millis(100) * step;
            let verdict = loss.reported(now, 50 - lost, lost, rate, Duration::from_millis(100), queue);
            match verdict {
                Verdict::Lower(keep) => rate *= (1.0 - share) * keep,
                Verdict::Restore(before) => rate = before,
                Verdict::Clear | Verdict::Hold => {}
            }
            verdict
        });
        (verdicts.collect(), rate)
    }

    #[test]
    fn a_little_loss_lets_the_rate_grow_and_more_holds_it() {
        let (verdicts, _) = run(5, 50.0, |_| 0.02);
        assert!(verdicts.iter().all(|&verdict| verdict == Verdict::Clear));
        let (verdicts, rate) = run(5, 50.0, |_| 0.08);
        assert!(verdicts.iter().skip(5).all(|&verdict| verdict == Verdict::Hold) && rate == 1e6);
    }

    #[test]
    fn loss_that_comes_without_a_queue_is_the_paths_own() {
        let (verdicts, _) = run(10, 1.0, |_| 0.08);
        assert!(verdicts.iter().skip(70).all(|&verdict| verdict == Verdict::Clear), "{verdicts:?}");
    }

    #[test]
    fn heavy_loss_lowers_the_rate_for_good_only_if_that_helps() {
        let (verdicts, rate) = run(10, 1.0, |_| 0.3);
        assert!(verdicts.iter().any(|verdict| matches!(verdict, Verdict::Lower(_))));
        assert_eq!(rate, 1e6, "it stayed, so the rate is not its cause");
        let (verdicts, rate) = run(10, 1.0, |rate| (1.0 - 0.6e6 / rate).max(0.0));
        assert!(!verdicts.iter().any(|verdict| matches!(verdict, Verdict::Restore(_))));
        assert!(rate < 0.8e6, "{rate}");
        let (verdicts, rate) = run(10, 150.0, |_| 0.3);
        assert!(!verdicts.iter().any(|verdict| matches!(verdict, Verdict::Restore(_))), "the queue is full all the while");
        assert!(rate < 0.2e6, "{rate}");
    }
}
