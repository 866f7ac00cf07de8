//! What the path to one receiver carries, learnt by the sender from transport-wide feedback, in the manner of Google congestion
//! control (draft-ietf-rmcat-gcc-02, and what libwebrtc made of it): a queue that grows means too much, whatever is lost. Owns
//! the estimate, and when to probe for more; `edge::peer` feeds it, paces by it and fills the probes, and the router shares its
//! [`Budget`] among the streams.
//!
//! What is sent comes in layers, not from an encoder that follows a rate. Three things follow from that:
//!
//! - The estimate is **reset by demand**: it is told what the screen would take, and looks no further.
//! - While less is sent than the path carries, the estimate stays what it was: nothing that arrives can refute or confirm it. It grows
//!   by **probes**: clusters of padding, each at most twice the estimate, in quick steps for as long as they find room.
//! - A budget has **two figures**: what is carried now keeps a layer, and the least of the last seconds lets a new one in. A
//!   probe that found room lifts the second at once.
//!
//! | part | says |
//! |---|---|
//! | `groups`, `trend`, `own` | whether a queue grows that our own bursts don't explain: arrivals beside departures |
//! | `delay` | the rate that follows from that |
//! | `loss` | what of the loss is the rate's fault |
//! | `acked` | what arrives |
//! | `probe` | when to look for more, and what was found |
//! | `reports` | the rate of a receiver that has no such feedback |

mod acked;
mod delay;
mod groups;
mod loss;
mod own;
mod probe;
mod reports;
mod steady;
mod trend;

use std::time::{Duration, Instant};

pub use probe::Cluster;

use crate::policy::layers::Budget;
use crate::rtp::twcc::{Heard, Outcome};
use crate::units::Bitrate;
use acked::AckedRate;
use delay::{DelayRate, Seen};
use groups::{Groups, Step};
use loss::{Loss, Verdict};
use own::OwnQueue;
use probe::{Found, Prober};
use reports::Reported;
use steady::Steady;
use trend::{Trend, Usage};

/// Where an estimate begins. More shows a newcomer on a good path larger pictures at once, and fills the queue of one on a bad path
/// until the first probe is reported, which takes a round trip.
pub const START: Bitrate = Bitrate::mbps(1);

/// The estimate never falls below this, in bits per second: a voice.
const LEAST_RATE: f64 = 50_000.0;

/// How far beyond the demand the estimate may grow. More leaves room for keyframes and retransmission; it is probed for, too.
const HEADROOM: f64 = 1.25;
const HEADROOM_LEAST: f64 = 100_000.0;

/// Until the demand is told it is so many times what arrives.
const UNTOLD: f64 = 2.0;

/// A change of the demand by less than this share is no reason to probe.
const MORE_WANTED: f64 = 1.1;

/// Share of what the path carried when it was full last that a new layer has to fit into. More shows larger layers sooner on a path
/// that just carries them, and tries in vain more often on one that just does not.
const BRIM: f64 = 0.85;

/// A budget is told when it differs from the one told before by this share. More spares the router work; less is exact.
const NEWS: f64 = 0.04;

/// Assumed until a report tells it.
const ASSUMED_RTT: Duration = Duration::from_millis(100);

/// After a cut nothing is probed for so long: the queue has to go first.
const AFTER_CUT: Duration = Duration::from_secs(2);

/// Nothing is probed while a queue of so many milliseconds stands.
const PROBE_QUEUE: f64 = 40.0;

/// Nobody reports for so long though packets are on their way: something is wrong with the path. The estimate falls then, again and
/// again. Browsers report every 50 to 250 ms.
const SILENCE: Duration = Duration::from_millis(1_000);
const SILENCE_KEEP: f64 = 0.7;

/// A receiver that negotiated transport-wide feedback and sends none for so long has none.
const NO_FEEDBACK: Duration = Duration::from_secs(4);

/// What retransmissions take is smoothed over this.
const REPAIR_SPAN: Duration = Duration::from_secs(2);

/// A packet that arrived.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    sent: Instant,
    /// In microseconds of the receiver's clock.
    arrival: i64,
    size: u16,
    /// How long our own bursts had it wait, in milliseconds.
    own: f64,
}

impl Arrived {
    /// How long it was on its way, in microseconds beyond a constant.
    fn delay(&self, begun: Instant) -> i64 {
        self.arrival - self.sent.saturating_duration_since(begun).as_micros() as i64
    }
}

