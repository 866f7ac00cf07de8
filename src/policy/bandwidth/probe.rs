//! Short clusters of packets that are sent faster than the estimate, to see whether the path carries more: layers come in steps, and
//! what is sent below the next step cannot tell. Owns when a cluster is worth sending, how fast and how long it is, and what its
//! arrivals say; the peer fills it with padding.

use std::time::{Duration, Instant};

use super::Arrived;
use crate::units::Bitrate;

/// How long a cluster lasts. Longer is surer and costs the path more.
const LENGTH: Duration = Duration::from_millis(20);
/// How long one lasts that has to confirm a surprise: token buckets let a short burst through at any rate.
const CONFIRM: Duration = Duration::from_millis(200);
/// How far beyond what was expected that one goes at most: it makes a queue if the path carries no more.
const BEYOND: f64 = 1.5;
/// So many times as long after each result that did not hold: the bucket is larger than was thought. At most so long, and so many
/// bytes.
const LONGER: u32 = 2;
const LONGEST: Duration = Duration::from_millis(1_500);
const MOST_BYTES: u64 = 150_000;
/// A cluster has so many packets at least, one that confirms more, and their size follows from that, in bytes.
const LEAST_PACKETS: u64 = 8;
const LEAST_CONFIRMING: u64 = 24;
const SIZES: (u64, u64) = (160, 1_200);
/// How far beyond the estimate the first cluster of all goes, whatever is wanted: it measures a path that carries less than the
/// estimate began with. And each further one, toward what is wanted.
const FIRST_STEP: f64 = 3.0;
const STEP: f64 = 2.0;
/// Between clusters that found nothing: the first few, and all others. More saves padding, and finds a path that widened later.
const BETWEEN: [Duration; 3] = [Duration::from_millis(1_500), Duration::from_millis(3_000), Duration::from_millis(4_500)];
/// The same at most after results that did not hold.
const BETWEEN_MOST: Duration = Duration::from_secs(5);
/// A cluster that says nothing, since reports on it were lost or a busy host held it up, is repeated after this, so many times.
const AGAIN: Duration = Duration::from_millis(400);
const MUTE: u32 = 3;
/// Reports on a cluster are waited for so long beyond the round trip.
const PATIENCE: Duration = Duration::from_millis(700);
/// Share of a cluster's packets that must arrive for it to say anything.
const LEAST_ARRIVED: f64 = 0.6;
/// A cluster that arrives slower than this share of how it was sent has met the capacity, of which this share is taken.
const MET: f64 = 0.9;
const TAKEN: f64 = 0.95;
/// One that left at once, since a host was busy, found no more than this times what it was to look for.
const TOO_FAST: f64 = 1.1;
/// A cut so soon after a result raised the estimate says that the result did not hold.
const HOLDS_AFTER: Duration = Duration::from_secs(10);
/// A smaller step than this is what any cut takes back.
const LARGE: f64 = 1.3;
/// A result that held for so long is trusted again.
const TRUST_AFTER: Duration = Duration::from_secs(30);

/// A cluster that is being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Of 1 to 255; packets carry it in the log of what was sent.
    pub id: u8,
    pub rate: Bitrate,
    /// To be sent in all, other packets of the time included.
    pub bytes: u64,
    /// Into so many packets at least.
    packets: u64,
    started: Instant,
    until: Instant,
}

impl Cluster {
    /// How many bytes should have left by now.
    pub fn due(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.started).as_micros() as u64;
        (self.packet_size() + self.rate.0 * passed / 8_000_000).min(self.bytes)
    }

    /// When the next packet is due, once so many bytes left.
    pub fn next(&self, sent: u64) -> Instant {
        self.started + Duration::from_micros(sent * 8_000_000 / self.rate.0.max(1))
    }

    /// How large its packets should be.
    pub fn packet_size(&self) -> u64 {
        (self.bytes / self.packets).clamp(SIZES.0, SIZES.1)
    }

    /// Whether it is over, having sent so many bytes.
    pub fn is_over(&self, now: Instant, sent: u64) -> bool {
        sent >= self.bytes || now >= self.until
    }
}

/// What a cluster found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found {
    /// The path carries so much, in bits per second, and perhaps more.
    Open(f64),
    /// It carries so much and no more.
    Met(f64),
    /// The same of a cluster that was to confirm more: it is long enough to count against the estimate, too.
    Refuted(f64),
    /// It found more than is believed at once: a longer one follows.
    Surprise,
    /// It says nothing.
    Nothing,
}

