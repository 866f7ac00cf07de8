//! The rate of a receiver without transport-wide feedback: what it says itself (REMB, draft-alvestrand-rmcat-remb), and the loss in
//! its receiver reports (draft-ietf-rmcat-gcc-02 §6). Owns nothing that delay could tell; who says nothing is not limited.

use std::time::{Duration, Instant};

/// What is reported counts down to this. A receiver's own estimate grows by half of what it receives at most, and a path may lose whatever
/// is sent: were the only picture paused for either, it would not come back. Less would bound narrower paths, and take pictures from
/// clients on lossy ones; browsers have transport-wide feedback.
const LEAST: f64 = 3e6;
/// What a receiver said counts for so long. Browsers say it every second or more often.
const REMB_FRESH: Duration = Duration::from_secs(10);
/// Loss beyond this, on average, has the rate fall: of the fifty packets of one report chance alone may take as many.
const FALL: f64 = 0.10;
/// Weight of the latest report in the average. More follows sooner, and takes chance for congestion.
const WEIGHT: f64 = 0.25;
/// Loss below this is none; between the two a path may lose whatever is sent, so the rate grows there too, but slowly.
const NONE: f64 = 0.02;
/// Growth in a second, without loss and with some.
const GROWTH: f64 = 0.08;
const GROWTH_LOSSY: f64 = 0.04;
/// While less than this share of the rate is sent, the rate is not what loses it.
const USED: f64 = 0.6;

/// What the reports have come to.
#[derive(Debug)]
pub(super) struct Reported {
    remb: Option<(f64, Instant)>,
    /// What loss leaves, if it ever took something.
    left: Option<f64>,
    at: Option<Instant>,
    /// Share of packets, averaged over reports.
    lost: f64,
}

impl Reported {
    pub(super) const fn new() -> Self {
        Self { remb: None, left: None, at: None, lost: 0.0 }
    }

    pub(super) const fn remb(&mut self, now: Instant, rate: f64) {
        self.remb = Some((rate, now));
    }

    /// A receiver report told of this share of loss, while `sent` bits per second were sent.
    pub(super) fn loss(&mut self, now: Instant, share: f64, sent: f64) {
        let passed =
            self.at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at)).min(Duration::from_secs(5));
        self.lost += (share - self.lost) * WEIGHT;
        let heavy = self.lost > FALL;
        if heavy && self.left.is_none_or(|left| sent >= left * USED) {
            let rate = self.left.map_or(sent, |left| left.min(sent));
            self.left = Some((rate * (1.0 - share / 2.0)).max(LEAST));
        } else if !heavy {
            let growth = if share < NONE { GROWTH } else { GROWTH_LOSSY };
            self.left = self.left.map(|left| left * (1.0 + growth).powf(passed.as_secs_f64()));
        }
    }

    /// In bits per second; `None` if nothing limits it.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        let remb = self.remb.filter(|(_, at)| now.saturating_duration_since(*at) < REMB_FRESH).map(|(rate, _)| rate);
        [remb, self.left].into_iter().flatten().reduce(f64::min).map(|rate| rate.max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_both_counts_and_an_old_word_does_not() {
        let (mut reported, now) = (Reported::new(), Instant::now());
        let at = |s| now + Duration::from_secs(s);
        assert_eq!(reported.rate(now), None);
        reported.remb(now, 8e4);
        assert_eq!(reported.rate(at(1)), Some(LEAST), "what a voice alone lets it say");
        reported.remb(now, 1e7);
        assert_eq!(reported.rate(at(1)), Some(1e7));
        for _ in 0..2 {
            reported.loss(at(1), 0.2, 7e6);
            assert_eq!(reported.rate(at(1)), Some(1e7), "it may be chance");
        }
        reported.loss(at(1), 0.2, 7e6);
        assert_eq!(reported.rate(at(1)), Some(7e6 * 0.9));
        for second in 3..15 {
            reported.loss(at(second), 0.0, 7e6);
        }
        assert!(reported.rate(at(15)).is_some_and(|rate| rate > 9e6), "{:?}", reported.rate(at(15)));
    }

    #[test]
    fn a_path_that_loses_whatever_is_sent_keeps_its_rate() {
        let (mut reported, now) = (Reported::new(), Instant::now());
        // One packet in twenty, fifty packets a report: now and then it is more than one in ten, once even twice on end. What was
        // paused for it is not sent.
        let shares = [0.04, 0.12, 0.02, 0.06, 0.14, 0.12, 0.04, 0.02, 0.06, 0.04];
        let mut sent = 6e6;
        for second in 0..120 {
            reported.loss(now + Duration::from_secs(second), shares[second as usize % shares.len()], sent);
            let rate = reported.rate(now + Duration::from_secs(second)).unwrap_or(6e6);
            assert!(rate > 4e6, "{rate} after {second} s");
            sent = if rate < 5.5e6 { 5e4 } else { 6e6 };
        }
    }
}
