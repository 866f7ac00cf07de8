//! When packets leave for one receiver. A keyframe is many packets at once, and on a narrow path they would stand in a queue that
//! voices have to wait behind; so what is more than the path carries in a moment waits here instead, where voices pass. Owns the
//! pace and a bounded queue; packets are numbered and sealed only when they leave it. In the calm case nothing waits.
//!
//! Order: voices at once, then retransmissions, then video as it came, then padding.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::units::Bitrate;

/// How much faster than the estimate a burst leaves. More shows keyframes sooner; less keeps the path's queue shorter, which drops the
/// rest of a keyframe where it is short by itself: 2.5 lost packets at every switch of layers on paths that queue 50 ms.
const PACE: f64 = 1.5;

/// What waits leaves within this, if the pace need not exceed the next factor. More smooths more and shows pictures later.
const WITHIN: Duration = Duration::from_millis(250);
const PACE_MOST: f64 = 6.0;

/// So much of the pace may leave at once. More wakes the thread less often; less is smoother.
const BURST: Duration = Duration::from_millis(40);
const LEAST_BURST: f64 = 2.0 * 1_264.0;

/// The queue holds so many bytes, however low the estimate: a keyframe of a small picture.
const LEAST_ROOM: f64 = 30_000.0;

/// So many packets wait at most.
const MAX_WAITING: usize = 1_024;
const MAX_REPAIRS: usize = 128;

/// Between two releases while something waits.
const TICK: Duration = Duration::from_millis(5);

/// What kind of packet asks to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Sent before and lost.
    Repair,
    Video,
}

/// Whether a packet may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// At once; it is counted.
    Now,
    /// It has to be queued.
    Wait,
    /// It has to be dropped.
    Full,
}

/// The queue of one receiver.
#[derive(Debug)]
pub struct Pacer<T> {
    /// Bits per second.
    estimate: f64,
    /// Bytes that left ahead of the pace.
    debt: f64,
    at: Instant,
    repairs: VecDeque<(usize, T)>,
    video: VecDeque<(usize, T)>,
    /// That wait, and the most that did since nothing did: what the last of them wait for.
    bytes: usize,
    most: usize,
    /// Something was dropped, and the queue has not emptied by half since: what is lost is lost in one piece.
    overflown: bool,
}

impl<T> Pacer<T> {
    /// An empty one.
    pub const fn new(now: Instant, estimate: Bitrate) -> Self {
        Self {
            estimate: estimate.0 as f64,
            debt: 0.0,
            at: now,
            repairs: VecDeque::new(),
            video: VecDeque::new(),
            bytes: 0,
            most: 0,
            overflown: false,
        }
    }

    /// What the path carries.
    pub const fn set_estimate(&mut self, estimate: Bitrate) {
        self.estimate = estimate.0 as f64;
    }

    /// A packet of so many bytes leaves whatever the pace: a voice, or padding.
    pub fn spend(&mut self, now: Instant, size: usize) {
        self.settle(now);
        self.debt += size as f64;
    }

    /// Whether a packet of so many bytes may leave. One that has to wait is to be [pushed](Self::push).
    pub fn admit(&mut self, now: Instant, size: usize, class: Class) -> Admission {
        self.settle(now);
        if self.bytes == 0 && self.debt < self.burst() {
            self.debt += size as f64;
            return Admission::Now;
        }
        let room = (self.estimate * PACE_MOST / 8.0 * WITHIN.as_secs_f64()).max(LEAST_ROOM) as usize;
        let (queue, most) = match class {
            Class::Repair => (&self.repairs, MAX_REPAIRS),
            Class::Video => (&self.video, MAX_WAITING),
        };
        let limit = if self.overflown { room / 2 } else { room };
        self.overflown = self.bytes + size > limit || queue.len() >= most;
        if self.overflown { Admission::Full } else { Admission::Wait }
    }

    /// Queues a packet that has to wait.
    pub fn push(&mut self, class: Class, size: usize, item: T) {
        self.bytes += size;
        self.most = self.most.max(self.bytes);
        match class {
            Class::Repair => self.repairs.push_back((size, item)),
            Class::Video => self.video.push_back((size, item)),
        }
    }