#[derive(Debug)]
enum State {
    Idle,
    Sending(Cluster),
    /// Sent; packets are counted that were in it.
    Awaiting {
        cluster: Cluster,
        packets: u32,
        until: Instant,
    },
}

/// Decides on clusters.
#[derive(Debug)]
pub(super) struct Prober {
    state: State,
    id: u8,
    /// Not before.
    at: Option<Instant>,
    /// Clusters in a row that found nothing more.
    vain: usize,
    /// Results that did not hold, of late.
    doubts: u32,
    /// When a result last raised the estimate.
    raised: Option<Instant>,
    /// What a second cluster is to confirm of what a first one found.
    surprise: Option<f64>,
    any: bool,
    /// Clusters in a row that said nothing.
    mute: u32,
    arrived: Vec<Arrived>,
    lost: u32,
}

/// Arrivals that are kept of one cluster.
const MAX_KEPT: usize = 512;
/// So many in a row that were held up for so long, in microseconds, end a cluster.
const CURTAIL: usize = 3;
const QUEUE: i64 = 20_000;
/// So many that had to wait say how fast the path is.
const LEAST_TAIL: usize = 5;

impl Prober {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Idle,
            id: 0,
            at: None,
            vain: 0,
            doubts: 0,
            raised: None,
            surprise: None,
            any: false,
            mute: 0,
            arrived: Vec::new(),
            lost: 0,
        }
    }

    /// The cluster that is being sent.
    pub(super) const fn cluster(&self) -> Option<Cluster> {
        match self.state {
            State::Sending(cluster) => Some(cluster),
            State::Idle | State::Awaiting { .. } => None,
        }
    }

    /// Whether no result has come yet.
    pub(super) const fn is_first(&self) -> bool {
        !self.any
    }

    /// When a cluster may start.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle => self.at,
            State::Sending(_) => None,
            State::Awaiting { until, .. } => Some(until),
        }
    }

    /// There is a new reason to look: do so at `at`, if nothing is under way.
    pub(super) fn soon(&mut self, at: Instant) {
        self.vain = 0;
        self.at = Some(self.at.map_or(at, |already| already.min(at)));
    }

    /// Not before `at`.
    pub(super) fn postpone(&mut self, at: Instant) {
        self.at = self.at.map(|already| already.max(at));
    }

    /// Starts a cluster from `rate` toward `goal`, if it is time for one.
    pub(super) fn start(&mut self, now: Instant, rate: f64, goal: f64) {
        if !matches!(self.state, State::Idle) || self.at.is_none_or(|at| now < at) {
            return;
        }
        let (target, length, packets) = match self.surprise {
            Some(surprise) => (surprise, (CONFIRM * LONGER.saturating_pow(self.doubts)).min(LONGEST), LEAST_CONFIRMING),
            None if self.any => ((rate * STEP).min(goal.max(rate * 1.1)), LENGTH, LEAST_PACKETS),
            None => (rate * FIRST_STEP, LENGTH, LEAST_PACKETS),
        };
        let bytes = ((target * length.as_secs_f64() / 8.0) as u64).min(MOST_BYTES);
        self.id = self.id.checked_add(1).unwrap_or(1);
        self.at = None;
        self.arrived.clear();
        self.lost = 0;
        self.state = State::Sending(Cluster {
            id: self.id,
            rate: Bitrate(target as u64),
            bytes: bytes.max(SIZES.0 * packets),
            packets,
            started: now,
            until: now + length * 3,
        });
    }

    /// The cluster was sent, in so many packets.
    pub(super) fn sent(&mut self, now: Instant, packets: u32, rtt: Duration) {
        if let State::Sending(cluster) = self.state {
            self.state = State::Awaiting { cluster, packets, until: now + rtt + PATIENCE };
        }
    }

    /// A packet of a cluster was reported.
    pub(super) fn reported(&mut self, probe: u8, arrived: Option<&Arrived>) {
        if probe != self.id || matches!(self.state, State::Idle) {
            return;
        }
        match arrived {
            Some(arrived) if self.arrived.len() < MAX_KEPT => self.arrived.push(*arrived),
            Some(_) => {}
            None => self.lost += 1,
        }
    }

    /// Ends a long cluster that makes a queue: more of it would only make it longer.
    pub(super) fn curtail(&mut self, now: Instant) {
        let State::Sending(cluster) = &mut self.state else { return };
        let delay = |packet: &Arrived| packet.delay(cluster.started);
        let Some(least) = self.arrived.iter().map(delay).min() else { return };
        if self.arrived.iter().rev().take(CURTAIL).filter(|packet| delay(packet) > least + QUEUE).count() == CURTAIL {
            cluster.until = now;
        }
    }

    /// What the cluster found, once all of it was reported or nobody reports any more. `expected` is the most that is believed without
    /// a second look, where `rate` is the estimate.
    pub(super) fn result(&mut self, now: Instant, rate: f64, expected: Option<f64>) -> Option<Found> {
        let State::Awaiting { cluster, packets, until } = self.state else { return None };
        if (self.arrived.len() as u32 + self.lost) < packets && now < until {
            return None;
        }
        self.state = State::Idle;
        let confirms = self.surprise.take();
        // One that was to confirm and was lost for the most part has been answered.
        let least = if confirms.is_some() { packets.saturating_sub(self.lost) } else { packets };
        let Some((sent, received)) = rates(&mut self.arrived, least) else {
            self.surprise = confirms;
            self.mute += 1;
            if self.mute <= MUTE {
                self.at = Some(now + AGAIN)
            } else {
                self.retry(now)
            }
            return Some(Found::Nothing);
        };
        (self.any, self.mute) = (true, 0);
        // Packets that no report told of left and arrived like the others.
        let all = f64::from(packets) / f64::from(self.arrived.len() as u32 + self.lost).min(f64::from(packets)).max(1.0);
        let (sent, received) = (sent * all, received * all);
        let met = received < sent * MET;
        let found = if met { received * TAKEN } else { sent.min(received).min(cluster.rate.0 as f64 * TOO_FAST) };
        let doubted = self.doubts > 0 || expected.is_some_and(|expected| found > expected);
        if confirms.is_none() && doubted && found > cluster.rate.0 as f64 / STEP * 1.1 {
            self.surprise = Some(found.min(expected.unwrap_or(rate) * BEYOND));
            self.at = Some(now);
            return Some(Found::Surprise);
        }
        self.retry(now);
        Some(match (met, confirms.is_some()) {
            (false, _) => Found::Open(found),
            (true, false) => Found::Met(found),
            (true, true) => Found::Refuted(found),
        })
    }

    /// The result raised the estimate by this factor; `further` says that there is more to look for.
    pub(super) fn raised(&mut self, now: Instant, factor: f64, further: bool) {
        if self.raised.is_some_and(|raised| now.saturating_duration_since(raised) > TRUST_AFTER) {
            self.doubts = 0;
        }
        if factor > LARGE {
            self.raised = Some(now);
        }
        self.vain = 0;
        if further {
            self.at = Some(now);
        }
    }

    /// More arrives than the path was thought to carry: it is another path now.
    pub(super) fn trust(&mut self, now: Instant) {
        self.doubts = 0;
        self.soon(now);
    }

    /// The estimate was cut: a result that just raised it did not hold.
    pub(super) fn cut(&mut self, now: Instant) {
        self.surprise = None;
        if let Some(raised) = self.raised.take_if(|raised| now.saturating_duration_since(*raised) < HOLDS_AFTER) {
            self.doubts = (self.doubts + 1).min(3);
            self.retry(raised);
        }
    }

    /// Looks again after a while.
    fn retry(&mut self, now: Instant) {
        let between = BETWEEN.get(self.vain).or(BETWEEN.last()).copied().unwrap_or(BETWEEN_MOST);
        self.vain += 1;
        self.at = Some(now + (between * (1 + self.doubts)).min(BETWEEN_MOST));
    }
}