/// The estimate of one receiver's path.
#[derive(Debug)]
pub struct Estimator {
    cap: f64,
    demand: Option<f64>,
    rtt: Option<Duration>,
    own: OwnQueue,
    groups: Groups,
    trend: Trend,
    acked: AckedRate,
    /// The same of what was sent, lost or not, by our own clock.
    sent: AckedRate,
    begun: Instant,
    delay: DelayRate,
    loss: Loss,
    prober: Prober,
    /// Padding can be sent.
    may_probe: bool,
    reported: Reported,
    source: Source,
    steady: Steady,
    /// Bits per second that retransmissions take, and their bits since.
    repair: (f64, f64, Instant),
    told: Option<Budget>,
}

/// Where the estimate comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    /// No packet is on its way yet.
    Unused,
    /// Packets are on their way since then, and no report has come.
    Awaited(Instant),
    /// Transport-wide feedback; the latest came then, or the estimate was lowered for want of it.
    Feedback(Instant),
    /// REMB and receiver reports.
    Reports,
}

impl Estimator {
    /// For a receiver that gets `cap` at most. `feedback` says whether transport-wide feedback was negotiated.
    pub fn new(now: Instant, cap: Bitrate, feedback: bool) -> Self {
        let start = START.0.min(cap.0) as f64;
        Self {
            cap: cap.0 as f64,
            demand: None,
            rtt: None,
            own: OwnQueue::default(),
            groups: Groups::default(),
            trend: Trend::default(),
            acked: AckedRate::default(),
            sent: AckedRate::default(),
            begun: now,
            delay: DelayRate::new(start),
            loss: Loss::default(),
            prober: Prober::new(),
            may_probe: false,
            reported: Reported::new(),
            source: if feedback { Source::Unused } else { Source::Reports },
            steady: Steady::new(now, if feedback { start } else { cap.0 as f64 }),
            repair: (0.0, 0.0, now),
            told: None,
        }
    }

    /// What the receiver may have at most, whatever its path carries.
    pub fn set_cap(&mut self, now: Instant, cap: Bitrate) {
        self.cap = cap.0 as f64;
        self.note(now);
    }

    /// Whether padding can be sent: without it there is no probing.
    pub fn set_probing(&mut self, now: Instant, may_probe: bool) {
        if may_probe && !self.may_probe {
            self.prober.soon(now);
        }
        self.may_probe = may_probe;
    }

    /// What the receiver's screen would take, headers included.
    pub fn set_demand(&mut self, now: Instant, demand: Bitrate) {
        let demand = demand.0 as f64;
        let before = self.demand.replace(demand).unwrap_or(0.0);
        if demand > before * MORE_WANTED && self.delay.rate() < self.goal() {
            self.prober.soon(self.after_cut(now));
        }
    }

    /// The round trip as reports tell it, smoothed.
    pub fn set_round_trip(&mut self, rtt: Duration) {
        self.rtt = Some(rtt);
    }

    /// Retransmissions of so many bytes were sent: they take from the budget what they take from the path.
    pub fn repaired(&mut self, now: Instant, bytes: usize) {
        self.settle_repair(now);
        self.repair.1 += bytes as f64 * 8.0;
    }

    /// The receiver reported; outcomes are in the order of their numbers.
    pub fn feedback(&mut self, now: Instant, outcomes: &[Outcome], heard: Heard) {
        self.source = Source::Feedback(now);
        let (mut arrived, mut lost, mut first) = (0, 0, None);
        for outcome in outcomes {
            let left = outcome.sent.saturating_duration_since(self.begun).as_micros() as i64;
            self.sent.arrived(left, f64::from(outcome.size));
            let own = self.own.sent(outcome.sent, outcome.size, self.delay.rate());
            let packet = outcome.arrival.map(|arrival| Arrived { sent: outcome.sent, arrival, size: outcome.size, own });
            if outcome.probe != 0 {
                self.prober.reported(outcome.probe, packet.as_ref());
            }
            let Some(packet) = packet else {
                lost += 1;
                continue;
            };
            arrived += 1;
            first.get_or_insert(packet.arrival);
            // A probe makes a queue on purpose.
            if outcome.probe == 0 {
                match self.groups.push(&packet) {
                    Step::Nothing => {}
                    Step::Delta(delta) => self.trend.push(delta),
                    Step::Anew => self.trend = Trend::default(),
                }
            }
        }
        if let Some(first) = first.filter(|_| heard.passed_over > 0) {
            // What a lost report would have told of fared like the rest.
            let share = f64::from(arrived) / f64::from(arrived + lost);
            self.acked.arrived(first, heard.passed_over as f64 * share);
        }
        for outcome in outcomes {
            if let Some(arrival) = outcome.arrival {
                self.acked.arrived(arrival, f64::from(outcome.size));
            }
        }
        self.prober.curtail(now);
        self.update(now, arrived, lost);
        self.settle_repair(now);
        self.note(now);
    }

