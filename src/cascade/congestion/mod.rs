//! How much a link may send: a congestion controller for media between servers. Owns the decision, from acknowledgements and
//! losses to a rate and a window; the link's shell tells it of packets, and gives the window to the transport. Pure.
//!
//! Media wants little delay and no collapse. Frames that come late are worth nothing, random loss of a few percent says nothing
//! about capacity, and nobody needs more than the link is asked to carry. So:
//!
//! - **Delay decides.** The standing queue is the smallest round trip of the last moments minus the smallest of the last seconds
//!   (`measure`); a minimum is blind to bursts of frames, to acknowledgements that come late or together, and to jitter. The
//!   window is `rate × (base round trip + TARGET)`. While the link is busy, the queue therefore tells how far the rate is from
//!   the capacity: none below three quarters of it at 80 ms, `TARGET` at all of it. The rate grows in proportion to the room
//!   that is left, and by a constant near the top, so that flows which share a bottleneck become alike.
//! - **A queue that stands is cut** to what was delivered meanwhile, a little less, and the window leaves no room for a queue until it is
//!   gone. That also shows the true base round trip to every flow that shares the path.
//! - **Loss is put to the trial.** A few percent are forgiven. More than `SUSPECT_LOSS` lowers the rate to what arrives for a moment: if
//!   the loss stays, it is the path's own, and is forgiven for a while; if it goes, it was congestion. Where a queue grows with the
//!   loss, a small buffer overflowed, and the target becomes smaller than it. Retransmission is the transport's matter.
//! - **Backing off in vain** means that the queue is somebody else's, or that the path has become longer. After
//!   `VAIN_CUTS` of them the flow stops yielding to delay, grows slowly, and yields to loss, as its neighbour does.
//! - **Demand is the measure.** The rate does not grow beyond `HEADROOM` times what the application wants, and what was
//!   reached once is there at once when demand comes back.
//!
//! Drawn from published work: delay over a windowed minimum and a target queue from SCReAM (RFC 8298) and LEDBAT (RFC 6817),
//! cutting to the measured delivery rate from Google's congestion control (draft-ietf-rmcat-gcc) and BBR, the standing round trip and the
//! competitive mode from Copa (NSDI 2018), the tolerance of loss from PCC and BBRv2.

mod measure;

use std::time::{Duration, Instant};

use measure::{Delivery, Loss, Rtt};

use crate::units::Bitrate;

/// The queue that a busy link may keep. More gives steadier use of the capacity, and that much more delay to every frame.
pub const TARGET: Duration = Duration::from_millis(25);

/// A standing queue beyond so many times the target is cut. More tolerates jitter and bursts, and reacts later.
const OVERUSE: f64 = 1.28;

/// A queue beyond this is cut when a single slice shows it. Less reacts sooner when capacity falls, and to mere keyframes.
const STEEP: Duration = Duration::from_millis(60);

/// A queue below this share of the target is room to grow. More grows longer before it slows down.
const CALM: f64 = 0.4;

/// Where a small buffer overflowed, the target becomes this share of the queue that was seen, no less than `LEAST_TARGET`, for `SMALL_BUFFER`.
/// A longer time loses less to such buffers, and takes longer to notice that the path has a larger one.
const BELOW_BUFFER: f64 = 0.6;
const LEAST_TARGET: Duration = Duration::from_millis(5);
const SMALL_BUFFER: Duration = Duration::from_secs(30);

/// Share of the delivered rate that is kept after a cut. More uses the link better; less drains it sooner and lets others in.
const KEEP: f64 = 0.9;

/// The least share of the rate that a cut leaves when the queue grows slowly. Less drains it sooner.
const KEEP_GENTLE: f64 = 0.8;

/// The least share of the rate that one cut leaves. Less follows a path that becomes much narrower at once; more rides out moments in
/// which a node had no time to answer, which look the same.
const KEEP_LEAST: f64 = 0.4;

/// Share of the base round trip that the window covers while a queue drains. Less drains sooner and leaves the link idle longer.
const DRAIN: f64 = 0.8;

/// Growth in one loop with an empty queue before the first cut, and after it. More finds capacity sooner and overshoots further.
const GROWTH_START: f64 = 0.6;
const GROWTH: f64 = 0.2;

/// Growth is slow for so many loops of an empty queue: the queue after a cut is empty, too. More is fairer to others, and takes longer to find
/// new capacity.
const CALM_LOOPS: u32 = 4;

/// Growth in one loop near the capacity: so many bytes more in flight, and such a share. More bytes make flows alike sooner.
const STEP_BYTES: f64 = 1_300.0;
const STEP_SHARE: f64 = 0.005;

