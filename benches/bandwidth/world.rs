//! One sender, one narrow path and one receiver in virtual time: the estimator, the pacer and the feedback's wire format as they are,
//! around a model of a path and of what is sent. Seeded; two runs are the same run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use weir::edge::peer::pacer::{Admission, Class, Pacer};
use weir::policy::bandwidth::{Estimator, START};
use weir::policy::layers::{Budget, Hold};
use weir::rtp::rtcp::{self, Rtcp};
use weir::rtp::twcc::{Arrivals, Outcome, SentLog};
use weir::units::Bitrate;

const TICK: Duration = Duration::from_micros(500);
const FRAME: Duration = Duration::from_micros(33_333);
const VOICE: Duration = Duration::from_millis(20);
const VOICE_BYTES: usize = 150;
const PACKET: usize = 1_200;
/// Frames that come later than this after the one before are a freeze (as browsers count, for 30 frames a second).
const FREEZE: Duration = Duration::from_millis(250);
/// A keyframe is so many times a frame.
const KEYFRAME: usize = 6;
/// What a switch of layers waits for its keyframe.
const SWITCH: Duration = Duration::from_millis(250);

/// What lies between.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// Bits per second from each second on.
    pub(crate) capacity: Vec<(u64, u64)>,
    pub(crate) queue_ms: u64,
    pub(crate) rtt_ms: u64,
    /// Bytes that a path which was idle lets through at once: a shaper's token bucket.
    pub(crate) bucket: u64,
    pub(crate) loss: f64,
    pub(crate) feedback_loss: f64,
    /// A flow that fills the queue comes and goes, in seconds.
    pub(crate) competitor: Option<(u64, u64)>,
}

impl Path {
    pub(crate) fn plain(capacity: u64) -> Self {
        Self {
            capacity: vec![(0, capacity)],
            queue_ms: 300,
            rtt_ms: 50,
            bucket: 0,
            loss: 0.0,
            feedback_loss: 0.0,
            competitor: None,
        }
    }

    fn capacity_at(&self, at: Duration) -> u64 {
        self.capacity.iter().rev().find(|(from, _)| at >= Duration::from_secs(*from)).map_or(1_000_000, |&(_, rate)| rate)
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// An encoder that follows the estimate up to a rate.
    Elastic(u64),
    /// Layers of which the largest that fits the budget is sent.
    Layers(Vec<u64>),
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Each second: bits that arrived, the capacity's bits, the estimate at its end, the layer, longest queue in milliseconds.
    pub(crate) seconds: Vec<Second>,
    /// Queue that packets of ours found, in microseconds, by second.
    queues: Vec<(u64, u32)>,
    /// When freezes ended, in seconds.
    pub(crate) freezes: Vec<u64>,
    /// How long voices were on their way beyond the path's own time, in microseconds.
    voices: Vec<u32>,
    pub(crate) sent: u64,
    pub(crate) padding: u64,
    pub(crate) dropped_in_queue: u64,
    pub(crate) dropped_by_pacer: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    pub(crate) arrived: u64,
    pub(crate) capacity: u64,
    pub(crate) estimate: u64,
    pub(crate) layer: usize,
    pub(crate) others: u64,
}

impl Report {
    /// Share of the capacity that was used.
    pub(crate) fn utilisation(&self, seconds: std::ops::Range<usize>) -> f64 {
        let part = &self.seconds[seconds];
        part.iter().map(|second| second.arrived).sum::<u64>() as f64
            / part.iter().map(|second| second.capacity).sum::<u64>() as f64
    }

    pub(crate) fn rate(&self, seconds: std::ops::Range<usize>) -> f64 {
        let count = seconds.len() as f64;
        self.seconds[seconds].iter().map(|second| second.arrived).sum::<u64>() as f64 / count
    }

    pub(crate) fn others(&self, seconds: std::ops::Range<usize>) -> f64 {
        let count = seconds.len() as f64;
        self.seconds[seconds].iter().map(|second| second.others).sum::<u64>() as f64 / count
    }

    /// The queue in milliseconds that this share of our packets found at most.
    pub(crate) fn queue(&self, share: f64, seconds: std::ops::Range<u64>) -> f64 {
        let part: Vec<u32> = self.queues.iter().filter(|(at, _)| seconds.contains(at)).map(|&(_, queue)| queue).collect();
        percentile(part, share)
    }

    pub(crate) fn voice(&self, share: f64) -> f64 {
        percentile(self.voices.clone(), share)
    }

