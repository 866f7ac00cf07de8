//! A path made worse on purpose: delay, jitter, loss at random and in bursts, a rate with a queue, partition. Seeded, so that a
//! run can be repeated. For `weir dev`, `weir impair`, tests and benchmarks; kernels often lack the means. Owns the model of
//! one direction (pure); [`relay`] applies it to UDP.
//!
//! A packet meets the parts in this order: partition, loss, bottleneck with its queue, delay, jitter. What is lost takes no
//! place in the queue.

pub mod relay;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// What a bottleneck queues when nothing is said of it. More is kinder to bursts and bloats more.
pub const QUEUE_MS: u32 = 100;

/// No packet is held back longer than this, so that times stay times: an hour.
const LONGEST_MS: f64 = 3_600e3;

/// How bad one direction of a path is. Zero everywhere is a perfect one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    /// One way.
    pub delay_ms: f64,
    /// Each packet waits up to this much more; packets keep their order.
    pub jitter_ms: f64,
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Mean length of a loss in packets (Gilbert's model); up to 1 loses each packet by itself.
    pub burst: f64,
    /// Bottleneck; 0 is none.
    pub rate_kbps: u32,
    /// What waits before the bottleneck at most, in milliseconds at its rate; 0 is [`QUEUE_MS`].
    pub queue_ms: u32,
    /// Nothing passes.
    pub partition: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Lost,
    /// It arrives then. Never before a packet that was sent earlier.
    Deliver(Instant),
}

/// One direction of a path.
#[derive(Debug)]
pub struct Path {
    impairment: Impairment,
    rng: StdRng,
    /// Gilbert's bad state: packets are being lost.
    losing: bool,
    /// What waits before the bottleneck, as of `counted`.
    queued_bits: f64,
    counted: Option<Instant>,
    /// When the last packet arrives.
    last: Option<Instant>,
}

impl Path {
    /// The same seed and the same packets at the same times make the same run.
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self { impairment, rng: StdRng::seed_from_u64(seed), losing: false, queued_bits: 0.0, counted: None, last: None }
    }

    /// From the next packet on. Packets on their way arrive as they would have; what waits for the bottleneck goes on waiting.
    pub fn set(&mut self, impairment: Impairment) {
        self.impairment = impairment;
    }

    pub fn impairment(&self) -> Impairment {
        self.impairment
    }

    /// Sends a packet of so many bytes, its headers included.
    pub fn send(&mut self, now: Instant, bytes: usize) -> Verdict {
        let waited = self.drain(now);
        // Drawn for every packet, whatever becomes of it, so that a change of one part leaves the dice of the others alone.
        let (loss, jitter) = (self.is_lost(), self.rng.random::<f64>());
        if self.impairment.partition || loss {
            return Verdict::Lost;
        }
        let Some(passes) = self.enqueue(waited, bytes) else { return Verdict::Lost };
        let on_the_way = milliseconds(self.impairment.delay_ms) + milliseconds(self.impairment.jitter_ms * jitter);
        let at = now + passes + on_the_way;
        let at = self.last.map_or(at, |last| last.max(at));
        self.last = Some(at);
        Verdict::Deliver(at)
    }

    /// How long a packet sent now would wait for the bottleneck.
    pub fn queueing(&mut self, now: Instant) -> Duration {
        self.drain(now)
    }

    /// Lets the bottleneck work up to now, and says how long it has still to do.
    fn drain(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.counted.unwrap_or(now));
        self.counted = Some(self.counted.map_or(now, |counted| counted.max(now)));
        let rate = f64::from(self.impairment.rate_kbps) * 1e3;
        if rate == 0.0 {
            self.queued_bits = 0.0;
            return Duration::ZERO;
        }
        self.queued_bits = (self.queued_bits - passed.as_secs_f64() * rate).max(0.0);
        Duration::from_secs_f64(self.queued_bits / rate)
    }

    /// How long a packet takes through the bottleneck; none where its queue is full.
    fn enqueue(&mut self, waits: Duration, bytes: usize) -> Option<Duration> {
        let rate = f64::from(self.impairment.rate_kbps) * 1e3;
        if rate == 0.0 {
            return Some(Duration::ZERO);
        }
        let longest = if self.impairment.queue_ms == 0 { QUEUE_MS } else { self.impairment.queue_ms };
        if waits > Duration::from_millis(longest.into()) {
            return None;
        }
        let bits = bytes as f64 * 8.0;
        self.queued_bits += bits;
        Some(waits + Duration::from_secs_f64(bits / rate))
    }

    /// One step of Gilbert's two states, with the wanted share of packets in the bad one.
    fn is_lost(&mut self) -> bool {
        let dice = self.rng.random::<f64>();
        let loss = self.impairment.loss.clamp(0.0, 1.0);
        if loss == 0.0 || loss == 1.0 || self.impairment.burst <= 1.0 {
            self.losing = dice < loss;
            return self.losing;
        }
        let leave = 1.0 / self.impairment.burst;
        let enter = leave * loss / (1.0 - loss);
        // So much loss in such short bursts there cannot be: the share is kept, the bursts are longer.
        let (leave, enter) = if enter > 1.0 { ((1.0 - loss) / loss, 1.0) } else { (leave, enter) };
        self.losing = if self.losing { dice >= leave } else { dice < enter };
        self.losing
    }
}

/// Nothing for what is no time: negative, or not a number.
fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms.min(LONGEST_MS) / 1e3).unwrap_or_default()
}

#[cfg(test)]
mod tests;
