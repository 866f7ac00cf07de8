//! When a media thread has too much to do, and what is done about it: it takes no newcomers, and pictures give way, the largest
//! first, the smallest last. Voices are never touched, so that calls go on: what a thread does not come to, the kernel drops
//! without asking what it was. Owns the measure of work and the two judgements; the thread reports its turns, the router makes
//! pictures smaller, signaling turns newcomers away.
//!
//! Work is the share of time that a thread was not waiting. Where other programs take the machine's cores a turn is longer, and that
//! counts: packets wait either way.

use std::time::{Duration, Instant};

/// What work is measured over.
const WINDOW: Duration = Duration::from_millis(500);
/// A thread that works for this share, for so many windows, is full: sooner would turn people away for a burst of joins, later
/// has nothing left for keyframes.
const FULL_WINDOWS: u32 = 6;
/// It is no longer full below this part of that share, for so many windows.
const ROOM_AGAIN: f64 = 0.85;
const ROOM_WINDOWS: u32 = 6;
/// Beyond this share of its time it falls behind.
const OVER: f64 = 0.96;
/// So many windows pass before the next step, down and up: encoders and keyframes take a while to follow.
const STEP_WINDOWS: u32 = 2;
/// What one step leaves where the thread falls behind, and where it leaves things undone, which are what voices are lost beside.
const DOWN: f64 = 0.85;
const FAR_DOWN: f64 = 0.7;
/// What one gives back.
const UP: f64 = 1.1;
/// Less than this is never left.
const LEAST: f64 = 0.02;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Whether it takes newcomers.
    Full(bool),
    /// All pictures together may take this share of what they took when it began; 1 lifts it.
    Relief(f64),
}

/// What a thread did not come to in a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    #[default]
    Nothing,
    /// As much as before: it has no time to spare, whatever it seems.
    Some,
    /// More than before.
    More,
}

/// How full one thread is.
#[derive(Debug)]
pub struct Gauge {
    /// The share of work that is full; none is.
    full_at: Option<f64>,
    since: Instant,
    worked: Duration,
    /// The most in this window.
    left: Left,
    full: bool,
    /// Windows in a row that speak for a change of `full`.
    for_change: u32,
    shed: f64,
    /// Windows since the last step.
    settled: u32,
    share: f64,
}

impl Gauge {
    /// For a thread that is full when it works for `full_percent` of its time; 0 never is.
    pub fn new(now: Instant, full_percent: u32) -> Self {
        let full_at = (full_percent > 0).then(|| f64::from(full_percent.min(100)) / 100.0);
        Self {
            full_at,
            since: now,
            worked: Duration::ZERO,
            left: Left::Nothing,
            full: false,
            for_change: 0,
            shed: 1.0,
            settled: 0,
            share: 0.0,
        }
    }

    /// The thread worked from `from` to `to`, and `left` something undone.
    pub fn worked(&mut self, from: Instant, to: Instant, left: Left, out: &mut Vec<Change>) {
        self.worked += to.saturating_duration_since(from);
        self.left = self.left.max(left);
        let passed = to.saturating_duration_since(self.since);
        if passed < WINDOW {
            return;
        }
        let share = (self.worked.as_secs_f64() / passed.as_secs_f64()).min(1.0);
        let left = std::mem::take(&mut self.left);
        self.share = match left {
            Left::Nothing => share,
            Left::Some => share.max(self.full_at.unwrap_or(0.0)),
            Left::More => 1.0,
        };
        (self.since, self.worked) = (to, Duration::ZERO);
        let Some(full_at) = self.full_at else { return };
        // One long sleep is many windows of it.
        let windows = (passed.as_millis() / WINDOW.as_millis()).clamp(1, 1_000) as u32;
        self.judge(full_at, windows, out);
        self.step(full_at, windows, left, out);
    }

    /// When to look again though there is nothing to do; only while something is to be taken back.
    pub fn deadline(&self) -> Option<Instant> {
        (self.full || self.shed < 1.0).then(|| self.since + WINDOW)
    }

    /// The share of its time that it worked, of 1.
    pub const fn share(&self) -> f64 {
        self.share
    }

    fn judge(&mut self, full_at: f64, windows: u32, out: &mut Vec<Change>) {
        let (changes, enough) = match self.full {
            // What it gives up leaves no place for more.
            false => (self.share >= full_at || self.shed < 1.0, FULL_WINDOWS),
            true => (self.share < full_at * ROOM_AGAIN && self.shed >= 1.0, ROOM_WINDOWS),
        };
        self.for_change = if changes { self.for_change + windows } else { 0 };
        if self.for_change >= enough {
            (self.full, self.for_change) = (!self.full, 0);
            out.push(Change::Full(self.full));
        }
    }

