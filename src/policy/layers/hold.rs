//! How long a rung that had to be given up is left alone. Owns that memory, one for each subscription.

use std::time::{Duration, Instant};

/// For how long at first, and at most: twice as long each time that it fails soon. Shorter finds sooner that a path got better;
/// each try that fails costs a keyframe and, for a moment, a queue.
const HOLD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(32));

/// A rung that was given up, by its rank on the ladder ([`super::Rung::rank`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold(Option<Held>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    rank: u16,
    until: Instant,
    length: Duration,
}

impl Hold {
    /// The rung, and all above it, had to be left because of the budget.
    pub fn gave_up(&mut self, now: Instant, rank: u16) {
        let (length, rank) = match self.0 {
            // Further down while what was above is held back still.
            Some(held) if now < held.until => (held.length, rank.min(held.rank)),
            // It came back and did not last.
            Some(held) if now < held.until + held.length * 2 && rank <= held.rank => ((held.length * 2).min(HOLD.1), rank),
            _ => (HOLD.0, rank),
        };
        self.0 = Some(Held { rank, until: now + length, length });
    }

    /// From which rank on nothing new is begun now.
    pub fn bars(&self, now: Instant) -> Option<u16> {
        self.0.filter(|held| now < held.until).map(|held| held.rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_soon_is_left_alone_for_longer_each_time() {
        let mut now = Instant::now();
        let mut hold = Hold::default();
        assert_eq!(hold.bars(now), None);
        for expected in [2, 4, 8, 16, 32, 32] {
            hold.gave_up(now, 5);
            assert_eq!(hold.bars(now + Duration::from_secs(expected) - Duration::from_millis(1)), Some(5));
            now += Duration::from_secs(expected);
            assert_eq!(hold.bars(now), None, "{expected}");
            now += Duration::from_secs(1);
        }
        // It lasted: the next time is the first again.
        now += Duration::from_secs(90);
        hold.gave_up(now, 5);
        assert_eq!(hold.bars(now + Duration::from_secs(2)), None);
    }

    #[test]
    fn going_further_down_holds_the_lower_one_too() {
        let now = Instant::now();
        let mut hold = Hold::default();
        hold.gave_up(now, 9);
        hold.gave_up(now + Duration::from_secs(1), 4);
        assert_eq!(hold.bars(now + Duration::from_millis(2_500)), Some(4));
    }
}