    fn update(&mut self, now: Instant, arrived: u32, lost: u32) {
        let rate = self.delay.rate();
        let verdict = self.loss.reported(now, arrived, lost, rate, self.round_trip(), self.trend.queue());
        let seen = Seen {
            usage: self.trend.usage(),
            acked: self.acked.rate(),
            sent: self.sent.rate(),
            rtt: self.round_trip(),
            may_grow: matches!(verdict, Verdict::Clear | Verdict::Restore(_)),
            probes: self.may_probe,
            ceiling: self.goal(),
        };
        let full = self.delay.capacity().is_some();
        let cut = self.delay.update(now, &seen);
        if full && self.delay.capacity().is_none() {
            self.prober.trust(self.after_cut(now));
        }
        if cut {
            self.loss.congested();
            self.prober.cut(now);
            self.prober.postpone(self.after_cut(now));
        }
        match verdict {
            Verdict::Clear | Verdict::Hold => {}
            Verdict::Lower(share) => {
                self.delay.lower(self.acked.rate(), self.sent.rate(), share);
            }
            Verdict::Restore(before) => self.delay.set(before.min(self.goal().max(self.delay.rate()))),
        }
        self.hear_probe(now);
    }

    /// Takes in what a probe found.
    fn hear_probe(&mut self, now: Instant) {
        let is_first = self.prober.is_first();
        let Some(found) = self.prober.result(now, self.delay.rate(), self.delay.capacity()) else { return };
        let rate = self.delay.rate();
        if let Found::Met(found) | Found::Refuted(found) = found {
            self.delay.note_capacity(found);
        }
        match found {
            Found::Nothing | Found::Surprise => {}
            Found::Open(more) | Found::Met(more) | Found::Refuted(more) if more > rate => {
                self.delay.set(more.min(self.goal().max(rate)));
                self.prober.raised(now, more / rate, matches!(found, Found::Open(_)) && more < self.goal());
                if self.delay.cut().is_none_or(|cut| now.saturating_duration_since(cut) > AFTER_CUT * 2) {
                    self.steady.lift(self.delay.rate());
                }
            }
            // Where the estimate began was a guess.
            Found::Met(found) if is_first && self.delay.cut().is_none() => {
                self.delay.set(found.max(self.acked.rate().unwrap_or(0.0)));
                self.prober.soon(now + AFTER_CUT);
            }
            Found::Refuted(less) => {
                self.delay.set(less.min(rate));
                self.prober.cut(now);
            }
            Found::Open(_) | Found::Met(_) => {}
        }
    }

    /// Receivers without transport-wide feedback say it themselves.
    pub fn remb(&mut self, now: Instant, rate: Bitrate) {
        self.reported.remb(now, rate.0 as f64);
        self.note(now);
    }

    /// A receiver report told of this share of loss, while so much was sent.
    pub fn receiver_report(&mut self, now: Instant, loss: f32, sent: Bitrate) {
        self.reported.loss(now, f64::from(loss), sent.0 as f64);
        self.note(now);
    }

    /// The cluster to be sent now, if any: starts one when it is time.
    pub fn probe(&mut self, now: Instant) -> Option<Cluster> {
        if self.prober.cluster().is_none() && self.is_probing_worth_while() {
            self.prober.start(now, self.delay.rate(), self.goal());
        }
        self.prober.cluster()
    }

    /// The cluster that is being sent.
    pub fn cluster(&self) -> Option<Cluster> {
        self.prober.cluster()
    }

    /// The cluster has been sent, in so many packets.
    pub fn probe_sent(&mut self, now: Instant, packets: u32) {
        self.prober.sent(now, packets, self.round_trip());
    }