/// How fast a cluster left and how fast it arrived, in bits per second; `None` if that can't be said.
fn rates(arrived: &mut [Arrived], packets: u32) -> Option<(f64, f64)> {
    if arrived.len() < 4 || (arrived.len() as f64) < f64::from(packets) * LEAST_ARRIVED {
        return None;
    }
    arrived.sort_unstable_by_key(|packet| packet.sent);
    let (sent, received) = (rate_sent(arrived)?, rate_received(arrived)?);
    if received > sent * 2.0 {
        // They were held and let go at once.
        return None;
    }
    // The first of them may have had the tokens that a bucket saved, so those that had to wait say more.
    let begun = arrived.first()?.sent;
    let least = arrived.iter().map(|packet| packet.delay(begun)).min()?;
    let tail = arrived.iter().position(|packet| packet.delay(begun) > least + QUEUE / 2).and_then(|at| arrived.get(at..));
    let tail = tail.filter(|tail| tail.len() >= LEAST_TAIL).and_then(rate_received);
    Some((sent, tail.map_or(received, |tail| tail.min(received))))
}

fn rate_sent(packets: &[Arrived]) -> Option<f64> {
    let (first, last) = (packets.first()?, packets.last()?);
    let bytes: u64 = packets.iter().map(|packet| u64::from(packet.size)).sum();
    rate(bytes - u64::from(last.size), last.sent.saturating_duration_since(first.sent).as_micros() as i64)
}