/// Growth in one loop beside others that fill the queue.
const STEP_COMPETING: f64 = 2_600.0;

/// Loss beyond what the path loses anyway that is put to the trial. Less finds small buffers sooner, and lowers the rate more often on paths
/// that lose at random.
const SUSPECT_LOSS: f64 = 0.05;

/// Share of the loss that must go away with the rate for the loss to be congestion's.
const LOSS_CURED: f64 = 0.4;

/// What is lost beyond this of what is sent is not made up for in the rate.
const MADE_UP: f64 = 0.1;

/// Loss that counts as congestion where a queue grows with it.
const QUEUE_LOSS: f64 = 0.02;

/// Cuts in a row that did not empty the queue before it is taken for somebody else's. More yields longer to other traffic.
const VAIN_CUTS: u32 = 4;

/// After so long with others the flow tries whether they are gone. Less tries more often, and gives way each time.
const COMPETE: Duration = Duration::from_secs(4);

/// Share of the rate that is kept at a loss while others hold the queue.
const KEEP_COMPETING: f64 = 0.8;

/// How far beyond the demand the rate may grow: keyframes, retransmission and the next subscription. More probes further.
const HEADROOM: f64 = 2.0;

/// The rate may always grow so far, however little is wanted: a keyframe is many times an average frame, and should not have to
/// wait on a link that is nearly idle. More lets it reach further into a queue that nobody knows of yet.
const LEAST_CEILING: f64 = 12e6;

/// The rate never falls below this: voices, and some small pictures. Paths between servers carry as much; on one that does not, the
/// queue overflows and the most important goes first all the same. Less would let moments in which a node had no time to answer
/// empty pictures from links that have room.
pub const LEAST_RATE: Bitrate = Bitrate::kbps(1_000);

/// No link is expected to carry more.
pub const MOST_RATE: Bitrate = Bitrate::mbps(10_000);

/// The window never falls below this: less stalls on acknowledgements, which come for every second packet.
const LEAST_WINDOW: f64 = 4.0 * 1_300.0;

/// Assumed until the first acknowledgement.
const FIRST_RTT: Duration = Duration::from_millis(100);

/// Between two decisions. Less reacts sooner, to less evidence.
const DECISION: Duration = Duration::from_millis(25);

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// No queue was seen yet: growth is fast.
    Starting,
    Steady,
    /// After a cut: no room for a queue until it is gone, at most until then.
    Draining {
        until: Instant,
    },
    /// Others hold the queue. After a while it is tried whether they are gone.
    Competing {
        since: Instant,
    },
}

/// The rate was lowered to see whether a loss goes away with it.
#[derive(Clone, Copy, Debug)]
struct Trial {
    until: Instant,
    /// As they were before.
    loss: f64,
    rate: f64,
}

/// One link's congestion state in one direction.
#[derive(Clone, Debug)]
pub struct Controller {
    state: State,
    /// What the path is believed to carry, in bits per second.
    rate: f64,
    /// What the application wants; absent until it says so.
    demand: Option<f64>,
    rtt: Rtt,
    delivery: Delivery,
    loss: Loss,
    decided: Instant,
    cut: Option<Instant>,
    trial: Option<Trial>,
    /// A smaller target than `TARGET`, and until when.
    small_buffer: Option<(Duration, Instant)>,
    /// Since when there was room to grow.
    calm: Option<Instant>,
    /// The smallest standing queue since the last cut.
    emptiest: Duration,
    vain_cuts: u32,
}

impl Controller {
    /// `start` is the rate to begin with: the last one of this link, or a modest guess.
    pub fn new(now: Instant, start: Bitrate) -> Self {
        Self {
            state: State::Starting,
            rate: bounded(start.0 as f64),
            demand: None,
            rtt: Rtt::new(now),
            delivery: Delivery::new(now),
            loss: Loss::new(now),
            decided: now,
            cut: None,
            trial: None,
            small_buffer: None,
            calm: None,
            emptiest: Duration::MAX,
            vain_cuts: 0,
        }
    }

    /// Bytes left. Nothing is decided on it today: what counts is what arrives.
    pub fn on_sent(&mut self, _now: Instant, _bytes: u64) {}

    /// A packet sent at `sent_at` was acknowledged. The round trip is taken from these two times; the transport's smoothed estimate
    /// comes too late for it. `app_limited` says that the application had nothing to send.
    pub fn on_ack(&mut self, now: Instant, sent_at: Instant, bytes: u64, _rtt: Duration, app_limited: bool) {
        self.rtt.sample(now, now.saturating_duration_since(sent_at));
        self.delivery.acked(now, bytes, app_limited);
        self.loss.acked(now, bytes);
        self.decide(now);
    }