    /// Seconds from `from` until `rate` arrived.
    pub(crate) fn arrived_at(&self, from: usize, rate: u64) -> Option<usize> {
        self.seconds.iter().skip(from).position(|second| second.arrived >= rate)
    }
}

fn percentile(mut values: Vec<u32>, share: f64) -> f64 {
    values.sort_unstable();
    let index = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(index).map_or(0.0, |&value| f64::from(value) / 1e3)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Voice,
    /// Frame, and how many packets it has.
    Video(u64, usize),
    Padding,
    Other(u64),
}

#[derive(Clone, Copy, Debug)]
struct Flying {
    what: What,
    size: usize,
    /// Transport-wide number.
    seq: u16,
    made: Instant,
    tries: u8,
}

/// A flow that fills the queue: slow start, then growth until a loss, as CUBIC does it.
struct Competitor {
    window: f64,
    before_loss: f64,
    lost_at: Instant,
    in_flight: usize,
    slow_start: bool,
}

struct World<'a> {
    path: &'a Path,
    source: &'a Source,
    rng: SmallRng,
    start: Instant,
    now: Instant,
    estimator: Estimator,
    pacer: Pacer<Flying>,
    log: SentLog,
    arrivals: Arrivals,
    /// Packets in the bottleneck, and when the last of them has left.
    free: Instant,
    wire: BTreeMap<(Instant, u64), Flying>,
    order: u64,
    /// Feedback and news of losses on their way back.
    back: BTreeMap<(Instant, u64), Back>,
    frames: BTreeMap<u64, usize>,
    last_frame: Option<Instant>,
    next_frame: (Instant, u64),
    next_voice: Instant,
    layer: Option<usize>,
    switch: Option<(Instant, Option<usize>)>,
    hold: Hold,
    budget: Option<Budget>,
    keyframe: bool,
    competitor: Option<Competitor>,
    report: Report,
    outcomes: Vec<Outcome>,
}

enum Back {
    Feedback(Vec<u8>),
    /// Asked for again.
    Lost(Flying),
    OtherAck,
    OtherLost,
}

/// Runs it for so many seconds.
pub(crate) fn run(path: &Path, source: &Source, seconds: u64, seed: u64) -> Report {
    let start = Instant::now();
    let mut estimator = Estimator::new(start, Bitrate::mbps(20), true);
    let most = match source {
        Source::Elastic(rate) => *rate,
        Source::Layers(layers) => layers.last().copied().unwrap_or_default(),
    };
    estimator.set_demand(start, Bitrate(most + 60_000));
    estimator.set_round_trip(Duration::from_millis(path.rtt_ms));
    estimator.set_probing(start, true);
    let mut world = World {
        path,
        source,
        rng: SmallRng::seed_from_u64(seed),
        start,
        now: start,
        estimator,
        pacer: Pacer::new(start, START),
        log: SentLog::new(start),
        arrivals: Arrivals::default(),
        free: start,
        wire: BTreeMap::new(),
        order: 0,
        back: BTreeMap::new(),
        frames: BTreeMap::new(),
        last_frame: None,
        next_frame: (start, 0),
        next_voice: start,
        layer: matches!(source, Source::Elastic(_)).then_some(0),
        switch: None,
        hold: Hold::default(),
        budget: None,
        keyframe: true,
        competitor: None,
        report: Report::default(),
        outcomes: Vec::new(),
    };
    let end = start + Duration::from_secs(seconds);
    while world.now < end {
        world.tick();
    }
    world.report
}

