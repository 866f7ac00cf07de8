//! When to ask a publisher for a keyframe. Owns the level "somebody needs one" of one layer and its pace; who needs one is
//! the router's to say. A level, not an event: a request lost on the way is simply repeated while the need lasts.

use std::time::{Duration, Instant};

/// The shortest time between two requests for one layer. Lower shows newcomers a picture sooner when a request is lost, and
/// lets a crowd of them inflate the publisher's bitrate; a keyframe is 5-10 times a delta frame.
const SPACING: Duration = Duration::from_millis(500);

/// The need for a keyframe of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Need {
    wanted: bool,
    asked: Option<Instant>,
}

impl Need {
    /// Somebody can't decode without one.
    pub fn raise(&mut self) {
        self.wanted = true;
    }

    /// One arrived, or nobody needs it any more.
    pub fn clear(&mut self) {
        self.wanted = false;
    }

    /// Whether somebody still waits.
    pub fn is_raised(&self) -> bool {
        self.wanted
    }

    /// Whether to ask now; counts as asked when true.
    pub fn ask(&mut self, now: Instant) -> bool {
        let due = self.wanted && self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= SPACING);
        if due {
            self.asked = Some(now);
        }
        due
    }

    /// When [`Need::ask`] is next worth a call.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.wanted {
            return None;
        }
        self.asked.map(|asked| asked + SPACING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_of_needs_is_one_request_and_a_lost_one_is_repeated() {
        let start = Instant::now();
        let mut need = Need::default();
        let mut asked = 0;
        for ms in 0..1_000 {
            need.raise();
            asked += u32::from(need.ask(start + Duration::from_millis(ms)));
        }
        assert_eq!(asked, 2);
    }

    #[test]
    fn an_answered_need_is_silent_but_keeps_its_pace() {
        let start = Instant::now();
        let mut need = Need::default();
        need.raise();
        assert!(need.ask(start));
        need.clear();
        assert_eq!(need.deadline(), None);
        assert!(!need.ask(start + SPACING));
        need.raise();
        assert!(need.ask(start + SPACING));
        need.clear();
        need.raise();
        assert!(!need.ask(start + SPACING + Duration::from_millis(1)));
    }
}