    /// Packets were lost, the last of them sent at `sent_at`. `persistent` says that nothing at all arrived for several round trips.
    /// No bytes mean a mark (ECN) instead of a loss.
    pub fn on_lost(&mut self, now: Instant, _sent_at: Instant, bytes: u64, persistent: bool) {
        self.loss.lost(now, bytes);
        let marked = bytes == 0;
        if (persistent || marked) && self.may_cut(now) {
            let keep = if persistent { 0.5 } else { KEEP };
            self.cut_to(now, self.rate_f64() * keep);
        }
        self.decide(now);
    }

    /// What the application wants to send. The rate stays within `HEADROOM` times as much.
    pub fn set_demand(&mut self, demand: Bitrate) {
        self.demand = Some(demand.0 as f64);
    }

    /// Bytes that may be in flight.
    pub fn window(&self) -> u64 {
        let base = self.rtt.base().unwrap_or(FIRST_RTT).as_secs_f64();
        let covered = match self.state {
            State::Starting | State::Steady => base + self.target().as_secs_f64(),
            State::Draining { .. } => base * DRAIN,
            State::Competing { .. } => base + self.queue().max(self.target()).as_secs_f64(),
        };
        (self.rate_f64() * covered / 8.0).max(LEAST_WINDOW) as u64
    }

    /// What the path carries, as far as it is wanted: the pace for the link's own queue.
    pub fn rate(&self) -> Bitrate {
        Bitrate(self.rate_f64() as u64)
    }

    /// The queue that stands on the path, as measured.
    pub fn queue(&self) -> Duration {
        self.rtt.queue().unwrap_or_default()
    }

    /// Share of bytes that are lost, smoothed.
    pub fn loss(&self) -> f64 {
        self.loss.share()
    }

    fn rate_f64(&self) -> f64 {
        self.rate.min(self.ceiling())
    }

    fn ceiling(&self) -> f64 {
        self.demand.map_or(MOST_RATE.0 as f64, |demand| (demand * HEADROOM).max(LEAST_CEILING))
    }

