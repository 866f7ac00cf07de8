//! Packets that left together, as one: the difference of two groups' departures and arrivals says whether a queue grows between
//! them. Owns the grouping (draft-ietf-rmcat-gcc-02 §5.2 and §5.3), and when to begin anew because clocks or paths jumped.

use std::time::{Duration, Instant};

use super::Arrived;

/// Packets that left within this time are one group. More evens out a sender's bursts, and gives fewer samples.
const LENGTH: Duration = Duration::from_millis(5);
/// Packets that came so close together, sooner than they left, are one group however long ago the first left: the network or a
/// busy receiver held them and let them go at once, which is no queue of ours.
const BURST: i64 = 5_000;
/// How much of that is one group at most, in microseconds.
const LONGEST_BURST: i64 = 100_000;
/// Arrivals that drift from departures by more than this at once are a clock that was set, in microseconds.
const JUMP: i64 = 3_000_000;
/// So many groups in a row that arrive before the one before are another path, not reordering.
const REORDERED: u8 = 3;

/// How two groups that follow each other differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Delta {
    /// How much longer the way of the second took, in milliseconds.
    pub(super) delay: f64,
    /// How long our own bursts had the second wait, in milliseconds.
    pub(super) own: f64,
    /// When the second arrived, in milliseconds of the receiver's clock.
    pub(super) arrival: f64,
}

/// One group.
#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: Instant,
    last_sent: Instant,
    first_arrival: i64,
    last_arrival: i64,
    own: f64,
}

/// The latest two groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    current: Option<Group>,
    before: Option<Group>,
    reordered: u8,
}

/// What a packet brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    Delta(Delta),
    /// What was measured before means nothing any more.
    Anew,
}

impl Groups {
    /// Takes the next packet that arrived.
    pub(super) fn push(&mut self, packet: &Arrived) -> Step {
        let Some(current) = &mut self.current else {
            self.current = Some(Group::new(packet));
            return Step::Nothing;
        };
        if packet.sent < current.first_sent {
            // An older one that was reordered says nothing of the queue now.
            return Step::Nothing;
        }
        if current.takes(packet) {
            current.last_sent = current.last_sent.max(packet.sent);
            current.own = packet.own;
            current.last_arrival = current.last_arrival.max(packet.arrival);
            return Step::Nothing;
        }
        let done = *current;
        *current = Group::new(packet);
        let Some(before) = self.before.replace(done) else { return Step::Nothing };
        let sent = done.last_sent.saturating_duration_since(before.last_sent).as_micros() as i64;
        let arrived = done.last_arrival - before.last_arrival;
        if (arrived - sent).abs() > JUMP {
            return self.anew();
        }
        if arrived < 0 {
            self.reordered += 1;
            return if self.reordered >= REORDERED { self.anew() } else { Step::Nothing };
        }
        self.reordered = 0;
        Step::Delta(Delta { delay: (arrived - sent) as f64 / 1e3, own: done.own, arrival: done.last_arrival as f64 / 1e3 })
    }

    fn anew(&mut self) -> Step {
        *self = Self::default();
        Step::Anew
    }
}

impl Group {
    const fn new(packet: &Arrived) -> Self {
        Self {
            first_sent: packet.sent,
            last_sent: packet.sent,
            first_arrival: packet.arrival,
            last_arrival: packet.arrival,
            own: packet.own,
        }
    }

    fn takes(&self, packet: &Arrived) -> bool {
        let later = packet.arrival - self.last_arrival;
        let sent_later = packet.sent.saturating_duration_since(self.last_sent).as_micros() as i64;
        let burst =
            (-BURST..=BURST).contains(&later) && later < sent_later && packet.arrival - self.first_arrival < LONGEST_BURST;
        burst || packet.sent.saturating_duration_since(self.first_sent) <= LENGTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets by (sent, arrived) in milliseconds, and what the last of them brings.
    fn last(packets: &[(u64, i64)]) -> Step {
        let (mut groups, start) = (Groups::default(), Instant::now());
        let mut step = Step::Nothing;
        for &(sent, arrival) in packets {
            step = groups.push(&Arrived {
                sent: start + Duration::from_millis(sent),
                arrival: arrival * 1_000,
                size: 1_000,
                own: 0.0,
            });
        }
        step
    }

    #[test]
    fn a_growing_queue_shows_between_groups() {
        let step = last(&[(0, 50), (2, 52), (20, 70), (22, 80), (40, 99)]);
        assert_eq!(step, Step::Delta(Delta { delay: 8.0, own: 0.0, arrival: 80.0 }));
    }

    #[test]
    fn what_was_held_back_and_let_go_at_once_is_one_group() {
        let held = [(0, 50), (20, 70), (40, 150), (60, 150), (80, 151), (100, 151), (120, 170)];
        let Step::Delta(delta) = last(&held) else { panic!() };
        assert!(delta.delay.abs() <= 1.0, "{delta:?}");
    }

    #[test]
    fn a_clock_that_jumps_begins_anew() {
        assert_eq!(last(&[(0, 50), (20, 70), (40, 9_000), (60, 9_020)]), Step::Anew);
        assert_eq!(last(&[(0, 90_000), (20, 90_020), (40, 50), (60, 70)]), Step::Anew);
        assert_eq!(
            last(&[(0, 90), (20, 110), (40, 50), (60, 70), (80, 90)]),
            Step::Delta(Delta { delay: 0.0, own: 0.0, arrival: 70.0 })
        );
    }
}
