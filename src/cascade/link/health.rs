//! How a neighbour does: whether it lives, how far it is, and what its clock says. Owns the pings; they travel as datagrams, so
//! that a lost stream packet delays none. Anything that comes from the neighbour is a sign of life.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::cascade::wire::Frame;
use crate::rtp::NtpTime;

/// How often a ping leaves.
pub const INTERVAL: Duration = Duration::from_millis(250);

/// A neighbour that was silent for this long is dead. Less than five pings would mistake a bad moment for death; more shows
/// as a longer freeze before another way is taken.
pub const SILENCE: Duration = Duration::from_millis(1_200);

/// How many answers the clock's offset and the least RTT are taken from. More ride out longer congestion and follow a change
/// of path or the clocks' drift more slowly.
const SAMPLES: usize = 40;

/// Pings that are waited for.
const WAITING: usize = 16;

/// The health of one link.
#[derive(Debug)]
pub struct Health {
    /// When anything came last.
    heard: Instant,
    /// When this was looked at last. While nobody looks nothing is heard, and that is no silence of the neighbour.
    looked: Instant,
    next_ping: Instant,
    next_id: u32,
    waiting: VecDeque<(u32, Instant)>,
    samples: VecDeque<Sample>,
    smoothed: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    rtt: Duration,
    /// The neighbour's NTP time minus ours, wrapping.
    offset: i64,
}

impl Health {
    pub fn new(now: Instant) -> Self {
        Self {
            heard: now,
            looked: now,
            next_ping: now,
            next_id: 0,
            waiting: VecDeque::new(),
            samples: VecDeque::new(),
            smoothed: None,
        }
    }

    /// Anything came.
    pub const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The next ping, when it is time. `ntp` is now on our clock.
    pub fn ping(&mut self, now: Instant, ntp: NtpTime) -> Option<Frame> {
        if now < self.next_ping {
            return None;
        }
        self.next_ping = now + INTERVAL;
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.waiting.push_back((id, now));
        if self.waiting.len() > WAITING {
            self.waiting.pop_front();
        }
        Some(Frame::Ping { id, sent: ntp.0 })
    }

    /// Takes in a probe and answers a ping. `ntp` is now on our clock.
    pub fn probe(&mut self, now: Instant, ntp: NtpTime, frame: &Frame) -> Option<Frame> {
        match *frame {
            Frame::Ping { id, sent } => Some(Frame::Pong { id, sent, received: ntp.0, answered: ntp.0 }),
            Frame::Pong { id, sent, received, answered } => {
                let at = self.waiting.iter().position(|(waiting, _)| *waiting == id)?;
                let (_, left) = self.waiting.remove(at)?;
                // Ours by our own note of when it left: what the neighbour echoes may be anything.
                let rtt = now.saturating_duration_since(left);
                // RFC 5905 §8: the mean of what the two ways say.
                let there = received.wrapping_sub(sent) as i64;
                let back = answered.wrapping_sub(ntp.0) as i64;
                self.sample(Sample { rtt, offset: there / 2 + back / 2 });
                None
            }
            _ => None,
        }
    }

    fn sample(&mut self, sample: Sample) {
        self.samples.push_back(sample);
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        self.smoothed = Some(self.smoothed.map_or(sample.rtt, |known| (known * 7 + sample.rtt) / 8));
    }

    /// Whether the neighbour is dead. Call it at every deadline: a time without looking does not count.
    pub fn is_dead(&mut self, now: Instant) -> bool {
        let unseen = now.saturating_duration_since(self.looked);
        if unseen > 2 * INTERVAL {
            // This side stood still. What came meanwhile is not read yet.
            self.heard += unseen;
        }
        self.looked = now;
        now.saturating_duration_since(self.heard) >= SILENCE
    }