impl World<'_> {
    fn tick(&mut self) {
        self.now += TICK;
        let passed = self.now - self.start;
        let second = passed.as_secs() as usize;
        if self.report.seconds.len() <= second {
            self.report.seconds.push(Second::default());
        }
        let capacity = self.path.capacity_at(passed);
        let (estimate, layer) = (self.estimator.rate(self.now).0, self.layer.map_or(0, |layer| layer + 1));
        let current = self.report.seconds.last_mut().expect("just pushed");
        current.capacity += (capacity as f64 * TICK.as_secs_f64()) as u64;
        (current.estimate, current.layer) = (estimate, layer);

        self.arrive();
        self.hear();
        self.estimator.timeout(self.now, self.log.waiting());
        self.pacer.set_estimate(self.estimator.rate(self.now));
        self.choose();
        self.produce();
        self.release();
        self.compete();
        let mut buf = Vec::new();
        while self.arrivals.feedback(self.now, 1, 2, &mut buf) {
            let sealed = std::mem::take(&mut buf);
            if !self.rng.random_bool(self.path.feedback_loss) {
                self.later(Back::Feedback(sealed));
            }
        }
    }

    fn half(&self) -> Duration {
        Duration::from_millis(self.path.rtt_ms) / 2
    }

    fn later(&mut self, back: Back) {
        self.order += 1;
        self.back.insert((self.now + self.half(), self.order), back);
    }

    /// Puts a packet into the bottleneck.
    fn enter(&mut self, packet: Flying) {
        let capacity = self.path.capacity_at(self.now - self.start);
        let queue = self.free.saturating_duration_since(self.now);
        let ours = !matches!(packet.what, What::Other(_));
        if ours {
            self.report.sent += packet.size as u64;
            self.report.queues.push(((self.now - self.start).as_secs(), queue.as_micros() as u32));
        }
        let full = queue > Duration::from_millis(self.path.queue_ms);
        self.report.dropped_in_queue += u64::from(full && ours);
        if full || self.rng.random_bool(self.path.loss) {
            match packet.what {
                What::Other(_) => self.later(Back::OtherLost),
                // The receiver misses it with the next one, and asks.
                What::Video(..) if packet.tries < 5 => {
                    let at = self.now + queue + self.half() * 2 + Duration::from_millis(20);
                    self.order += 1;
                    self.back.insert((at, self.order), Back::Lost(packet));
                }
                What::Voice | What::Padding | What::Video(..) => {}
            }
            return;
        }
        // The bucket's tokens are time that the path has saved.
        let saved = Duration::from_secs_f64(self.path.bucket as f64 * 8.0 / capacity as f64);
        let begins = self.free.max(self.now.checked_sub(saved).unwrap_or(self.now));
        self.free = begins + Duration::from_secs_f64(packet.size as f64 * 8.0 / capacity as f64);
        let leaves = self.free.max(self.now);
        self.order += 1;
        self.wire.insert((leaves + self.half(), self.order), packet);
    }

    fn arrive(&mut self) {
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let packet = entry.remove();
            let current = self.report.seconds.last_mut().expect("there is a second");
            if let What::Other(_) = packet.what {
                current.others += packet.size as u64 * 8;
                self.later(Back::OtherAck);
                continue;
            }
            current.arrived += packet.size as u64 * 8;
            self.arrivals.record(packet.seq, self.now);
            match packet.what {
                What::Voice => {
                    let late = (self.now - packet.made).saturating_sub(self.half());
                    self.report.voices.push(late.as_micros() as u32);
                }
                What::Video(frame, of) => self.video(frame, of),
                What::Padding | What::Other(_) => {}
            }
        }
    }

    fn video(&mut self, frame: u64, of: usize) {
        let come = self.frames.entry(frame).or_insert(0);
        *come += 1;
        if *come != of {
            return;
        }
        if let Some(last) = self.last_frame.replace(self.now)
            && self.now - last > FREEZE
        {
            self.report.freezes.push((self.now - self.start).as_secs());
        }
    }

    fn hear(&mut self) {
        while let Some(entry) = self.back.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                Back::Feedback(buf) => {
                    for packet in rtcp::parse(&buf) {
                        let Ok(Rtcp::TransportFeedback(feedback)) = packet else { continue };
                        self.outcomes.clear();
                        let outcomes = &mut self.outcomes;
                        let heard = self.log.feedback(self.now, &feedback, |outcome| outcomes.push(outcome));
                        self.estimator.feedback(self.now, &self.outcomes, heard);
                    }
                }
                Back::Lost(packet) => {
                    self.estimator.repaired(self.now, packet.size);
                    self.offer(Flying { tries: packet.tries + 1, ..packet }, Class::Repair);
                }
                Back::OtherAck => {
                    let since = |competitor: &Competitor, now: Instant| (now - competitor.lost_at).as_secs_f64();
                    let now = self.now;
                    if let Some(other) = &mut self.competitor {
                        other.in_flight = other.in_flight.saturating_sub(1);
                        if other.slow_start {
                            other.window += 1.0;
                        } else {
                            // RFC 9438 §4.2, with beta 0.7 and C 0.4.
                            let k = (other.before_loss * 0.3 / 0.4).cbrt();
                            let goal = 0.4 * (since(other, now) - k).powi(3) + other.before_loss;
                            other.window += ((goal - other.window) / other.window).clamp(0.01, 0.5);
                        }
                    }
                }
                Back::OtherLost => {
                    let rtt = Duration::from_millis(self.path.rtt_ms + self.path.queue_ms);
                    let now = self.now;
                    if let Some(other) = &mut self.competitor {
                        other.in_flight = other.in_flight.saturating_sub(1);
                        if now - other.lost_at > rtt {
                            (other.before_loss, other.slow_start, other.lost_at) = (other.window, false, now);
                            other.window = (other.window * 0.7).max(2.0);
                        }
                    }
                }
            }
        }
    }

    fn compete(&mut self) {
        let Some((from, until)) = self.path.competitor else { return };
        let passed = (self.now - self.start).as_secs();
        if !(from..until).contains(&passed) {
            self.competitor = None;
            return;
        }
        let now = self.now;
        let other = self.competitor.get_or_insert(Competitor {
            window: 10.0,
            before_loss: 10.0,
            lost_at: now,
            in_flight: 0,
            slow_start: true,
        });
        let may = (other.window as usize).saturating_sub(other.in_flight).min(4);
        other.in_flight += may;
        for _ in 0..may {
            self.enter(Flying { what: What::Other(0), size: 1_500, seq: 0, made: now, tries: 0 });
        }
    }

    /// What the router does with a budget.
    fn choose(&mut self) {
        if let Some((at, layer)) = self.switch
            && self.now >= at
        {
            (self.layer, self.switch, self.keyframe) = (layer, None, layer.is_some());
        }
        let Source::Layers(layers) = self.source else { return };
        self.budget = self.estimator.budget(self.now).or(self.budget);
        let Some(budget) = self.budget else { return };
        let voice = 60_000;
        let fits = |budget: Bitrate| layers.iter().rposition(|&rate| rate + voice <= budget.0);
        let barred = self.hold.bars(self.now).map(usize::from);
        let begin = fits(budget.steady).filter(|layer| barred.is_none_or(|barred| *layer < barred));
        let keep = fits(budget.now);
        let wanted = match self.layer {
            Some(layer) if keep < Some(layer) => {
                self.hold.gave_up(self.now, layer as u16);
                keep
            }
            layer => begin.max(layer),
        };
        if wanted < self.layer && wanted.is_none() {
            (self.layer, self.switch) = (None, None);
        } else if wanted != self.switch.map_or(self.layer, |(_, layer)| layer) {
            self.switch = Some((self.now + SWITCH, wanted));
        }
    }

    fn produce(&mut self) {
        if self.now >= self.next_voice {
            self.next_voice += VOICE;
            self.pacer.spend(self.now, VOICE_BYTES);
            self.send(Flying { what: What::Voice, size: VOICE_BYTES, seq: 0, made: self.now, tries: 0 });
        }
        if self.now < self.next_frame.0 {
            return;
        }
        self.next_frame.0 += FRAME;
        let rate = match (self.source, self.layer) {
            (Source::Elastic(most), _) => {
                // Headers are a twentieth.
                let estimate = self.estimator.rate(self.now).0.saturating_sub(60_000) * 19 / 20;
                estimate.min(*most)
            }
            (Source::Layers(layers), Some(layer)) => layers[layer],
            (Source::Layers(_), None) => {
                // Paused on purpose is no freeze.
                self.last_frame = None;
                return;
            }
        };
        self.next_frame.1 += 1;
        let mut bytes = (rate as f64 * FRAME.as_secs_f64() / 8.0 * self.rng.random_range(0.8..1.2)) as usize;
        if std::mem::take(&mut self.keyframe) && matches!(self.source, Source::Layers(_)) {
            bytes *= KEYFRAME;
        }
        let count = bytes.div_ceil(PACKET).max(1);
        for _ in 0..count {
            let size = (bytes / count).max(60) + 64;
            let packet = Flying { what: What::Video(self.next_frame.1, count), size, seq: 0, made: self.now, tries: 0 };
            self.offer(packet, Class::Video);
        }
    }

    fn offer(&mut self, packet: Flying, class: Class) {
        match self.pacer.admit(self.now, packet.size, class) {
            Admission::Now => self.send(packet),
            Admission::Wait => self.pacer.push(class, packet.size, packet),
            Admission::Full => {
                self.report.dropped_by_pacer += 1;
                if packet.tries >= 5 {
                    return;
                }
                // The receiver asks for it as for one that was lost.
                let at = self.now + self.half() * 2 + Duration::from_millis(50);
                self.order += 1;
                self.back.insert((at, self.order), Back::Lost(packet));
            }
        }
    }

    fn send(&mut self, packet: Flying) {
        let seq = self.log.sent(self.now, packet.size);
        self.enter(Flying { seq, ..packet });
    }

    /// As the peer does it.
    fn release(&mut self) {
        while let Some((_, packet)) = self.pacer.pop(self.now) {
            self.send(packet);
        }
        while let Some(cluster) = self.estimator.probe(self.now) {
            self.log.probe(cluster.id);
            let (bytes, packets) = self.log.probed();
            if cluster.is_over(self.now, bytes) {
                self.estimator.probe_sent(self.now, packets);
                self.log.probe(0);
                break;
            }
            if bytes >= cluster.due(self.now) {
                break;
            }
            let size = cluster.packet_size() as usize;
            self.pacer.spend(self.now, size);
            self.report.padding += size as u64;
            self.send(Flying { what: What::Padding, size, seq: 0, made: self.now, tries: 0 });
        }
    }
}