    /// The next packet whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<(Class, T)> {
        if self.bytes == 0 {
            return None;
        }
        self.settle(now);
        if self.debt >= self.burst() {
            return None;
        }
        let repair = self.repairs.pop_front().map(|item| (Class::Repair, item));
        let (class, (size, item)) = repair.or_else(|| self.video.pop_front().map(|item| (Class::Video, item)))?;
        self.bytes = self.bytes.saturating_sub(size);
        if self.bytes == 0 {
            self.most = 0;
        }
        self.debt += size as f64;
        Some((class, item))
    }

    /// When [`Self::pop`] has something again.
    pub fn deadline(&self) -> Option<Instant> {
        if self.bytes == 0 {
            return None;
        }
        let over = (self.debt - self.burst()).max(0.0);
        Some(self.at + Duration::from_secs_f64(over / self.pace()).max(TICK))
    }

    /// In bytes per second.
    fn pace(&self) -> f64 {
        let estimate = self.estimate / 8.0;
        (self.most as f64 / WITHIN.as_secs_f64()).clamp(estimate * PACE, estimate * PACE_MOST).max(1_000.0)
    }

    fn burst(&self) -> f64 {
        (self.pace() * BURST.as_secs_f64()).max(LEAST_BURST)
    }

    fn settle(&mut self, now: Instant) {
        if now <= self.at {
            return;
        }
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let pace = self.pace();
        // What voices and padding have run up does not hold up pictures for long.
        self.debt = self.debt.min(pace * WITHIN.as_secs_f64() + LEAST_BURST);
        self.debt = (self.debt - pace * passed).max(0.0);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1_200;

    /// Offers `count` packets at once and pops what may leave; when each left, in milliseconds, and how many were dropped.
    fn burst(estimate: Bitrate, count: usize) -> (Vec<u64>, usize) {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, estimate);
        let (mut left, mut dropped) = (Vec::new(), 0);
        for index in 0..count {
            match pacer.admit(start, SIZE, Class::Video) {
                Admission::Now => left.push(0),
                Admission::Wait => pacer.push(Class::Video, SIZE, index),
                Admission::Full => dropped += 1,
            }
        }
        let mut expected = left.len();
        while let Some(at) = pacer.deadline() {
            while let Some((_, index)) = pacer.pop(at) {
                assert!(index >= expected, "in order");
                expected = index;
                left.push(at.duration_since(start).as_millis() as u64);
            }
        }
        (left, dropped)
    }

    #[test]
    fn what_fits_leaves_at_once() {
        // A frame of 20 kB at 10 Mbps.
        assert_eq!(burst(Bitrate::mbps(10), 16), (vec![0; 16], 0));
    }

    #[test]
    fn a_keyframe_is_spread_and_leaves_within_a_moment() {
        let (left, dropped) = burst(Bitrate::kbps(500), 30);
        assert_eq!((left.len(), dropped), (30, 0));
        assert!(left.iter().filter(|&&at| at == 0).count() <= 6, "{left:?}");
        assert!(left.last().is_some_and(|&last| (100..=320).contains(&last)), "{left:?}");
        // In no stretch of 50 ms is it more than the steepest pace and one burst.
        for from in &left {
            let within = left.iter().filter(|&&at| (*from..from + 50).contains(&at)).count();
            assert!(within * SIZE <= 28_000, "{left:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_never_waits_long() {
        let (left, dropped) = burst(Bitrate::kbps(300), 400);
        assert!(dropped > 300, "{dropped}");
        assert!(left.last().is_some_and(|&last| last <= 320), "{left:?}");
    }

    #[test]
    fn retransmissions_pass_pictures_and_voices_hold_nobody_up_for_long() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, Bitrate::kbps(100));
        for _ in 0..1_000 {
            pacer.spend(start, 200);
        }
        assert_eq!(pacer.admit(start, SIZE, Class::Video), Admission::Wait);
        pacer.push(Class::Video, SIZE, 1);
        pacer.push(Class::Repair, SIZE, 2);
        let at = pacer.deadline().unwrap();
        let later = at.max(start + Duration::from_millis(300));
        assert_eq!(pacer.pop(later), Some((Class::Repair, 2)));
        assert_eq!(pacer.pop(later), Some((Class::Video, 1)));
        assert_eq!((pacer.pop(later), pacer.deadline()), (None, None));
    }
}