    /// Smoothed; `None` before the first answer.
    pub const fn rtt(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The least of the latest.
    pub fn min_rtt(&self) -> Option<Duration> {
        self.samples.iter().map(|sample| sample.rtt).min()
    }

    /// The neighbour's clock minus ours, in units of 2^-32 s, by the answer that was under way for the least time.
    pub fn offset(&self) -> Option<i64> {
        self.samples.iter().min_by_key(|sample| sample.rtt).map(|sample| sample.offset)
    }

    /// A time of the neighbour's clock on ours. Before the first answer the clocks are taken to agree.
    pub fn map(&self, theirs: NtpTime) -> NtpTime {
        NtpTime(theirs.0.wrapping_sub(self.offset().unwrap_or(0) as u64))
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Instant {
        self.next_ping.min(self.heard + SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: NtpTime = NtpTime(3_900_000_000 << 32);

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    /// A neighbour whose clock is an hour ahead, `there` and `back` away.
    fn exchange(health: &mut Health, start: Instant, at: Duration, there: Duration, back: Duration) {
        let ahead = |at| NOON.plus(Duration::from_secs(3_600) + at);
        let ping = health.ping(start + at, NOON.plus(at)).expect("it is time");
        let mut neighbour = Health::new(start);
        let pong = neighbour.probe(start + at + there, ahead(at + there), &ping).expect("an answer");
        let home = at + there + back;
        assert_eq!(health.probe(start + home, NOON.plus(home), &pong), None);
    }

    #[test]
    fn the_clock_is_taken_from_the_fastest_answer() {
        let start = Instant::now();
        let mut health = Health::new(start);
        assert_eq!(health.map(NOON), NOON);
        // Queues on the way back, then none, then queues on the way there.
        exchange(&mut health, start, ms(0), ms(40), ms(120));
        exchange(&mut health, start, ms(300), ms(40), ms(41));
        exchange(&mut health, start, ms(600), ms(200), ms(40));
        let mapped = health.map(NOON.plus(Duration::from_secs(3_600)));
        let error = mapped.0.wrapping_sub(NOON.0) as i64 as f64 / 4.294_967_296e9;
        assert!(error.abs() < 0.001, "{error} s");
        assert_eq!(health.min_rtt(), Some(ms(81)));
        let smoothed = health.rtt().unwrap();
        assert!(smoothed > ms(81) && smoothed < ms(240), "{smoothed:?}");
    }

    #[test]
    fn silence_is_death_and_any_byte_is_life() {
        let start = Instant::now();
        let mut health = Health::new(start);
        let mut at = ms(0);
        while at < ms(1_000) {
            assert!(!health.is_dead(start + at));
            at += ms(100);
        }
        health.heard(start + ms(1_000));
        while at < ms(2_199) {
            assert!(!health.is_dead(start + at), "{at:?}");
            at += ms(100);
        }
        assert!(health.is_dead(start + ms(2_200)));
    }

    #[test]
    fn a_pause_of_our_own_is_no_silence_of_the_neighbour() {
        let start = Instant::now();
        let mut health = Health::new(start);
        assert!(!health.is_dead(start + ms(100)));
        // The process was stopped for a minute.
        assert!(!health.is_dead(start + ms(60_000)));
        assert!(!health.is_dead(start + ms(60_300)));
        let later = (0..10).any(|n| health.is_dead(start + ms(60_300 + n * 200)));
        assert!(later, "but it must answer then");
    }

    #[test]
    fn an_answer_to_no_ping_says_nothing() {
        let start = Instant::now();
        let mut health = Health::new(start);
        let pong = Frame::Pong { id: 5, sent: 0, received: u64::MAX, answered: 1 };
        assert_eq!(health.probe(start, NOON, &pong), None);
        assert_eq!((health.rtt(), health.offset()), (None, None));
    }

    #[test]
    fn pings_leave_at_their_interval_and_few_are_remembered() {
        let start = Instant::now();
        let mut health = Health::new(start);
        let sent = (0..100).filter(|n| health.ping(start + ms(n * 100), NOON).is_some()).count();
        assert_eq!(sent, 34);
        assert_eq!(health.waiting.len(), WAITING);
    }
}