fn rate_received(packets: &[Arrived]) -> Option<f64> {
    let first = packets.iter().min_by_key(|packet| packet.arrival)?;
    let last = packets.iter().map(|packet| packet.arrival).max()?;
    let bytes: u64 = packets.iter().map(|packet| u64::from(packet.size)).sum();
    rate(bytes - u64::from(first.size), last - first.arrival)
}

fn rate(bytes: u64, micros: i64) -> Option<f64> {
    (micros >= 1_000).then(|| bytes as f64 * 8e6 / micros as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    /// Sends one cluster over a path of that capacity and bucket, in bits per second and bytes.
    fn send(prober: &mut Prober, now: &mut Instant, rate: f64, goal: f64, capacity: f64, bucket: u64) -> Option<Found> {
        prober.start(*now, rate, goal);
        let cluster = prober.cluster()?;
        let (mut sent, mut packets, mut free, mut tokens) = (0, 0, *now, bucket);
        let start = *now;
        while !cluster.is_over(*now, sent) {
            let at = cluster.next(sent).max(*now);
            let size = cluster.packet_size();
            let leave = if tokens >= size {
                tokens -= size;
                at
            } else {
                at.max(free) + Duration::from_secs_f64(size as f64 * 8.0 / capacity)
            };
            free = free.max(leave);
            let arrival = leave.duration_since(start).as_micros() as i64;
            prober.reported(cluster.id, Some(&Arrived { sent: at, arrival, size: size as u16, own: 0.0 }));
            (sent, packets, *now) = (sent + size, packets + 1, at);
        }
        prober.sent(*now, packets, RTT);
        prober.result(*now, rate, None)
    }

    #[test]
    fn a_wide_path_is_climbed_in_steps_and_a_narrow_one_is_measured() {
        let (mut prober, mut now) = (Prober::new(), Instant::now());
        prober.soon(now);
        let Some(Found::Open(found)) = send(&mut prober, &mut now, 1e6, 1e7, 1e9, 0) else { panic!() };
        assert!((2.5e6..3.2e6).contains(&found), "{found}");
        prober.raised(now, 3.0, true);
        let Some(Found::Met(found)) = send(&mut prober, &mut now, found, 1e7, 4e6, 0) else { panic!() };
        assert!((3.4e6..4.1e6).contains(&found), "{found}");
        assert!(prober.deadline().is_some_and(|at| at > now + Duration::from_secs(1)), "no hurry after that");
        prober.start(now, found, 1e7);
        assert_eq!(prober.cluster(), None);
    }

    #[test]
    fn a_result_that_did_not_hold_is_doubted() {
        let (mut prober, mut now) = (Prober::new(), Instant::now());
        prober.soon(now);
        assert!(matches!(send(&mut prober, &mut now, 5e5, 1e6, 5e5, 0), Some(Found::Met(_))));
        now += Duration::from_secs(2);
        // A bucket of 4 kB in front of 500 kbps.
        assert!(matches!(send(&mut prober, &mut now, 5e5, 1e6, 5e5, 4_000), Some(Found::Open(_))));
        prober.raised(now, 2.0, false);
        prober.cut(now + Duration::from_secs(1));
        now += Duration::from_secs(20);
        let first = send(&mut prober, &mut now, 5e5, 1e6, 5e5, 8_000);
        assert_eq!(first, Some(Found::Surprise));
        let Some(Found::Refuted(found)) = send(&mut prober, &mut now, 5e5, 1e6, 5e5, 8_000) else { panic!() };
        assert!(found < 6e5, "{found}");
    }
}