    /// A thread that falls behind sheds once it is full: a burst is no overload. One that leaves things undone sheds at once.
    fn step(&mut self, full_at: f64, windows: u32, left: Left, out: &mut Vec<Change>) {
        self.settled = self.settled.saturating_add(windows);
        if self.settled < STEP_WINDOWS {
            return;
        }
        let shed = if left == Left::More {
            (self.shed * FAR_DOWN).max(LEAST)
        } else if self.full && self.share >= OVER.max(full_at) {
            (self.shed * DOWN).max(LEAST)
        } else if self.share < full_at {
            (self.shed * UP).min(1.0)
        } else {
            self.shed
        };
        if shed != self.shed {
            (self.shed, self.settled) = (shed, 0);
            out.push(Change::Relief(shed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread whose turns take this share of 10 ms each; what changed, by second.
    fn run(gauge: &mut Gauge, now: &mut Instant, seconds: u32, load: impl Fn(f64) -> f64) -> Vec<(u32, Change)> {
        let (mut found, mut changes, mut shed) = (Vec::new(), Vec::new(), 1.0);
        for turn in 0..seconds * 100 {
            let end = *now + Duration::from_millis(10).mul_f64(load(shed).min(1.0));
            gauge.worked(*now, end, Left::Nothing, &mut changes);
            *now += Duration::from_millis(10);
            for change in changes.drain(..) {
                if let Change::Relief(share) = change {
                    shed = share;
                }
                found.push((turn / 100, change));
            }
        }
        found
    }

    #[test]
    fn a_burst_of_joins_is_no_reason_and_three_seconds_are() {
        let (start, mut now) = (Instant::now(), Instant::now());
        let mut gauge = Gauge::new(start, 85);
        assert_eq!(run(&mut gauge, &mut now, 2, |_| 1.0), vec![]);
        assert_eq!(run(&mut gauge, &mut now, 10, |_| 0.7), vec![]);
        assert_eq!(gauge.deadline(), None);
        let found = run(&mut gauge, &mut now, 10, |_| 0.9);
        assert!(matches!(found[..], [(2..=3, Change::Full(true))]), "{found:?}");
        assert!(gauge.deadline().is_some());
        assert_eq!(run(&mut gauge, &mut now, 10, |_| 0.8), vec![], "it stays full near the mark");
        let found = run(&mut gauge, &mut now, 10, |_| 0.5);
        assert!(matches!(found[..], [(2..=3, Change::Full(false))]), "{found:?}");
    }

    #[test]
    fn what_it_cannot_do_is_shed_step_by_step_and_given_back() {
        let mut now = Instant::now();
        let mut gauge = Gauge::new(now, 85);
        // Twice what it can do, half of which are pictures.
        let found = run(&mut gauge, &mut now, 40, |shed| 0.6 + 1.0 * shed);
        let shed: Vec<f64> =
            found.iter().filter_map(|(_, change)| if let Change::Relief(to) = change { Some(*to) } else { None }).collect();
        assert!(shed.windows(2).all(|pair| pair[1] < pair[0]), "it does not swing: {shed:?}");
        let left = *shed.last().expect("it sheds");
        assert!((0.25..0.36).contains(&left), "{left}");
        assert!(!found.contains(&(39, Change::Full(false))));
        // Most people leave.
        let found = run(&mut gauge, &mut now, 40, |shed| 0.1 + 0.2 * shed);
        assert!(found.iter().any(|(_, change)| *change == Change::Relief(1.0)), "{found:?}");
        assert_eq!(found.last().map(|(_, change)| *change), Some(Change::Full(false)), "newcomers come last");
    }

    #[test]
    fn what_is_left_undone_counts_as_work() {
        let (mut gauge, mut now, mut out) = (Gauge::new(Instant::now(), 85), Instant::now(), Vec::new());
        let mut turns = |gauge: &mut Gauge, left| {
            out.clear();
            for _ in 0..30 {
                gauge.worked(now, now + Duration::from_millis(30), left, &mut out);
                now += Duration::from_millis(100);
            }
            out.iter().filter_map(|change| if let Change::Relief(to) = change { Some(*to) } else { None }).collect::<Vec<f64>>()
        };
        assert!(turns(&mut gauge, Left::Nothing).is_empty());
        let down = turns(&mut gauge, Left::More);
        assert!(down.len() >= 2 && down.is_sorted_by(|a, b| a > b), "{down:?}");
        turns(&mut gauge, Left::Some);
        assert!(turns(&mut gauge, Left::Some).is_empty(), "neither more nor less, once the window from before is over");
        let up = turns(&mut gauge, Left::Nothing);
        assert!(up.len() >= 2 && up.is_sorted_by(|a, b| a < b), "{up:?}");
    }

    #[test]
    fn a_thread_that_sleeps_is_not_full_and_zero_never_is() {
        let mut now = Instant::now();
        let mut gauge = Gauge::new(now, 85);
        run(&mut gauge, &mut now, 5, |_| 1.0);
        let mut changes = Vec::new();
        now += Duration::from_secs(60);
        gauge.worked(now, now, Left::Nothing, &mut changes);
        assert!(changes.contains(&Change::Relief(gauge.shed)) || changes.contains(&Change::Full(false)), "{changes:?}");
        let mut gauge = Gauge::new(now, 0);
        assert_eq!(run(&mut gauge, &mut now, 20, |_| 1.0), vec![]);
        assert!(gauge.share() > 0.99);
    }
}