    /// Does what its time has come for. `waiting` is when the oldest packet left that no report has reached yet.
    pub fn timeout(&mut self, now: Instant, waiting: Option<Instant>) {
        match (self.source, waiting) {
            (Source::Unused, Some(waiting)) => self.source = Source::Awaited(waiting),
            (Source::Awaited(since), _) if now.saturating_duration_since(since) >= NO_FEEDBACK => {
                self.source = Source::Reports;
                self.steady.lift(self.cap);
            }
            (Source::Feedback(at), Some(waiting)) if now >= at.max(waiting) + SILENCE => {
                self.delay.set(self.delay.rate() * SILENCE_KEEP);
                self.source = Source::Feedback(now);
            }
            (Source::Unused | Source::Awaited(_) | Source::Feedback(_) | Source::Reports, _) => {}
        }
        self.hear_probe(now);
        self.settle_repair(now);
        self.note(now);
    }

    /// When [`Self::timeout`] or [`Self::probe`] has something to do, beside the sending of a cluster that has begun.
    pub fn deadline(&self, waiting: Option<Instant>) -> Option<Instant> {
        let silent = match self.source {
            Source::Unused => waiting.map(|waiting| waiting + SILENCE),
            Source::Awaited(since) => Some(since + NO_FEEDBACK),
            Source::Feedback(at) => waiting.map(|waiting| at.max(waiting) + SILENCE),
            Source::Reports => None,
        };
        let probe = self.prober.deadline().filter(|_| self.is_probing_worth_while());
        [silent, probe].into_iter().flatten().min()
    }

    /// What the path carries, and no more than the cap.
    pub fn rate(&self, now: Instant) -> Bitrate {
        Bitrate(self.current(now) as u64)
    }

    /// The queue that stands on the path.
    pub fn queue(&self) -> Duration {
        Duration::from_secs_f64(self.trend.queue() / 1e3)
    }

    /// The share of packets lost of late, of 1.
    pub fn loss(&self) -> f64 {
        self.loss.share()
    }

    /// Whether less is estimated than wanted: what may be of use in a probe is worth keeping.
    pub fn wants_more(&self) -> bool {
        self.may_probe && self.delay.rate() < self.goal()
    }

    /// What may be shared among the streams, when that differs from what was told before.
    pub fn budget(&mut self, now: Instant) -> Option<Budget> {
        let repair = self.repair.0;
        let left = |rate: f64| Bitrate((rate - repair).max(rate / 2.0).max(0.0) as u64);
        // What was full of late is not filled to the brim by a new layer: its keyframe alone would overflow it.
        let brim = self.delay.capacity().map_or(f64::MAX, |full| full * BRIM);
        let steady = self.steady.least().min(self.current(now)).min(brim);
        let budget = Budget { now: left(self.current(now)), steady: left(steady) };
        let is_news = |told: Bitrate, rate: Bitrate| rate.0.abs_diff(told.0) as f64 > told.0 as f64 * NEWS;
        if self.told.is_some_and(|told| !is_news(told.now, budget.now) && !is_news(told.steady, budget.steady)) {
            return None;
        }
        self.told = Some(budget);
        Some(budget)
    }

    fn current(&self, now: Instant) -> f64 {
        let rate = match self.source {
            Source::Reports => self.reported.rate(now).unwrap_or(self.cap),
            Source::Unused | Source::Awaited(_) | Source::Feedback(_) => self.delay.rate(),
        };
        rate.min(self.cap)
    }

    fn note(&mut self, now: Instant) {
        let current = self.current(now);
        self.steady.note(now, current);
    }

    /// As far as the estimate may grow.
    fn goal(&self) -> f64 {
        let wanted = self.demand.unwrap_or_else(|| self.acked.rate().map_or(START.0 as f64, |acked| acked * UNTOLD));
        (wanted * HEADROOM + HEADROOM_LEAST).min(self.cap)
    }

    fn round_trip(&self) -> Duration {
        self.rtt.unwrap_or(ASSUMED_RTT)
    }

    /// When probing may begin again after the latest cut.
    fn after_cut(&self, now: Instant) -> Instant {
        self.delay.cut().map_or(now, |cut| now.max(cut + AFTER_CUT))
    }

    fn is_probing_worth_while(&self) -> bool {
        (self.wants_more() || self.may_probe && self.prober.is_first())
            && self.source != Source::Reports
            && self.trend.usage() != Usage::Over
            && self.trend.queue() < PROBE_QUEUE
            && !self.loss.is_heavy()
    }

    fn settle_repair(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.repair.2);
        if passed < REPAIR_SPAN / 4 {
            return;
        }
        let rate = self.repair.1 / passed.as_secs_f64();
        let weight = (passed.as_secs_f64() / REPAIR_SPAN.as_secs_f64()).min(1.0);
        self.repair = (self.repair.0 + (rate - self.repair.0) * weight, 0.0, now);
    }
}