    fn decide(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.decided);
        if passed < DECISION {
            return;
        }
        self.decided = now;
        let Some(queue) = self.rtt.queue() else { return };
        self.emptiest = self.emptiest.min(queue);
        self.calm = if queue < self.calm_queue() { self.calm.or(Some(now)) } else { None };
        if matches!(self.state, State::Draining { until } if now >= until || queue < self.calm_queue() / 2) {
            self.state = State::Steady;
        }
        self.end_trial(now);
        self.small_buffer = self.small_buffer.filter(|(_, until)| now < *until);
        match self.state {
            State::Competing { since } => self.compete(now, since, passed),
            State::Starting | State::Steady | State::Draining { .. } if self.is_overused(queue) => self.overused(now, queue),
            State::Starting | State::Steady | State::Draining { .. } if self.loss.excess() > SUSPECT_LOSS => self.try_loss(now),
            State::Starting => self.grow(queue, passed, GROWTH_START),
            State::Steady => {
                let calm = self.calm.is_some_and(|since| now.saturating_duration_since(since) >= self.loop_time() * CALM_LOOPS);
                self.grow(queue, passed, if calm { GROWTH } else { 0.0 });
            }
            State::Draining { .. } => {}
        }
    }

    fn is_steep(&self) -> bool {
        self.rtt.latest_queue().is_some_and(|latest| latest > STEEP)
    }

    fn is_overused(&self, queue: Duration) -> bool {
        queue > self.overuse_queue() || self.is_steep() || self.overflows(queue)
    }

    /// A buffer is full: packets are lost while a queue stands.
    fn overflows(&self, queue: Duration) -> bool {
        queue > self.calm_queue() && self.loss.excess() > QUEUE_LOSS
    }

    /// The queue that is aimed at.
    fn target(&self) -> Duration {
        self.small_buffer.map_or(TARGET, |(target, _)| target)
    }

    fn overuse_queue(&self) -> Duration {
        self.target().mul_f64(OVERUSE)
    }

    fn calm_queue(&self) -> Duration {
        self.target().mul_f64(CALM)
    }

    /// The last cut has shown its effect: a round trip with its queue, and the moments that the minimum is taken over.
    fn may_cut(&self, now: Instant) -> bool {
        let effect = self.loop_time() + self.queue() + measure::STANDING;
        self.cut.is_none_or(|cut| now.saturating_duration_since(cut) >= effect)
    }

    fn overused(&mut self, now: Instant, queue: Duration) {
        if !self.may_cut(now) {
            return;
        }
        if !self.delivery.is_busy() && !self.overflows(queue) {
            // All that was wanted was sent and arrived: what stands there is somebody else's, or a node had no time to answer. Less
            // from here would help neither.
            return;
        }
        if self.overflows(queue) && queue <= self.overuse_queue() {
            let target = queue.mul_f64(BELOW_BUFFER).clamp(LEAST_TARGET, self.target());
            self.small_buffer = Some((target, now + SMALL_BUFFER));
        }
        let in_vain = self.cut.is_some() && self.emptiest > self.overuse_queue() / 2;
        self.vain_cuts = if in_vain { self.vain_cuts + 1 } else { 0 };
        if self.vain_cuts >= VAIN_CUTS {
            self.state = State::Competing { since: now };
            return;
        }
        let rate = self.rate_f64();
        let kept = if self.is_steep() {
            (self.delivered() * KEEP).max(rate * KEEP_LEAST)
        } else {
            (self.delivered() * KEEP).max(rate * KEEP_GENTLE)
        };
        self.cut_to(now, kept);
    }

    /// What the path takes, by what arrived and what is usually lost.
    fn delivered(&self) -> f64 {
        self.delivery.rate(self.loop_time()) * (1.0 + self.loss.share().min(MADE_UP))
    }

    /// Lowers the rate to what arrives. If that is no more than the path carries, nothing is lost any longer.
    fn try_loss(&mut self, now: Instant) {
        if self.trial.is_some() || !self.may_cut(now) {
            return;
        }
        let until = now + self.loop_time() + self.queue() + measure::ROUND * 2;
        self.trial = Some(Trial { until, loss: self.loss.share(), rate: self.rate });
        self.cut_to(now, self.delivery.rate(self.loop_time()));
    }

    fn end_trial(&mut self, now: Instant) {
        let Some(trial) = self.trial.take_if(|trial| now >= trial.until) else { return };
        if self.loss.last() > trial.loss * (1.0 - LOSS_CURED) {
            self.loss.forgive(now);
            self.rate = trial.rate;
        }
    }

    fn cut_to(&mut self, now: Instant, rate: f64) {
        self.rate = bounded(rate.min(self.rate_f64()));
        self.state = State::Draining { until: now + self.loop_time() + self.queue() };
        self.cut = Some(now);
        self.emptiest = Duration::MAX;
    }

    fn grow(&mut self, queue: Duration, passed: Duration, growth: f64) {
        if self.rate >= self.ceiling() {
            return;
        }
        let room = 1.0 - queue.as_secs_f64() / self.calm_queue().as_secs_f64();
        let step = STEP_BYTES * 8.0 / self.loop_time().as_secs_f64();
        let more = (self.rate * growth * room).max(self.rate * STEP_SHARE + step);
        self.rate = bounded((self.rate + more * self.loops(passed)).min(self.ceiling()));
    }

    fn compete(&mut self, now: Instant, since: Instant, passed: Duration) {
        let is_calm = self.calm.is_some_and(|since| now.saturating_duration_since(since) >= self.loop_time());
        if is_calm || now.saturating_duration_since(since) >= COMPETE {
            // One more cut in vain, and it is clear that they are still there.
            self.vain_cuts = if is_calm { 0 } else { VAIN_CUTS - 1 };
            self.cut_to(now, self.rate_f64() * KEEP);
        } else if self.loss.excess() > QUEUE_LOSS / 2.0 && self.may_cut(now) {
            self.rate = bounded(self.rate_f64() * KEEP_COMPETING);
            self.cut = Some(now);
        } else if self.rate < self.ceiling() {
            let more = STEP_COMPETING * 8.0 / self.loop_time().as_secs_f64();
            self.rate = bounded(self.rate + more * self.loops(passed));
        }
    }

    /// How much of a loop has passed.
    fn loops(&self, passed: Duration) -> f64 {
        (passed.as_secs_f64() / self.loop_time().as_secs_f64()).min(1.0)
    }

    /// How long a change takes to show: the base round trip and the queue that is aimed at.
    fn loop_time(&self) -> Duration {
        self.rtt.base().unwrap_or(FIRST_RTT) + TARGET
    }
}

fn bounded(rate: f64) -> f64 {
    rate.clamp(LEAST_RATE.0 as f64, MOST_RATE.0 as f64)
}

#[cfg(test)]
mod tests;
