//! The rate of a receiver without transport-wide feedback: what it says itself (REMB, draft-alvestrand-rmcat-remb), and the loss in
//! its receiver reports (draft-ietf-rmcat-gcc-02 §6). Owns nothing that delay could tell; who says nothing is not limited.

use std::time::{Duration, Instant};

use super::LEAST_RATE;

/// What a receiver said counts for so long. Browsers say it every second or more often.
const REMB_FRESH: Duration = Duration::from_secs(10);
/// Loss below the first lets the rate grow, beyond the second it falls.
const GROW: f64 = 0.02;
const FALL: f64 = 0.10;
/// Growth in a second.
const GROWTH: f64 = 0.08;

/// What the reports have come to.
#[derive(Debug)]
pub(super) struct Reported {
    remb: Option<(f64, Instant)>,
    /// What loss leaves, if it ever took something.
    left: Option<f64>,
    at: Option<Instant>,
}

impl Reported {
    pub(super) const fn new() -> Self {
        Self { remb: None, left: None, at: None }
    }

    pub(super) const fn remb(&mut self, now: Instant, rate: f64) {
        self.remb = Some((rate, now));
    }

    /// A receiver report told of this share of loss, while `sent` bits per second were sent.
    pub(super) fn loss(&mut self, now: Instant, share: f64, sent: f64) {
        let passed =
            self.at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at)).min(Duration::from_secs(5));
        if share > FALL {
            let rate = self.left.map_or(sent, |left| left.min(sent));
            self.left = Some((rate * (1.0 - share / 2.0)).max(LEAST_RATE));
        } else if share < GROW {
            self.left = self.left.map(|left| left * (1.0 + GROWTH).powf(passed.as_secs_f64()));
        }
    }

    /// In bits per second; `None` if nothing limits it.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        let remb = self.remb.filter(|(_, at)| now.saturating_duration_since(*at) < REMB_FRESH).map(|(rate, _)| rate);
        [remb, self.left].into_iter().flatten().reduce(f64::min).map(|rate| rate.max(LEAST_RATE))
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
        reported.remb(now, 8e5);
        assert_eq!(reported.rate(at(1)), Some(8e5));
        reported.loss(at(1), 0.2, 7e5);
        assert_eq!(reported.rate(at(1)), Some(7e5 * 0.9));
        reported.loss(at(2), 0.05, 7e5);
        assert_eq!(reported.rate(at(2)), Some(7e5 * 0.9), "held");
        for second in 3..15 {
            reported.loss(at(second), 0.0, 7e5);
        }
        assert!(reported.rate(at(15)).is_some_and(|rate| rate > 1.2e6), "{:?}", reported.rate(at(15)));
    }
}
